"""A finished run, read back from its files.

What it does not know: labels, and pages.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.grading import read_result
from retrieval.store import RunSettings, load_settings, load_train_set
from retrieval.tickets import InputProblems, read_rows
from retrieval.train_set import TrainSet

EXPLAINED = ("id", "ticket", "predicted_intent", "prediction", "source")


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """What a run left.

    Attributes:
        train_set: its train rows.
        settings: of its retrieval.
        record: run.json.
        rows: predictions.jsonl, in the order of the input.
        result: the results file.
    """

    train_set: TrainSet
    settings: RunSettings
    record: dict[str, Any]
    rows: list[dict[str, Any]]
    result: dict[str, Any]


def read_run(weights: Path, results: Path) -> FinishedRun:
    """Reads a weights folder and the result that belongs to it.

    Raises:
        InputProblems: with all that is wrong.
        ModelUnavailable: the vectors cannot be read.
    """
    settings, problems = load_settings(weights)
    rows, found = read_rows(weights / "predictions.jsonl", EXPLAINED)
    problems += found
    try:
        result = read_result(results)
    except InputProblems as error:
        raise InputProblems([*problems, *error.problems]) from error
    if problems:
        raise InputProblems(problems)
    answered = [(row["id"], row["prediction"]) for row in result["predictions"]]
    if answered != [(row["id"], row["prediction"]) for row in rows]:
        raise InputProblems([f"{results}: found other answers than those in {weights}, expected the result of that run"])
    record = json.loads((weights / "run.json").read_text(encoding="utf-8"))
    return FinishedRun(load_train_set(weights), settings, record, rows, result)
