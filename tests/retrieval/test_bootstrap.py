import numpy as np
import pytest

from retrieval.bootstrap import bootstrap_interval, bootstrap_means


def test_paired_values_are_drawn_together() -> None:
    values = np.arange(10.0)
    assert bootstrap_means(values + 1, seed=0) == pytest.approx(bootstrap_means(values, seed=0) + 1)
    assert not np.array_equal(bootstrap_means(values, seed=0), bootstrap_means(values, seed=1))


def test_an_interval_holds_the_middle_of_the_means() -> None:
    values = np.random.default_rng(0).normal(size=100)
    low, high = bootstrap_interval(values, level=0.8, seed=0)
    assert np.mean((bootstrap_means(values, seed=0) >= low) & (bootstrap_means(values, seed=0) <= high)) == pytest.approx(0.8)
    assert high - low == pytest.approx(2 * 1.2816 * values.std() / 10, rel=0.1), "as the normal distribution has it"
    assert bootstrap_interval([2.0], level=0.8, seed=0) == (2.0, 2.0)
