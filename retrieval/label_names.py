"""Do the label names describe their rows? A permutation test.

A name such as `billing.seat_question` is worth three points of accuracy with two rows per intent and ten with one
(EXPERIMENTS.md); names that mean nothing (`class_07`, or shuffled ones) cost more than that if they are used. Names of which
half are wrong still pass, because the other half is right. Descriptions of a taxonomy are tested together with the names and left
out if they do not fit.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from math import factorial

import numpy as np
from numpy.typing import NDArray

from retrieval.encoder import Encoder, unit
from retrieval.gate import Gate
from retrieval.index import DECIMALS
from retrieval.taxonomy import Taxonomy
from retrieval.tickets import LabelledTicket
from retrieval.train_set import TrainSet, embed_labels, embed_train_set

PERMUTATIONS = 500
P_VALUE = 0.05
STANDARD = f"used at a permutation p of at most {P_VALUE}; with two or three intents, if no permutation is as good"


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

    The mean cosine of each row with its own name (both centred) against permutations of the names: all of them for up to
    five intents, `PERMUTATIONS` random ones beyond. With three intents or fewer p <= .05 cannot be reached, and being the
    best of all permutations is enough.
    """
    centred_rows = unit(train_set.ticket_vectors - train_set.ticket_vectors.mean(axis=0))
    centred_names = unit(train_set.name_vectors - train_set.name_vectors.mean(axis=0))
    cosines = centred_rows @ centred_names.T  # (n, c)
    own = _mean_cosine(cosines, train_set, np.arange(len(train_set.intents)))
    others = _permutations(len(train_set.intents), seed=seed)
    as_good = sum(_mean_cosine(cosines, train_set, order) >= own for order in others)
    p_value = (1 + as_good) / (1 + len(others))
    used = p_value <= P_VALUE or (1 < len(train_set.intents) <= 3 and not as_good)
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


def _mean_cosine(cosines: NDArray[np.float32], train_set: TrainSet, order: NDArray[np.int64]) -> float:
    return round(float(cosines[np.arange(len(train_set.rows)), order[train_set.labels]].mean()), DECIMALS)


def _permutations(count: int, *, seed: int) -> list[NDArray[np.int64]]:
    """Permutations of so many names: all but the identity, or random ones."""
    if factorial(min(count, 6)) <= PERMUTATIONS:
        return [np.array(order) for order in permutations(range(count))][1:]
    generator = np.random.default_rng(seed)
    return [generator.permutation(count) for _ in range(PERMUTATIONS)]
