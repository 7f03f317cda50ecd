"""python -m evaluation.benchmarks.bench: this program beside TRL and SetFit, in turn, on the same rows and the same base.

The contestants run one after the other, each in a process of its own, for several rounds; with --folds every round has a split
of its own. One JSON line per run goes to stdout, tables with medians and ratios to stderr. `make bench` sets up the
environment that it needs.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean

from evaluation.benchmarks.bench.contestants import CONTESTANTS, PACKAGES, ContestantFailed, Finished, run_contestant
from evaluation.benchmarks.bench.prepare import prepare
from evaluation.benchmarks.bench.report import machine, tables, write_docs
from evaluation.benchmarks.bench.task import Outcome
from evaluation.command import count, new_parser, print_table, run_command
from evaluation.measured_lines import Measured, add_lines_options, line_problems, with_earlier_lines
from evaluation.score.grading import GRADING_ENCODER, score_rows, tally
from evaluation.score.results import ResultRow
from evaluation.splits import Split, add_split_options, drawn_splits, given_split, split_problems
from finetune.base_selection import base_problems
from finetune.prompt import NoPrompt
from retrieval.console import say
from retrieval.encoder import Encoder, encoder_problems, load_encoder
from retrieval.known_models import SMOLLM
from retrieval.runtime import configure
from retrieval.tickets import InputProblems


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the comparison."""
    parser = new_parser("evaluation.benchmarks.bench", __doc__)
    add = parser.add_argument
    add("--train", type=Path, metavar="FILE", help="rows to learn from")
    add("--val", type=Path, metavar="FILE", help="tickets to answer")
    add("--labels", type=Path, metavar="FILE", help="their labels")
    add_split_options(parser)
    add("--base-model", default=SMOLLM.name, metavar="BASE", help=f"as for run.py (default: {SMOLLM.name})")
    add("--encoder", default="auto", metavar="ENCODER", help="as for run.py (default: auto)")
    add("--rounds", type=count, default=3, metavar="N", help="default: 3")
    only_help = f"of {', '.join(CONTESTANTS)} (default: all)"
    add("--only", nargs="+", choices=CONTESTANTS, default=CONTESTANTS, metavar="NAME", help=only_help)
    add_lines_options(parser)
    add("--docs", type=Path, metavar="DIR", help="write bench.md and bench.png into this folder")
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options), failures=(ContestantFailed, NoPrompt))


def run(options: argparse.Namespace) -> int:
    """Measures, prints, writes."""
    if problems := option_problems(options):
        raise InputProblems(problems)
    lines = with_earlier_lines(() if options.report else measure_all(options), options.jsonl)
    for table in tables(lines):
        print_table(table, stderr=True)
    if options.docs:
        write_docs(lines, options.docs)
    return 0


def option_problems(options: argparse.Namespace) -> list[str]:
    """What is wrong with the options, a missing package among it."""
    found = [] if options.docs is None or options.docs.is_dir() else [f"--docs {options.docs}: found no such folder"]
    found += line_problems(options, key="contestant")
    if options.report:
        return found
    given = [path is not None for path in files(options)]
    found += [*base_problems(options.base_model, Path()), *encoder_problems(options.encoder), *split_problems(options)]
    found += ["--base-model none: found no base, expected one to train"] if options.base_model == "none" else []
    if all(given) == bool(options.folds) or any(given) != all(given):
        found.append("expected either --folds, or all of --train, --val and --labels")
    needed = [package for name, package in PACKAGES.items() if name in options.only and find_spec(package) is None]
    return [*found, *(f"found no package {package}: pip install -r requirements-bench.txt" for package in needed)]


def files(options: argparse.Namespace) -> tuple[Path, Path, Path]:
    """The files of a split that is given."""
    return options.train, options.val, options.labels


def measure_all(options: argparse.Namespace) -> Iterator[Measured]:
    """Every contestant in every round; a split serves several rounds where there are more rounds than splits."""
    configure()
    encoder, grader = load_encoder(options.encoder), load_encoder(GRADING_ENCODER)
    splits = drawn_splits(options, encoder) if options.folds else [given_split(*files(options), encoder)]
    models = {"base_model": options.base_model, "encoder": options.encoder}
    with tempfile.TemporaryDirectory() as work:
        for number in range(options.rounds):
            split, folder = splits[number % len(splits)], Path(work) / f"{number}"
            prepare(split, folder, encoder, base_model=options.base_model)
            for name in options.only:
                say(f"round {number + 1} of {options.rounds}: {name}")
                finished, outcome = run_contestant(name, folder, **models)
                head = {"contestant": name, "base": options.base_model, "round": number + 1, "split": digest(split)}
                yield head | {"machine": machine()} | figures(finished, outcome) | scores(split, outcome, grader)


def digest(split: Split) -> str:
    """Tells splits apart: the same for the same train rows and tickets."""
    texts = [*((row.id, row.text) for row in split.train_set.rows), *((ticket.id, ticket.text) for ticket in split.tickets)]
    return sha256(repr(texts).encode()).hexdigest()[:12]


def figures(finished: Finished, outcome: Outcome) -> Measured:
    """The costs: seconds and GiB; None for what a contestant does not do."""
    costs = {key: getattr(outcome, key) for key in ("setup_s", "step_s", "reply_s", "ticket_s")}
    costs |= {"wall_s": finished.wall_s, "peak_gib": finished.peak_gib}
    return {key: None if value is None else round(value, 4) for key, value in costs.items()}


def scores(split: Split, outcome: Outcome, grader: Encoder) -> Measured:
    """How good the answers are, as `evaluation.score` has it; None for replies that a contestant does not give."""
    replies = outcome.replies or {}
    rows = {key: ResultRow(intent, replies.get(key, "")) for key, intent in outcome.intents.items()}
    by_ticket = score_rows(rows, {label.id: label for label in split.labels}, grader)
    found = tally(by_ticket)
    of_replies = {
        "quality": found.quality,
        "cosine": found.cosine,
        "rouge_l": found.rouge_l,
        "facts": found.facts_met / found.fact_groups if found.fact_groups else None,
        "wrong_facts": found.wrong_facts,
        "words": fmean(len(replies.get(key, "").split()) for key in rows),
    }
    given = {key: None if value is None or outcome.replies is None else round(value, 4) for key, value in of_replies.items()}
    sizes = {"train_rows": len(split.train_set.rows), "tickets": found.rows}
    in_order = {
        "correct_by_ticket": [int(row.intent_correct) for row in by_ticket],
        "quality_by_ticket": None if outcome.replies is None else [round(row.quality, 4) for row in by_ticket],
    }
    return sizes | {"intents": round(found.correct / found.rows, 4)} | given | in_order


if __name__ == "__main__":
    sys.exit(main())
