"""JSON lines of a long measurement: printed as they come, kept in a file, reported together with those of earlier runs."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from retrieval.tickets import InputProblems

Measured = dict[str, Any]  # one line


def add_lines_options(parser: argparse.ArgumentParser) -> None:
    """The file of the lines, and to report without measuring."""
    add = parser.add_argument
    add("--jsonl", type=Path, metavar="FILE", help="add the lines to this file, and report all that are in it")
    add("--report", action="store_true", help="measure nothing, report what --jsonl holds")


def line_problems(options: argparse.Namespace, *, key: str) -> list[str]:
    """What is wrong with the file of the lines, all of which have this key, or with --report."""
    try:
        lines = earlier_lines(options.jsonl) if options.jsonl else []
    except InputProblems as error:
        return list(error.problems)
    if not all(isinstance(line, dict) and key in line for line in lines):
        return [f"{options.jsonl}: found a line without {key}, expected the lines of earlier runs of this command"]
    if lines or not options.report:
        return []
    return ["--report: found no earlier lines, expected --jsonl with a file that holds some"]


def with_earlier_lines(measured: Iterable[Measured], path: Path | None, *, printed: bool = True) -> list[Measured]:
    """Measures, adds every line to the file, prints it to stdout; returns the file's earlier lines and the new ones.

    Raises:
        InputProblems: the file holds something else.
    """
    lines = earlier_lines(path) if path else []
    for found in measured:
        line = json.dumps(found)
        lines.append(found)
        if path:
            with path.open("a", encoding="utf-8") as file:
                print(line, file=file)
        if printed:
            print(line, flush=True)
    return lines


def earlier_lines(path: Path) -> list[Measured]:
    """What earlier runs wrote to a file, nothing if there is none; raises InputProblems if it is something else."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    except ValueError as error:
        raise InputProblems([f"{path}: found a line that is no JSON, expected the lines of earlier runs"]) from error
