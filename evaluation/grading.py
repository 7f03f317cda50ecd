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
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.labels import Label
from retrieval.bm25 import words
from retrieval.encoder import Encoder, ModelUnavailable
from retrieval.tickets import InputProblems, shown

EXPECTED = 'expected a result of run.py: {"training": ..., "predictions": [...]}'
PREDICTED = ("id", "prediction", "predicted_intent")
LONGEST_S = 1e9  # a training time beyond this is no time


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
    """The F-measure of the longest common subsequence of words, 0 to 1 (Lin 2004, with equal weights).

    Raises:
        ModelUnavailable: rapidfuzz is missing.
    """
    try:
        from rapidfuzz.distance import LCSseq
    except ModuleNotFoundError as error:  # every command that scores turns this into its one sentence
        raise ModelUnavailable("ROUGE-L needs rapidfuzz, found none: pip install -r requirements-dev.txt") from error

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
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < LONGEST_S:
        problems.append(f'found {shown(repr(seconds))} in "wall_clock_s", expected seconds from 0')
    good = [row for row in rows if isinstance(row, dict) and all(_is_text(row.get(key)) for key in PREDICTED)]
    if len(good) < len(rows):
        what = f"{len(rows) - len(good)} predictions without {', '.join(PREDICTED)} as strings"
        problems.append(f"found {what}, {EXPECTED}")
    again = [key for key, count in Counter(row["id"] for row in good).items() if count > 1]
    return [*problems, *(f"found the id {shown(key)} more than once, expected unique ids" for key in again)]


def _is_text(value: object) -> bool:
    """Whether it is a string that can be written as UTF-8: half a surrogate pair could be neither shown nor sent."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def predictions_of(result: Mapping[str, Any]) -> dict[str, Prediction]:
    """The predictions of a result by id."""
    return {row["id"]: Prediction(row["predicted_intent"], row["prediction"]) for row in result["predictions"]}
