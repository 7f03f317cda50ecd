"""python -m evaluation.report: a finished run as one HTML page that needs nothing else.

    python -m evaluation.report --weights DIR --results R [--labels L [L2 ...]] --output report.html

Reads what the run wrote (`run.json`, `predictions.jsonl`, the train set) and, with labels, scores its predictions, ordinary
rows and probes apart. The page carries its style, script and pictures and is told to load nothing; whatever a ticket says is
escaped by the template.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import new_parser, read_or_note, run_command
from evaluation.report.render import FinishedRun, render
from evaluation.score.grading import GRADING_ENCODER
from evaluation.score.labels import Label, read_label_files
from evaluation.score.results import read_result, result_rows
from retrieval.encoder import load_encoder
from retrieval.files import write_text
from retrieval.paths import overwritten
from retrieval.run_files import PREDICTIONS
from retrieval.runtime import configure
from retrieval.saved_run import find_run
from retrieval.tickets import InputProblems, read_rows
from retrieval.train_set_files import load_train_set

FIELDS = ("id", "ticket", "predicted_intent", "prediction", "source")


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the page."""
    parser = new_parser("evaluation.report", __doc__)
    parser.add_argument("--weights", type=Path, required=True, metavar="DIR", help="weights folder of the run")
    parser.add_argument("--results", type=Path, required=True, metavar="FILE", help="its result")
    parser.add_argument("--labels", type=Path, nargs="+", default=[], metavar="FILE", help="labels, as for evaluation.score")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the page; replaced if it is there")
    options = parser.parse_args(arguments)
    return run_command(lambda: write_page(options))


def write_page(options: argparse.Namespace) -> int:
    """Reads, renders, writes."""
    run, labels = read_input(options)
    configure()
    write_text(options.output, render(run, labels, load_encoder(run.encoder), load_encoder(GRADING_ENCODER)))
    print(f"the report stands in {options.output}", file=sys.stderr)
    return 0


def read_input(options: argparse.Namespace) -> tuple[FinishedRun, dict[str, Label]]:
    """The run, and its labels if there are any; raises InputProblems with all that is wrong."""
    run, problems = find_run(options.weights)
    rows, row_problems = read_rows(options.weights / PREDICTIONS, FIELDS)
    problems += row_problems
    result = read_or_note(lambda: read_result(options.results), problems)
    if result and not row_problems and [*result_rows(result).items()] != [*result_rows({"predictions": rows}).items()]:
        problems.append(f"{options.results}: found other predictions than in {options.weights}, expected its result")
    labels = read_or_note(lambda: read_label_files(options.labels), problems) or {}
    if labels and rows and not labels.keys() & {row["id"] for row in rows}:
        problems.append(f"{', '.join(map(str, options.labels))}: found no label for any row of {options.results}")
    if not options.output.absolute().parent.is_dir() or options.output.is_dir():
        problems.append(f"--output {options.output}: cannot be a file, expected a name in a folder that exists")
    inputs = [("--results", options.results), *(("--labels", path) for path in options.labels)]
    problems += overwritten(options.output, inputs, options.weights)
    if run is None or problems:
        raise InputProblems(problems)
    train_set = load_train_set(options.weights, run.encoder_name)[0]
    return FinishedRun(train_set, run.encoder, dict(run.record), rows), labels


if __name__ == "__main__":
    sys.exit(main())
