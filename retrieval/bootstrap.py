"""The bootstrap of a mean: the one estimate of uncertainty that gates, scores and comparisons share."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000


def bootstrap_means(values: Sequence[float] | NDArray[np.floating], *, seed: int | Sequence[int]) -> NDArray[np.float64]:
    """(RESAMPLES,) means of (n,) values drawn again with replacement; n is at least 1.

    The same seed draws the same rows, so paired values of equal length are drawn together.
    """
    sample = np.asarray(values, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(len(sample), size=(RESAMPLES, len(sample)))
    return np.asarray(sample[draws].mean(axis=1))


def bootstrap_interval(
    values: Sequence[float] | NDArray[np.floating], *, level: float, seed: int | Sequence[int]
) -> tuple[float, float]:
    """The percentile interval of the mean of (n,) values; `level` .8 gives the 10 % and the 90 % quantile."""
    low, high = np.quantile(bootstrap_means(values, seed=seed), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
