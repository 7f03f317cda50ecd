"""One prediction against its label, and how the rows add up to the parts of the score, as the task is scored.

    intents      40 %   share of rows with a correct intent
    replies      30 %   mean quality of their replies
    probes       20 %   of the probe rows: mean of intent and quality
    efficiency   10 %   1 up to 600 s of training, 0 from 1800 s, linear between

The quality of a reply, 0 to 1, is our reading of "similarity, must-mention, must-not-mention", whose weights the task leaves
open: half similarity, half facts. Similarity is the mean of the encoder's cosine (0 if negative) and ROUGE-L, or the grade of a
judge in their place. The fact score is the share of must-mention groups that are met, and 0 if anything stands in the reply
that must not; a label without either leaves similarity alone. A part that was not measured leaves the others their proportions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.command import MissingPackage
from evaluation.score.labels import Kind, Label
from evaluation.score.results import ResultRow
from retrieval.bm25 import words
from retrieval.bootstrap import bootstrap_means
from retrieval.encoder import Encoder
from retrieval.known_models import MINILM

GRADING_ENCODER = MINILM.name  # pinned, so that a result keeps its score whatever encoder answered
WEIGHTS = {"intents": 0.4, "replies": 0.3, "probes": 0.2, "efficiency": 0.1}
FULL_UNTIL_S, NONE_FROM_S = 600.0, 1800.0


@dataclass(frozen=True, slots=True)
class RowScore:
    """One prediction against its label."""

    id: str
    kind: Kind
    expected_intent: str
    predicted_intent: str
    intent_correct: bool  # the label's or an accepted one
    fact_groups: int  # of must_mention
    missing_facts: tuple[tuple[str, ...], ...]  # the groups that are not met
    wrong_facts: tuple[str, ...]  # what stands in the reply and must not
    fact_score: float | None  # 0 to 1, None without facts to check
    cosine: float  # of reply and ideal reply
    rouge_l: float
    ticket: str  # empty where it is not known
    ideal_reply: str
    reply: str
    grade: float | None = None  # of a judge, 0 to 1

    @property
    def similarity(self) -> float:
        """The judge's grade, or the mean of cosine and ROUGE-L."""
        return (max(self.cosine, 0.0) + self.rouge_l) / 2 if self.grade is None else self.grade

    @property
    def quality(self) -> float:
        """Of the reply, 0 to 1."""
        return self.similarity if self.fact_score is None else (self.similarity + self.fact_score) / 2

    @property
    def facts_met(self) -> int:
        """How many groups of must_mention the reply meets."""
        return self.fact_groups - len(self.missing_facts)


@dataclass(frozen=True, slots=True)
class Tally:
    """Some rows together: counts, and means of what their replies are worth."""

    rows: int
    correct: int  # intents
    quality: float
    cosine: float
    rouge_l: float
    facts_met: int  # groups of must_mention
    fact_groups: int
    wrong_facts: int  # strings of must_not_mention that stand in a reply


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the score, 0 to 1, or the total."""

    name: str
    weight: float  # its share of the total, in what was measured
    value: float  # its mean
    low: float  # of its 95 % bootstrap interval over rows
    high: float
    n: int  # rows that it rests on, 0 for efficiency


def score_rows(predictions: Mapping[str, ResultRow], labels: Mapping[str, Label], encoder: Encoder) -> list[RowScore]:
    """A score for every label, in the order of the labels; every label has a prediction."""
    ideal = encoder.encode([label.ideal_reply for label in labels.values()])
    given = encoder.encode([predictions[key].reply for key in labels])
    cosines = np.sum(ideal * given, axis=1)
    return [_row(predictions[key], label, float(cosine)) for (key, label), cosine in zip(labels.items(), cosines, strict=True)]


def tally(rows: Sequence[RowScore]) -> Tally:
    """The figures of one row or more."""
    return Tally(
        rows=len(rows),
        correct=sum(row.intent_correct for row in rows),
        quality=float(np.mean([row.quality for row in rows])),
        cosine=float(np.mean([row.cosine for row in rows])),
        rouge_l=float(np.mean([row.rouge_l for row in rows])),
        facts_met=sum(row.facts_met for row in rows),
        fact_groups=sum(row.fact_groups for row in rows),
        wrong_facts=sum(len(row.wrong_facts) for row in rows),
    )


def _row(prediction: ResultRow, label: Label, cosine: float) -> RowScore:
    missing, wrong = label.missing_facts(prediction.reply), label.wrong_facts(prediction.reply)
    fact_score = 0.0 if wrong else 1 - len(missing) / max(len(label.must_mention), 1)
    return RowScore(
        id=label.id,
        kind=label.kind,
        expected_intent=label.intents[0],
        predicted_intent=prediction.intent,
        intent_correct=prediction.intent in label.intents,
        fact_groups=len(label.must_mention),
        missing_facts=missing,
        wrong_facts=wrong,
        fact_score=fact_score if label.must_mention or label.must_not_mention else None,
        cosine=cosine,
        rouge_l=rouge_l(prediction.reply, label.ideal_reply),
        ticket=label.ticket,
        ideal_reply=label.ideal_reply,
        reply=prediction.reply,
    )


def rouge_l(reply: str, ideal: str) -> float:
    """The F-measure of the longest common subsequence of words, 0 to 1 (Lin 2004, with equal weights)."""
    try:
        from rapidfuzz.distance import LCSseq
    except ModuleNotFoundError as error:
        raise MissingPackage("ROUGE-L", "rapidfuzz") from error

    ours, theirs = words(reply), words(ideal)
    return 2 * LCSseq.similarity(ours, theirs) / (len(ours) + len(theirs)) if ours or theirs else 1.0


def efficiency(seconds: float) -> float:
    """1 up to 600 s, 0 from 1800 s, linear between."""
    return float(np.clip((NONE_FROM_S - seconds) / (NONE_FROM_S - FULL_UNTIL_S), 0.0, 1.0))


def parts(rows: Sequence[RowScore], *, seconds: float, seed: int) -> list[Part]:
    """The measured parts, and the total last."""
    ordinary, probes = ([row for row in rows if row.kind == kind] for kind in ("row", "probe"))
    values = {
        "intents": [float(row.intent_correct) for row in ordinary],
        "replies": [row.quality for row in ordinary],
        "probes": [(row.intent_correct + row.quality) / 2 for row in probes],
        "efficiency": [efficiency(seconds)],
    }
    measured = {name: own for name, own in values.items() if own}
    whole = sum(WEIGHTS[name] for name in measured)
    # Intents and replies of a row are drawn together, probes apart.
    means = {name: bootstrap_means(own, seed=[seed, int(name == "probes")]) for name, own in measured.items()}
    found = [
        _part(name, WEIGHTS[name] / whole, float(np.mean(own)), means[name], 0 if name == "efficiency" else len(own))
        for name, own in measured.items()
    ]
    total = np.sum([part.weight * means[part.name] for part in found], axis=0)
    return [*found, _part("total", 1.0, sum(part.weight * part.value for part in found), total, len(rows))]


def _part(name: str, weight: float, value: float, means: NDArray[np.float64], n: int) -> Part:
    low, high = np.quantile(means, [0.025, 0.975])
    return Part(name, weight, value, float(low), float(high), n)
