"""python -m evaluation.report: a finished run as one HTML page that needs nothing else.

    python -m evaluation.report --weights DIR --results R [--labels L] --output report.html

Reads what the run wrote (`run.json`, `predictions.jsonl`, the train_set) and, with labels, the scores of its answers. The page
carries its style, script and pictures and is told to load nothing; whatever a ticket says is escaped by the template.

What it does not know: how to judge (`grading`), how a page looks (`page/`).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.labels import Label, read_labels
from evaluation.report_data import FinishedRun, read_run
from evaluation.report_page import NoTemplates, render
from retrieval.encoder import ModelUnavailable, SentenceEncoder
from retrieval.files import write_text
from retrieval.map import NoPlots
from retrieval.runtime import configure
from retrieval.tickets import InputProblems


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    found = argparse.ArgumentParser(prog="python -m evaluation.report", description=(__doc__ or "").splitlines()[0])
    found.add_argument("--weights", type=Path, required=True, metavar="DIR", help="weights folder of the run")
    found.add_argument("--results", type=Path, required=True, metavar="FILE", help="its result")
    found.add_argument("--labels", type=Path, metavar="FILE", help="labels, as for evaluation.score")
    found.add_argument("--output", type=Path, required=True, metavar="FILE", help="the page; replaced if it is there")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the page."""
    options = parser().parse_args(arguments)
    try:
        run, labels = read_input(options)
        configure()
        page = render(run, labels, SentenceEncoder(run.settings.encoder))
        write_text(options.output, page)
    except InputProblems as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return 2
    except (ModelUnavailable, NoPlots, NoTemplates) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.filename or 'a file'} cannot be read or written: {error.strerror or error}", file=sys.stderr)
        return 1
    print(f"the report stands in {options.output}", file=sys.stderr)
    return 0


def read_input(options: argparse.Namespace) -> tuple[FinishedRun, dict[str, Label]]:
    """The run, and its labels if there are any.

    Raises:
        InputProblems: with all that is wrong.
        ModelUnavailable: the run's vectors cannot be read.
    """
    problems: list[str] = []
    run, labels = None, {}
    try:
        run = read_run(options.weights, options.results)
    except InputProblems as error:
        problems += error.problems
    try:
        labels = read_labels(options.labels) if options.labels else {}
    except InputProblems as error:
        problems += error.problems
    if not options.output.absolute().parent.is_dir() or options.output.is_dir():
        problems.append(f"--output {options.output}: found no place for a file, expected a name in a folder that exists")
    if run and options.labels and not labels.keys() & {row["id"] for row in run.rows}:
        problems += [] if problems else [f"{options.labels}: found no label for any row of {options.results}"]
    if problems or run is None:
        raise InputProblems(problems)
    return run, labels


if __name__ == "__main__":
    sys.exit(main())
