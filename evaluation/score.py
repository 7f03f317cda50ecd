"""python -m evaluation.score: how good are the answers in a results file?

Intent accuracy (the intent or one that is accepted too), must-mention groups met, must-not-mention strings avoided, cosine
of the reply to the ideal one, and every row that falls short. Predictions and labels are joined by id.

What it does not know: how the answers came about, and the training time that a judge may weigh.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from evaluation.labels import Label, read_labels
from retrieval.encoder import Encoder, SentenceEncoder
from retrieval.runtime import settle
from retrieval.tickets import InputProblems


@dataclass(frozen=True, slots=True)
class RowScore:
    """One answer against its label."""

    id: str
    expected: str
    intent: str
    intent_right: bool
    facts_met: int
    facts: int
    wrong_facts: tuple[str, ...]
    cosine: float


def read_predictions(path: Path) -> dict[str, dict[str, Any]]:
    """Predictions by id.

    Raises:
        InputProblems: the file is not a result that run.py wrote.
    """
    expected = 'expected a result of run.py: {"training": ..., "predictions": [...]}'
    try:
        predictions = json.loads(path.read_text(encoding="utf-8"))["predictions"]
        return {row["id"]: {"intent": str(row["predicted_intent"]), "reply": str(row["prediction"])} for row in predictions}
    except OSError as error:
        raise InputProblems([f"{path}: cannot be read ({error.strerror}), {expected}"]) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputProblems([f"{path}: found something else, {expected}"]) from error


def score_rows(predictions: dict[str, dict[str, Any]], labels: dict[str, Label], encoder: Encoder) -> list[RowScore]:
    """A score for every label, in the order of the labels.

    Raises:
        InputProblems: a label has no prediction.
    """
    missing = [
        f"{key}: found no prediction with this id, expected one for every label" for key in labels if key not in predictions
    ]
    if missing:
        raise InputProblems(missing)
    ideal = encoder.encode([label.ideal_reply for label in labels.values()])
    given = encoder.encode([predictions[key]["reply"] for key in labels])
    cosines = np.sum(ideal * given, axis=1)
    return [_row(predictions[key], label, float(cosine)) for (key, label), cosine in zip(labels.items(), cosines, strict=True)]


def _row(prediction: dict[str, Any], label: Label, cosine: float) -> RowScore:
    intent, reply = prediction["intent"], prediction["reply"]
    return RowScore(
        id=label.id,
        expected=label.intents[0],
        intent=intent,
        intent_right=intent in label.intents,
        facts_met=label.facts_met(reply),
        facts=len(label.must_mention),
        wrong_facts=label.wrong_facts(reply),
        cosine=cosine,
    )


def print_scores(rows: Sequence[RowScore]) -> None:
    """The totals, then the rows that fall short."""
    console = Console(width=110)
    met, facts = sum(row.facts_met for row in rows), sum(row.facts for row in rows)
    console.print(f"intents right        {sum(row.intent_right for row in rows)} of {len(rows)}")
    console.print(f"must-mention met     {met} of {facts} groups")
    console.print(f"must-not-mention     {sum(len(row.wrong_facts) for row in rows)} found")
    console.print(f"cosine to the ideal  {np.mean([row.cosine for row in rows]):.3f}")
    table = Table("row", "expected", "got", "facts", "wrong facts", "cosine")
    short = [row for row in rows if not row.intent_right or row.facts_met < row.facts or row.wrong_facts]
    for row in short:
        facts_met = f"{row.facts_met} of {row.facts}"
        table.add_row(row.id, row.expected, row.intent, facts_met, ", ".join(row.wrong_facts), f"{row.cosine:.2f}")
    if short:
        console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores a results file and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.score", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, required=True, help="what run.py wrote to --output")
    parser.add_argument("--labels", type=Path, required=True, help="JSONL with id, intent, ideal_reply, must_mention, ...")
    options = parser.parse_args(arguments)
    try:
        predictions, labels = read_predictions(options.results), read_labels(options.labels)
        settle()
        print_scores(score_rows(predictions, labels, SentenceEncoder(None)))
    except InputProblems as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
