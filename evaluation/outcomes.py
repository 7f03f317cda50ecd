"""Systems compared row by row: means, paired differences, bootstrap intervals.

What it does not know: what the systems are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.grading import Prediction, RowScore, score_rows
from evaluation.splits import Split
from evaluation.switched import Answered
from retrieval.encoder import Encoder

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over rows, its paired difference to the reference, and the 95 % interval of that."""

    mean: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """One system over all all_splits.

    Attributes:
        name: of the system.
        against: its reference.
        rows: how many test rows.
        intents: share of right intents.
        quality: of the replies, 0 to 1 (`score`).
        sources: how many replies were copied, generated, replaced.
    """

    name: str
    against: str
    rows: int
    intents: Figure
    quality: Figure
    sources: dict[str, int]


def compare(answered: Sequence[tuple[Split, Sequence[Answered]]], encoder: Encoder, *, seed: int) -> list[Outcome]:
    """Scores every system on every train_set and compares it with its reference, row by row."""
    right: dict[str, list[float]] = {}
    quality: dict[str, list[float]] = {}
    sources: dict[str, list[str]] = {}
    references: dict[str, str] = {}
    for train_set, systems in answered:
        for found in systems:
            name = found.system.name
            references[name] = found.system.against
            rows = _scored(train_set, found, encoder)
            right.setdefault(name, []).extend(float(row.intent_right) for row in rows)
            quality.setdefault(name, []).extend(row.quality for row in rows)
            sources.setdefault(name, []).extend(reply.source for reply in found.replies)
    return [
        Outcome(
            name=name,
            against=against,
            rows=len(right[name]),
            intents=figure(right[name], right[against], seed=seed),
            quality=figure(quality[name], quality[against], seed=seed),
            sources={source: sources[name].count(source) for source in sorted(set(sources[name]))},
        )
        for name, against in references.items()
    ]


def _scored(train_set: Split, found: Answered, encoder: Encoder) -> list[RowScore]:
    pairs = zip(train_set.labels, found.intents, found.replies, strict=True)
    predictions = {label.id: Prediction(intent, reply.text) for label, intent, reply in pairs}
    return score_rows(predictions, {label.id: label for label in train_set.labels}, encoder)


def figure(values: Sequence[float], reference: Sequence[float], *, seed: int) -> Figure:
    """The mean of (m,) values and the paired difference to (m,) reference values."""
    differences: NDArray[np.float64] = np.asarray(values, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(len(differences), size=(RESAMPLES, len(differences)))
    low, high = np.quantile(differences[draws].mean(axis=1), [0.025, 0.975])
    return Figure(float(np.mean(values)), float(differences.mean()), float(low), float(high))
