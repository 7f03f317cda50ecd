"""python -m evaluation.score: how good are the predictions of a results file, scored as the task is scored?

    python -m evaluation.score --results R --labels L [L2 ...] [--val V] [--probes] [--second-run S] [--judge openai:M] [--json]

Intent accuracy, reply quality, probes, training efficiency (`grading`), the rows that fall short, and what a second run of the
same input did otherwise. Without a judge no network is needed.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evaluation.command import new_parser, run_command
from evaluation.score import tables
from evaluation.score.grading import GRADING_ENCODER, Part, RowScore, parts, score_rows
from evaluation.score.judge import Endpoint, Grades, judge
from evaluation.score.results import differences, read_input, result_rows
from retrieval.columns import add_columns_option
from retrieval.encoder import load_encoder
from retrieval.runtime import configure


@dataclass(frozen=True, slots=True)
class Score:
    """All that is said about a result."""

    parts: list[Part]
    rows: list[RowScore]
    judged: Grades | None
    second_run: dict[str, list[str]] | None
    notes: list[str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores a results file and prints what is found."""
    parser = new_parser("evaluation.score", __doc__)
    add = parser.add_argument
    add("--results", type=Path, required=True, metavar="FILE", help="what run.py wrote to --output")
    labels_help = "JSONL with id, intent, ideal_reply, must_mention, ...; one file or several"
    add("--labels", type=Path, nargs="+", required=True, metavar="FILE", help=labels_help)
    add("--val", type=Path, metavar="FILE", help="the tickets, to show them where a reply falls short")
    add_columns_option(parser, files="--val (labels keep theirs)")
    add("--probes", action="store_true", help='score the rows of kind "probe" too, as a part of their own')
    add("--second-run", type=Path, metavar="FILE", help="another result of the same input: say what differs")
    add("--judge", metavar="openai:MODEL", help="let a model at OPENAI_BASE_URL (key: OPENAI_API_KEY) grade the replies")
    add("--judge-budget-usd", type=float, default=0.5, metavar="USD", help="not to be exceeded (default: 0.50)")
    prices = "USD per million prompt and completion tokens (default: 5 25)"
    add("--judge-price", type=float, nargs=2, default=[5.0, 25.0], metavar=("IN", "OUT"), help=prices)
    add("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    add("--json", action="store_true", help="one JSON object on stdout instead of tables")
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Reads, grades, judges, compares, prints."""
    result, second, labels, notes = read_input(options, option_problems(options))
    configure()
    rows = score_rows(result_rows(result), labels, load_encoder(GRADING_ENCODER))
    judged = judge(rows, endpoint(options), budget_usd=options.judge_budget_usd) if options.judge else None
    if judged:
        rows = [replace(row, grade=judged.grades.get(row.id)) for row in rows]
    found = Score(
        parts=parts(rows, seconds=float(result["training"]["wall_clock_s"]), seed=options.seed),
        rows=rows,
        judged=judged,
        second_run=differences(result, second) if second else None,
        notes=[*notes, *(judged.notes if judged else ())],
    )
    if options.json:
        print(json.dumps(as_json(found), ensure_ascii=False, indent=1))
    else:
        print_score(found)
    return 0


def option_problems(options: argparse.Namespace) -> list[str]:
    """What is wrong with the options."""
    found = []
    if options.judge and (not options.judge.startswith("openai:") or options.judge == "openai:"):
        found.append(f"--judge {options.judge}: expected openai:MODEL")
    if not all(0 <= value < math.inf for value in (options.judge_budget_usd, *options.judge_price)):
        found.append("--judge-budget-usd, --judge-price: found a number below 0 or none at all, expected dollars from 0")
    if options.seed < 0:
        found.append(f"--seed {options.seed}: found a number below 0, expected a whole number from 0")
    if options.judge and any(not "!" <= character <= "~" for character in endpoint(options).key):
        found.append("OPENAI_API_KEY: found characters that no key has, expected letters, digits and signs")
    return found


def endpoint(options: argparse.Namespace) -> Endpoint:
    """The judge that --judge and the environment name."""
    url = os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    return Endpoint(url, options.judge.removeprefix("openai:"), key, tuple(options.judge_price))


def as_json(found: Score) -> dict[str, Any]:
    """The score for scripts."""
    kinds = tables.rows_by_kind(found.rows)
    return {
        "parts": [asdict(part) for part in found.parts],
        "rows": [asdict(row) | {"similarity": row.similarity, "quality": row.quality} for row in found.rows],
        "intents": {kind: tables.intent_counts(rows) for kind, rows in kinds.items()},
        "confusions": {kind: tables.confusions(rows) for kind, rows in kinds.items()},
        "judge": asdict(found.judged) if found.judged else None,
        "second_run": found.second_run,
        "notes": found.notes,
    }


def print_score(found: Score) -> None:
    """The score for a reader."""
    kinds = tables.rows_by_kind(found.rows)
    tables.print_parts(found.parts, kinds)
    if found.judged:
        used = f"{found.judged.prompt_tokens} prompt and {found.judged.completion_tokens} completion tokens"
        tables.print_line(f"judged {len(found.judged.grades)} of {len(found.rows)} rows, {used}, {found.judged.usd:.4f} USD")
        if 0 < len(found.judged.grades) < len(found.rows):
            tables.print_line("the other rows keep cosine and ROUGE-L, another scale: do not compare such a mean")
    if found.second_run is not None:
        changed = f"differs: {len(found.second_run)}" if found.second_run else "is the same"
        tables.print_line(f"the second run {changed}")
        for key, what in found.second_run.items():
            tables.print_line(f"  {key}: {', '.join(what)}")
    for note in found.notes:
        tables.print_line(f"note: {note}")
    for kind, rows in kinds.items():
        tables.print_intents(rows, kind=kind)
    tables.print_failures(found.rows)


if __name__ == "__main__":
    sys.exit(main())
