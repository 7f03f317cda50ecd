"""The parts of the score and how they add up, as the task is scored.

    intents      40 %   share of rows with the right intent
    replies      30 %   mean quality of their replies (`grading`)
    probes       20 %   of the probe rows: mean of intent and quality
    efficiency   10 %   1 up to 600 s of training, 0 from 1800 s, linear between

A part that was not measured is left out and the others keep their proportions; the total then says of what it is made.
Intervals are 95 % bootstrap intervals over rows; for the total, the rows of each part are drawn again apart.

What it does not know: the hidden rows. An interval covers which rows were drawn, not whether they resemble those.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.grading import RowScore

WEIGHTS = {"intents": 0.4, "replies": 0.3, "probes": 0.2, "efficiency": 0.1}
FULL_UNTIL_S, NONE_FROM_S = 600.0, 1800.0
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the score, 0 to 1.

    Attributes:
        name: of the part, or `total`.
        weight: its share of the total, in what was measured.
        value: its mean.
        low: of its 95 % interval.
        high: of its 95 % interval.
        n: rows that it rests on, 0 for efficiency.
    """

    name: str
    weight: float
    value: float
    low: float
    high: float
    n: int


def efficiency(seconds: float) -> float:
    """1 up to 600 s, 0 from 1800 s, linear between."""
    return float(np.clip((NONE_FROM_S - seconds) / (NONE_FROM_S - FULL_UNTIL_S), 0.0, 1.0))


def parts(rows: Sequence[RowScore], *, seconds: float, seed: int) -> list[Part]:
    """The measured parts, and the total last."""
    ordinary, probes = ([row for row in rows if row.kind == kind] for kind in ("row", "probe"))
    values = {
        "intents": [float(row.intent_right) for row in ordinary],
        "replies": [row.quality for row in ordinary],
        "probes": [(row.intent_right + row.quality) / 2 for row in probes],
        "efficiency": [efficiency(seconds)],
    }
    measured = {name: np.asarray(found, dtype=np.float64) for name, found in values.items() if found}
    whole = sum(WEIGHTS[name] for name in measured)
    draws = _draws(measured, seed=seed)
    found = []
    for name, each in measured.items():
        n = 0 if name == "efficiency" else len(each)
        found.append(_part(name, WEIGHTS[name] / whole, float(each.mean()), draws[name], n))
    total = np.sum([part.weight * draws[part.name] for part in found], axis=0)
    return [*found, _part("total", 1.0, sum(part.weight * part.value for part in found), total, len(rows))]


def _draws(measured: dict[str, NDArray[np.float64]], *, seed: int) -> dict[str, NDArray[np.float64]]:
    """(RESAMPLES,) means of rows drawn again, for each part; intents and replies of a row are drawn together."""
    found = {}
    for name, values in measured.items():
        generator = np.random.default_rng([seed, name == "probes"])
        found[name] = values[generator.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1)
    return found


def _part(name: str, weight: float, value: float, draws: NDArray[np.float64], n: int) -> Part:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Part(name, weight, value, float(low), float(high), n)
