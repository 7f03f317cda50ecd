"""One answer against its label: the intent, the facts, and how near the reply comes to the ideal one.

The quality of a reply, 0 to 1, is our reading of "similarity, must-mention, must-not-mention", whose weights the task leaves
open: half similarity, half facts. Similarity is the mean of the encoder's cosine (0 if negative) and ROUGE-L, or the grade of a
judge in their place. Facts are the share of must-mention groups that are met, and 0 if anything stands in the reply that must
not; a label without either leaves similarity alone.

ROUGE-L is the F-measure of the longest common subsequence of words (Lin 2004); rapidfuzz counts that subsequence, which is well
kept and fast, while the reference package has not been released for years.

What it does not know: whole files, weights of the parts (`parts`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.labels import Label
from retrieval.encoder import Encoder
from retrieval.lexical import words
from retrieval.tickets import InputProblems


@dataclass(frozen=True, slots=True)
class Prediction:
    """What is judged of an answer."""

    intent: str
    reply: str


@dataclass(frozen=True, slots=True)
class RowScore:
    """One answer against its label.

    Attributes:
        id: of the row.
        kind: row or probe.
        expected: the label's intent.
        intent: the predicted one.
        intent_right: whether it is the label's or an accepted one.
        facts: how many must-mention groups there are.
        missing: those that are not met.
        wrong_facts: what stands in the reply and must not.
        facts_share: 0 to 1, None without facts to check.
        cosine: of reply and ideal reply.
        rouge_l: of reply and ideal reply.
        grade: of a judge, 0 to 1, None without one.
    """

    id: str
    kind: str
    expected: str
    intent: str
    intent_right: bool
    facts: int
    missing: tuple[tuple[str, ...], ...]
    wrong_facts: tuple[str, ...]
    facts_share: float | None
    cosine: float
    rouge_l: float
    grade: float | None = None

    @property
    def similarity(self) -> float:
        """The judge's grade, or the mean of cosine and ROUGE-L."""
        return (max(self.cosine, 0.0) + self.rouge_l) / 2 if self.grade is None else self.grade

    @property
    def quality(self) -> float:
        """Of the reply, 0 to 1."""
        return self.similarity if self.facts_share is None else (self.similarity + self.facts_share) / 2


def score_rows(predictions: Mapping[str, Prediction], labels: Mapping[str, Label], encoder: Encoder) -> list[RowScore]:
    """A score for every label, in the order of the labels; every label has a prediction."""
    ideal = encoder.encode([label.ideal_reply for label in labels.values()])
    given = encoder.encode([predictions[key].reply for key in labels])
    cosines = np.sum(ideal * given, axis=1)
    return [_row(predictions[key], label, float(cosine)) for (key, label), cosine in zip(labels.items(), cosines, strict=True)]


def _row(prediction: Prediction, label: Label, cosine: float) -> RowScore:
    missing, wrong = label.missing_facts(prediction.reply), label.wrong_facts(prediction.reply)
    groups = len(label.must_mention)
    share: float | None = None
    if groups or label.must_not_mention:
        share = 0.0 if wrong else 1 - len(missing) / max(groups, 1)
    return RowScore(
        id=label.id,
        kind=label.kind,
        expected=label.intents[0],
        intent=prediction.intent,
        intent_right=prediction.intent in label.intents,
        facts=groups,
        missing=missing,
        wrong_facts=wrong,
        facts_share=share,
        cosine=cosine,
        rouge_l=rouge_l(prediction.reply, label.ideal_reply),
    )


def rouge_l(reply: str, ideal: str) -> float:
    """The F-measure of the longest common subsequence of words, 0 to 1 (Lin 2004, with equal weights)."""
    from rapidfuzz.distance import LCSseq

    ours, theirs = words(reply), words(ideal)
    return 2 * LCSseq.similarity(ours, theirs) / (len(ours) + len(theirs)) if ours or theirs else 1.0


def with_grades(rows: Sequence[RowScore], grades: Mapping[str, float]) -> list[RowScore]:
    """The rows with a judge's grades, where there are any."""
    return [replace(row, grade=grades.get(row.id)) for row in rows]


def read_result(path: Path) -> dict[str, Any]:
    """A results file as it is.

    Raises:
        InputProblems: the file is not a result that run.py wrote.
    """
    expected = 'expected a result of run.py: {"training": ..., "predictions": [...]}'
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        float(found["training"]["wall_clock_s"])
        good = all(
            isinstance(row[key], str) for row in found["predictions"] for key in ("id", "prediction", "predicted_intent")
        )
    except OSError as error:
        raise InputProblems([f"{path}: cannot be read ({error.strerror}), {expected}"]) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputProblems([f"{path}: found something else, {expected}"]) from error
    if not good:
        raise InputProblems([f"{path}: found a prediction without id, prediction or predicted_intent, {expected}"])
    return dict(found)


def predictions_of(result: Mapping[str, Any]) -> dict[str, Prediction]:
    """The predictions of a result by id."""
    return {row["id"]: Prediction(row["predicted_intent"], row["prediction"]) for row in result["predictions"]}
