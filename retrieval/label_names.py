"""Do the intent names describe their rows?

A name such as `billing.seat_question` is exemplar_score three points of accuracy with two rows per intent and ten with one
(EXPERIMENTS.md); names that mean nothing (`class_07`, or shuffled ones) cost more than that if they are believed. So they are
tested first.

What it does not know: single wrong names. Half-wrong names pass, because the other half is right.
"""

from itertools import permutations
from math import factorial

import numpy as np
from numpy.typing import NDArray

from retrieval.gate import Gate
from retrieval.train_set import TrainSet, unit

RANDOM_ORDERS = 500
P_VALUE = 0.05


def label_names_gate(train_set: TrainSet, *, seed: int) -> Gate:
    """Keeps the names if rows lie nearer to their own intent's name than chance would have it.

    The mean cosine of each row with its own name (both centred) against re-assignments of the names: all of them for up to
    five intents, `RANDOM_ORDERS` random ones beyond. With three intents or fewer p <= .05 cannot be reached, and being the
    best of all assignments is enough.
    """
    centred_rows = unit(train_set.tickets - train_set.tickets.mean(axis=0))
    cosines = centred_rows @ unit(train_set.names - train_set.names.mean(axis=0)).T  # (n, c)
    own = _fit(cosines, train_set, np.arange(len(train_set.intents)))
    others = _orders(len(train_set.intents), seed=seed)
    as_good = sum(_fit(cosines, train_set, order) >= own for order in others)
    p_value = (1 + as_good) / (1 + len(others))
    kept = p_value <= P_VALUE or (1 < len(train_set.intents) <= 3 and not as_good)
    why = f"rows lie near their own intent's name: p = {p_value:.3f} over {len(others)} re-assignments"
    return Gate("intent names", kept, "used" if kept else "ignored", own, len(train_set.rows), None, why)


def _fit(cosines: NDArray[np.float32], train_set: TrainSet, order: NDArray[np.int64]) -> float:
    return float(cosines[np.arange(len(train_set.rows)), order[train_set.intent_of]].mean())


def _orders(count: int, *, seed: int) -> list[NDArray[np.int64]]:
    """Re-assignments of so many names, the true one left out."""
    if factorial(min(count, 6)) <= RANDOM_ORDERS:
        return [np.array(order) for order in permutations(range(count))][1:]
    generator = np.random.default_rng(seed)
    return [generator.permutation(count) for _ in range(RANDOM_ORDERS)]
