"""Reads what a score is made from, and says all that is wrong with it at once.

What it does not know: what is scored.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from evaluation.grading import read_result
from evaluation.labels import Label, read_labels
from retrieval.tickets import InputProblems, Ticket, read_val

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ScoreInput:
    """Good input.

    Attributes:
        result: of the run that is scored.
        second: of a second run, None without one.
        labels: that are to be scored, by id, with their tickets where these are known.
        notes: what is odd about it, a sentence each.
    """

    result: dict[str, Any]
    second: dict[str, Any] | None
    labels: dict[str, Label]
    notes: tuple[str, ...]


def read_input(
    results: Path, labels: Path, *, second_run: Path | None, val: Path | None, probes: bool, also: Sequence[str]
) -> ScoreInput:
    """Reads the files.

    Args:
        results: of run.py.
        labels: for them.
        second_run: another result, or None.
        val: the tickets, or None.
        probes: whether the probe rows are scored too.
        also: problems that were found already.

    Raises:
        InputProblems: with all that is wrong.
    """
    problems = list(also)
    result = _kept(lambda: read_result(results), problems)
    second = _kept(lambda: read_result(second_run), problems) if second_run else None
    known = _kept(lambda: read_labels(labels), problems)
    tickets, found = read_val(val) if val else ((), [])
    problems += found
    if result and known:
        problems += _joint_problems(results, labels, result, known, probes=probes)
    if problems or not result or not known:
        raise InputProblems(problems)
    wanted = {key: label for key, label in known.items() if probes or label.kind == "row"}
    return ScoreInput(result, second, _with_tickets(wanted, tickets), tuple(_notes(result, known, probes=probes)))


def _kept(read: Callable[[], T], problems: list[str]) -> T | None:
    """What is read, or None and its problems."""
    try:
        return read()
    except InputProblems as error:
        problems += error.problems
        return None


def _with_tickets(labels: Mapping[str, Label], tickets: Sequence[Ticket]) -> dict[str, Label]:
    texts = {ticket.id: ticket.text for ticket in tickets}
    return {key: replace(label, ticket=texts.get(key, label.ticket)) for key, label in labels.items()}


def _joint_problems(
    results: Path, labels: Path, result: Mapping[str, Any], known: Mapping[str, Label], *, probes: bool
) -> list[str]:
    """What is wrong with good files together."""
    answered = {row["id"] for row in result["predictions"]}
    bare = [key for key, label in known.items() if key not in answered and (probes or label.kind == "row")]
    found = [f"{results}: found no prediction for {', '.join(bare)}, expected one for every row of {labels}"] if bare else []
    kinds = {label.kind for label in known.values()}
    if probes and "probe" not in kinds:
        found.append(f'{labels}: found no row with "kind": "probe", expected some with --probes')
    if not probes and kinds == {"probe"}:
        found.append(f"{labels}: found nothing but probe rows, expected others, or --probes")
    return found


def _notes(result: Mapping[str, Any], known: Mapping[str, Label], *, probes: bool) -> list[str]:
    left_out = sum(label.kind == "probe" for label in known.values())
    found = [f"{left_out} probe rows are left out without --probes"] if left_out and not probes else []
    unlabelled = sum(row["id"] not in known for row in result["predictions"])
    return [*found, f"{unlabelled} predictions have no label"] if unlabelled else found
