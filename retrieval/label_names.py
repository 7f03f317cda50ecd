"""Do the label names describe their rows? A permutation test.

A name such as `billing.seat_question` is worth three points of accuracy with two rows per intent and ten with one
(EXPERIMENTS.md); names that mean nothing (`class_07`, or shuffled ones) cost more than that if they are used. Names of which
half are wrong still pass, because the other half is right. Descriptions of a taxonomy pass the same test, or are left out; a
label is then half its name and half its description, for the mean of two vectors tells more than the vector of both texts
(docs/taxonomy.md). An intent without a row counts among those that a row could have been nearer to.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from math import perm

import numpy as np
from numpy.typing import NDArray

from retrieval.encoder import Encoder, Vectors, unit
from retrieval.gate import Gate
from retrieval.index import DECIMALS
from retrieval.taxonomy import Taxonomy
from retrieval.tickets import LabelledTicket
from retrieval.train_set import Rows, TrainSet, embed_train_set

PERMUTATIONS = 500
P_VALUE = 0.05
STANDARD = (
    f"used at a permutation p of at most {P_VALUE}; with fewer than {1 / P_VALUE:.0f} permutations, if no other is as good"
)


def embed_and_test_labels(
    rows: Sequence[LabelledTicket], encoder: Encoder, taxonomy: Taxonomy | None = None, *, seed: int
) -> tuple[TrainSet, tuple[Gate, ...]]:
    """The train set of a run, with the descriptions that pass their test; the gates, that of the label names last."""
    train_set, gates = embed_train_set(rows, encoder, taxonomy), list[Gate]()
    texts = taxonomy.descriptions if taxonomy else {}
    if taxonomy and (described := [c for c, intent in enumerate(train_set.intents) if texts[intent]]):
        vectors = encoder.encode([texts[train_set.intents[c]] for c in described])
        gates.append(descriptions_gate(train_set, described, vectors, seed=seed))
        if gates[0].passed:
            names = train_set.name_vectors.copy()
            names[described] = unit(names[described] + vectors)
            train_set = replace(train_set, taxonomy=taxonomy, name_vectors=names)
    return train_set, (*gates, label_names_gate(train_set, seed=seed))


def descriptions_gate(train_set: TrainSet, described: Sequence[int], vectors: Vectors, *, seed: int) -> Gate:
    """Uses the descriptions if they pass the test of the label names in the names' place, among the described intents.

    Tested together with the names, shuffled descriptions would pass because the names are right.

    Args:
        train_set: the rows.
        described: k positions of intents, ascending.
        vectors: (k, d) unit vectors of their descriptions.
        seed: of the permutations.
    """
    own = train_set.subset(np.flatnonzero(np.isin(train_set.labels, described)))
    intents, labels = tuple(own.intents[c] for c in described), np.searchsorted(described, own.labels)
    gate = _gate(replace(own, intents=intents, labels=labels, name_vectors=vectors), "descriptions", "description", seed=seed)
    return gate if own.rows else replace(gate, reason="no row has an intent with a description to test them on")


def label_names_gate(train_set: TrainSet, *, seed: int) -> Gate:
    """Uses the names if rows lie nearer to their own intent's name than chance would have it.

    The mean cosine of each row with its own name (both centred) against permutations of the names: all that give the rows
    other names where those are few, as with up to five intents, else `PERMUTATIONS` random ones. With three intents, or two of
    four that have rows, p <= .05 cannot be reached, and being the best of all permutations is enough.
    """
    return _gate(train_set, "label names", "name", seed=seed)


def _gate(train_set: TrainSet, part: str, text: str, *, seed: int) -> Gate:
    """The test of the `name_vectors` of a train set, whatever text of an intent they are of."""
    cosines = _centred(train_set.ticket_vectors) @ _centred(train_set.name_vectors).T  # (n, c)
    with_rows = np.flatnonzero(train_set.row_counts)
    own = _mean_cosine(cosines, train_set, np.arange(len(train_set.intents)))
    others = _permutations(len(train_set.intents), with_rows, seed=seed)
    as_good = sum(_mean_cosine(cosines, train_set, order) >= own for order in others)
    p_value = (1 + as_good) / (1 + len(others))
    used = p_value <= P_VALUE or (len(with_rows) > 1 and not as_good)
    return Gate(
        name=part,
        passed=used,
        decision="used" if used else "ignored",
        standard=STANDARD,
        statistic="permutation p",
        value=p_value,
        n=len(train_set.rows),
        interval=None,
        reason=f"similarity of rows and their own intent's {text}: p = {p_value:.3f} over {len(others)} permutations",
        figures={f"mean cosine of a row with its own {text}": own},
    )


def _centred(vectors: Vectors) -> Vectors:
    return unit(vectors - vectors.mean(axis=0)) if len(vectors) else vectors


def _mean_cosine(cosines: NDArray[np.float32], train_set: TrainSet, order: Rows) -> float:
    if not train_set.rows:
        return 0.0
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
