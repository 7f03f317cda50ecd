"""Results files as run.py writes them: read, checked, matched with labels, and two of them compared."""

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evaluation.command import read_or_note
from evaluation.score.labels import Label, read_label_files
from retrieval.columns import parse_columns
from retrieval.tickets import InputProblems, quoted, read_val

EXPECTED = 'expected a result of run.py: {"training": ..., "predictions": [...]}'
FIELDS = ("id", "prediction", "predicted_intent")
MAX_SECONDS = 1e9  # a training time beyond this is no time
TIMES = ("latency_ms", "wall_clock_s")  # differ always


@dataclass(frozen=True, slots=True)
class ResultRow:
    """What is scored of a prediction."""

    intent: str
    reply: str


def read_result(path: Path) -> dict[str, Any]:
    """A results file as it is; raises InputProblems if run.py did not write it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputProblems([f"{path}: cannot be read ({error.strerror}), {EXPECTED}"]) from error
    except (ValueError, RecursionError) as error:
        raise InputProblems([f"{path}: found no JSON, {EXPECTED}"]) from error
    if problems := _result_problems(found):
        raise InputProblems([f"{path}: {problem}" for problem in problems])
    return dict(found)


def _result_problems(found: Any) -> list[str]:
    training, rows = (found.get(key) if isinstance(found, dict) else None for key in ("training", "predictions"))
    if not isinstance(training, dict) or not isinstance(rows, list):
        return [f"found something else, {EXPECTED}"]
    seconds = training.get("wall_clock_s")
    problems = []
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < MAX_SECONDS:
        problems.append(f'found {quoted(repr(seconds))} in "wall_clock_s", expected seconds from 0')
    good = [row for row in rows if isinstance(row, dict) and all(_is_text(row.get(key)) for key in FIELDS)]
    if len(good) < len(rows):
        problems.append(f"found {len(rows) - len(good)} predictions without {', '.join(FIELDS)} as strings, {EXPECTED}")
    repeated = [key for key, count in Counter(row["id"] for row in good).items() if count > 1]
    return [*problems, *(f"found the id {quoted(key)} more than once, expected unique ids" for key in repeated)]


def _is_text(value: object) -> bool:
    """Whether it is a string that can be written as UTF-8: half a surrogate pair could be neither shown nor sent."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def result_rows(result: Mapping[str, Any]) -> dict[str, ResultRow]:
    """The predictions of a result by id."""
    return {row["id"]: ResultRow(row["predicted_intent"], row["prediction"]) for row in result["predictions"]}


def read_input(
    options: argparse.Namespace, problems: list[str]
) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Label], list[str]]:
    """The result, a second run's, the labels to be scored, what is odd; raises InputProblems with `problems` and all others."""
    result = read_or_note(lambda: read_result(options.results), problems)
    second = read_or_note(lambda: read_result(options.second_run), problems) if options.second_run else None
    known = read_or_note(lambda: read_label_files(options.labels), problems)
    columns, column_problems = parse_columns(options.columns)
    tickets, val_problems = read_val(options.val, columns=columns) if options.val else ((), [])
    problems += [*column_problems, *val_problems]
    if result and known:
        problems += _joint_problems(options, result, known)
    if problems or not result or not known:
        raise InputProblems(problems)
    texts = {ticket.id: ticket.text for ticket in tickets}
    scored = {key: label for key, label in known.items() if options.probes or label.kind != "probe"}
    labels = {key: replace(label, ticket=texts.get(key, label.ticket)) for key, label in scored.items()}
    return result, second, labels, _notes(result, known, probes=options.probes)


def _joint_problems(options: argparse.Namespace, result: Mapping[str, Any], known: Mapping[str, Label]) -> list[str]:
    """What is wrong with good files together."""
    predicted, kinds = {row["id"] for row in result["predictions"]}, {label.kind for label in known.values()}
    files, found = ", ".join(map(str, options.labels)), []
    if missing := [key for key, label in known.items() if key not in predicted and (options.probes or label.kind != "probe")]:
        expected = f"expected one for every row of {files}"
        found.append(f"{options.results}: found no prediction for {', '.join(missing)}, {expected}")
    if options.probes and "probe" not in kinds:
        found.append(f'{files}: found no row with "kind": "probe", expected some with --probes')
    if not options.probes and kinds == {"probe"}:
        found.append(f"{files}: found nothing but probe rows, expected others, or --probes")
    return found


def _notes(result: Mapping[str, Any], known: Mapping[str, Label], *, probes: bool) -> list[str]:
    left_out = sum(label.kind == "probe" for label in known.values())
    found = [f"{left_out} probe rows are left out without --probes"] if left_out and not probes else []
    unlabelled = sum(row["id"] not in known for row in result["predictions"])
    return [*found, f"{unlabelled} predictions have no label"] if unlabelled else found


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, list[str]]:
    """What differs between two results of the same input, by row id (`training` for its figures); times are not compared."""
    ours, theirs = ({row["id"]: row for row in result["predictions"]} for result in (first, second))
    found = {"training": _different_keys(first["training"], second["training"])}
    for key in dict.fromkeys((*ours, *theirs)):
        if key in ours and key in theirs:
            found[key] = _different_keys(ours[key], theirs[key])
        else:
            found[key] = ["only in the first run" if key in ours else "only in the second run"]
    if list(ours) != list(theirs) and set(ours) == set(theirs):
        found["order"] = ["the rows stand in another order"]
    return {key: what for key, what in found.items() if what}


def _different_keys(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    return [key for key in dict.fromkeys((*ours, *theirs)) if key not in TIMES and ours.get(key) != theirs.get(key)]
