"""What all evaluation commands share: the parser, the error boundary, the plainest table."""

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, pstdev
from typing import Literal, TypeVar

from rich import box
from rich.console import Console
from rich.table import Table

from retrieval.errors import ModelUnavailable, memory_sentence
from retrieval.map import NoPlots
from retrieval.tickets import InputProblems

T = TypeVar("T")


class MissingPackage(Exception):
    """A package of requirements-dev.txt is not installed."""

    def __init__(self, purpose: str, package: str) -> None:
        super().__init__(
            f"{purpose} needs {package}, found none: `make report` installs it, or pip install -r requirements-dev.txt"
        )


def new_parser(module: str, doc: str | None) -> argparse.ArgumentParser:
    """The parser of `python -m module`, described by the first line of its docstring."""
    return argparse.ArgumentParser(prog=f"python -m {module}", description=(doc or "").splitlines()[0])


def count(text: str) -> int:
    """An option's whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected a whole number from 1")
    return int(text)


def number(text: str) -> int:
    """An option's whole number from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"found {text}, expected a whole number from 0")
    return int(text)


def run_command(work: Callable[[], int], *, failures: tuple[type[Exception], ...] = ()) -> int:
    """The exit status of a command's work: 2 for bad input, 1 for what is missing or cannot be written, else its own.

    `failures` are further exceptions whose message is a sentence for the user.
    """
    sentences: tuple[type[Exception], ...] = (ModelUnavailable, MissingPackage, NoPlots, *failures)
    try:
        return work()
    except InputProblems as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return 2
    except sentences as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {error.filename or 'a file'} cannot be read or written: {error.strerror or error}", file=sys.stderr)
    except MemoryError as error:
        print(f"error: {memory_sentence(error)}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1


def read_or_note(read: Callable[[], T], problems: list[str]) -> T | None:
    """What is read, or None, its problems added to the others."""
    try:
        return read()
    except InputProblems as error:
        problems += error.problems
        return None


def with_error(values: Sequence[float], *, digits: int, sign: Literal["+", ""] = "+") -> str:
    """Mean and standard error of at least one value; differences carry their sign."""
    return f"{fmean(values):{sign}.{digits}f} ± {pstdev(values) / math.sqrt(len(values)):.{digits}f}"


def print_table(lines: Sequence[Mapping[str, str]], *, stderr: bool = False) -> None:
    """A table of at least one line; its heads are the lines' keys."""
    table = Table(*lines[0], box=box.SIMPLE_HEAD)
    for line in lines:
        table.add_row(*line.values())
    Console(width=150, stderr=stderr, emoji=False, highlight=False).print(table)
