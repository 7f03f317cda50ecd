"""python -m evaluation.score: how good are the answers in a results file, scored as the task is scored?

    python -m evaluation.score --results R --labels L [--val V] [--probes] [--second-run R2] [--judge openai:MODEL] [--json]

Intent accuracy, reply quality, probes, training efficiency (`parts`), the rows that fall short, and what a second run of the
same input did otherwise. Without a judge no network is needed.

What it does not know: how the answers came about.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evaluation.grading import Prediction, RowScore, predictions_of, score_rows, with_grades
from evaluation.judge import Case, Judged, Prices, judge
from evaluation.labels import KINDS, Label
from evaluation.parts import Part, parts
from evaluation.score_input import read_input
from evaluation.score_table import CONSOLE, by_intent, confusions, print_failures, print_intents, print_parts
from evaluation.second_run import differences
from retrieval.encoder import ModelUnavailable, SentenceEncoder
from retrieval.runtime import configure
from retrieval.tickets import InputProblems

OPENAI = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True)
class Score:
    """All that is said about a result."""

    parts: list[Part]
    rows: list[RowScore]
    labels: dict[str, Label]
    predictions: dict[str, Prediction]
    judged: Judged | None
    second_run: dict[str, list[str]] | None
    notes: tuple[str, ...]


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    found = argparse.ArgumentParser(prog="python -m evaluation.score", description=(__doc__ or "").splitlines()[0])
    add = found.add_argument
    add("--results", type=Path, required=True, metavar="FILE", help="what run.py wrote to --output")
    add("--labels", type=Path, required=True, metavar="FILE", help="JSONL with id, intent, ideal_reply, must_mention, ...")
    add("--val", type=Path, metavar="FILE", help="the tickets, to show them where an answer falls short")
    add("--probes", action="store_true", help='score the rows of kind "probe" too, as a part of their own')
    add("--second-run", type=Path, metavar="FILE", help="another result of the same input: say what differs")
    add("--judge", metavar="openai:MODEL", help="let a model at OPENAI_BASE_URL (key: OPENAI_API_KEY) grade the replies")
    add("--judge-budget-usd", type=float, default=0.5, metavar="USD", help="not to be passed (default: 0.50)")
    prices = "USD per million prompt and completion tokens (default: 5 25)"
    add("--judge-price", type=float, nargs=2, default=[5.0, 25.0], metavar=("IN", "OUT"), help=prices)
    add("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    add("--json", action="store_true", help="one JSON object on stdout instead of tables")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores a results file and prints what is found."""
    options = parser().parse_args(arguments)
    try:
        found = score(options)
    except InputProblems as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return 2
    except ModelUnavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if options.json:
        print(json.dumps(as_json(found), ensure_ascii=False, indent=1))
    else:
        print_score(found)
    return 0


def score(options: argparse.Namespace) -> Score:
    """Reads, grades, judges, compares.

    Raises:
        InputProblems: a file or an option is bad.
    """
    files = {"second_run": options.second_run, "val": options.val}
    given = read_input(options.results, options.labels, probes=options.probes, also=option_problems(options), **files)
    predictions = predictions_of(given.result)
    configure()
    rows = score_rows(predictions, given.labels, SentenceEncoder(None))
    judged = ask_judge(options, given.labels, predictions) if options.judge else None
    if judged:
        rows = with_grades(rows, judged.grades)
    return Score(
        parts=parts(rows, seconds=float(given.result["training"]["wall_clock_s"]), seed=options.seed),
        rows=rows,
        labels=given.labels,
        predictions=predictions,
        judged=judged,
        second_run=differences(given.result, given.second) if given.second else None,
        notes=(*given.notes, *(judged.notes if judged else ())),
    )


def option_problems(options: argparse.Namespace) -> list[str]:
    """What is wrong with the options."""
    found = []
    if options.judge and (not options.judge.startswith("openai:") or options.judge == "openai:"):
        found.append(f"--judge {options.judge}: expected openai:MODEL")
    if not all(0 <= value < math.inf for value in (options.judge_budget_usd, *options.judge_price)):
        found.append("--judge-budget-usd, --judge-price: found a number below 0 or none at all, expected dollars from 0")
    if options.seed < 0:
        found.append(f"--seed {options.seed}: found a number below 0, expected a whole number from 0")
    if options.judge and any(not "!" <= character <= "~" for character in _key()):
        found.append("OPENAI_API_KEY: found characters that no key has, expected letters, digits and signs")
    return found


def _key() -> str:
    return os.environ.get("OPENAI_API_KEY", "").strip()


def ask_judge(options: argparse.Namespace, labels: Mapping[str, Label], predictions: Mapping[str, Prediction]) -> Judged:
    """The grades of the judge that --judge names."""
    return judge(
        [Case(label, predictions[key].reply) for key, label in labels.items()],
        model=options.judge.removeprefix("openai:"),
        url=os.environ.get("OPENAI_BASE_URL") or OPENAI,
        key=_key(),
        prices=Prices(*options.judge_price),
        budget_usd=options.judge_budget_usd,
    )


def as_json(found: Score) -> dict[str, Any]:
    """The score for scripts."""
    return {
        "parts": [asdict(part) for part in found.parts],
        "rows": [
            asdict(row) | {"similarity": row.similarity, "quality": row.quality} | words_of(row, found) for row in found.rows
        ],
        "intents": {kind: by_intent(rows) for kind, rows in by_kind(found.rows).items()},
        "confusions": {kind: confusions(rows) for kind, rows in by_kind(found.rows).items()},
        "judge": asdict(found.judged) if found.judged else None,
        "second_run": found.second_run,
        "notes": found.notes,
    }


def words_of(row: RowScore, found: Score) -> dict[str, str]:
    """The ticket (empty where it is not known), what was expected and what came."""
    label = found.labels[row.id]
    return {"ticket": label.ticket, "ideal_reply": label.ideal_reply, "reply": found.predictions[row.id].reply}


def by_kind(rows: Sequence[RowScore]) -> dict[str, list[RowScore]]:
    """Ordinary rows and probes apart, in this order; a kind without rows is left out."""
    return {kind: own for kind in KINDS if (own := [row for row in rows if row.kind == kind])}


def print_score(found: Score) -> None:
    """The score for a reader."""
    print_parts(found.parts, by_kind(found.rows))
    if found.judged:
        used = f"{found.judged.prompt_tokens} prompt and {found.judged.completion_tokens} completion tokens"
        CONSOLE.print(f"judged {len(found.judged.grades)} of {len(found.rows)} rows, {used}, {found.judged.usd:.4f} USD")
        if 0 < len(found.judged.grades) < len(found.rows):
            CONSOLE.print("the other rows keep cosine and ROUGE-L, which lie on another scale: do not compare such a mean")
    if found.second_run is not None:
        CONSOLE.print(
            "the second run is the same" if not found.second_run else f"the second run differs: {len(found.second_run)}"
        )
        for key, what in found.second_run.items():
            CONSOLE.print(f"  {key}: {', '.join(what)}", markup=False)
    for note in found.notes:
        CONSOLE.print(f"note: {note}", markup=False)
    for kind, rows in by_kind(found.rows).items():
        print_intents(rows, kind=kind)
    print_failures(found.rows, found.labels, found.predictions)


if __name__ == "__main__":
    sys.exit(main())
