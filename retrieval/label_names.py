"""Do the label names describe their rows? A permutation test.

A name such as `billing.seat_question` is worth three points of accuracy with two rows per intent and ten with one
(EXPERIMENTS.md); names that mean nothing (`class_07`, or shuffled ones) cost more than that if they are used. Names of which
half are wrong still pass, because the other half is right. Descriptions of a taxonomy are tested together with the names and
left out if they do not fit. An intent without a row counts among the names that a row could have been nearer to.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from math import perm

import numpy as np
from numpy.typing import NDArray

from retrieval.encoder import Encoder, unit
from retrieval.gate import Gate
from retrieval.index import DECIMALS
from retrieval.taxonomy import Taxonomy
from retrieval.tickets import LabelledTicket
from retrieval.train_set import Rows, TrainSet, embed_labels, embed_train_set

PERMUTATIONS = 500
P_VALUE = 0.05
STANDARD = (
    f"used at a permutation p of at most {P_VALUE}; with fewer than {1 / P_VALUE:.0f} permutations, if no other is as good"
)


def embed_and_test_labels(
    rows: Sequence[LabelledTicket], encoder: Encoder, taxonomy: Taxonomy | None = None, *, seed: int
) -> tuple[TrainSet, tuple[Gate, ...]]:
    """The train set of a run, without descriptions if they do not fit its rows; the gates, that of the label names last."""
    train_set = embed_train_set(rows, encoder, taxonomy)
    if not train_set.descriptions:
        return train_set, (label_names_gate(train_set, seed=seed),)
    tested = label_names_gate(train_set, seed=seed)
    chosen = train_set if tested.passed else _without_descriptions(train_set, encoder)
    reason = f"with them, {tested.reason}"
    return chosen, (replace(tested, name="descriptions", reason=reason), label_names_gate(chosen, seed=seed))


def _without_descriptions(train_set: TrainSet, encoder: Encoder) -> TrainSet:
    names = train_set.taxonomy.without_descriptions() if train_set.taxonomy else None
    return replace(train_set, taxonomy=names, name_vectors=embed_labels(train_set.intents, names, encoder))


def label_names_gate(train_set: TrainSet, *, seed: int) -> Gate:
    """Uses the names if rows lie nearer to their own intent's name than chance would have it.

    The mean cosine of each row with its own name (both centred) against permutations of the names: all that give the rows
    other names where those are few, as with up to five intents, else `PERMUTATIONS` random ones. With three intents, or two of
    four that have rows, p <= .05 cannot be reached, and being the best of all permutations is enough.
    """
    centred_rows = unit(train_set.ticket_vectors - train_set.ticket_vectors.mean(axis=0))
    centred_names = unit(train_set.name_vectors - train_set.name_vectors.mean(axis=0))
    cosines = centred_rows @ centred_names.T  # (n, c)
    with_rows = np.flatnonzero(train_set.row_counts)
    own = _mean_cosine(cosines, train_set, np.arange(len(train_set.intents)))
    others = _permutations(len(train_set.intents), with_rows, seed=seed)
    as_good = sum(_mean_cosine(cosines, train_set, order) >= own for order in others)
    p_value = (1 + as_good) / (1 + len(others))
    used = p_value <= P_VALUE or (len(with_rows) > 1 and not as_good)
    return Gate(
        name="label names",
        passed=used,
        decision="used" if used else "ignored",
        standard=STANDARD,
        statistic="permutation p",
        value=p_value,
        n=len(train_set.rows),
        interval=None,
        reason=f"similarity of rows and their own intent's name: p = {p_value:.3f} over {len(others)} permutations",
        figures={"mean cosine of a row with its own name": own},
    )


def _mean_cosine(cosines: NDArray[np.float32], train_set: TrainSet, order: Rows) -> float:
    return round(float(cosines[np.arange(len(train_set.rows)), order[train_set.labels]].mean()), DECIMALS)


def _permutations(count: int, with_rows: Rows, *, seed: int) -> list[Rows]:
    """Permutations of so many names: all that give the intents with rows other ones, or random ones."""
    if perm(count, min(len(with_rows), 6)) <= PERMUTATIONS:  # the minimum spares large factorials
        orders = [np.arange(count) for _ in range(perm(count, len(with_rows)))]
        for order, names in zip(orders, permutations(range(count), len(with_rows)), strict=True):
            order[with_rows] = names
        return [order for order in orders if not np.array_equal(order[with_rows], with_rows)]
    generator = np.random.default_rng(seed)
    return [generator.permutation(count) for _ in range(PERMUTATIONS)]
