"""Is a ticket about anything that the intents cover?

The in-scope score of a ticket is its highest cosine to a class vector: the mean ticket of an intent, half and half with its
label name if names are used. The more intents there are, the higher is the highest cosine of a ticket that belongs to none, so
the threshold rises with the logarithm of their number. It was fitted on public sets, one left out in turn, so that the share of
in-scope tickets kept and the share of unrelated tickets rejected are highest together
(`python -m evaluation.benchmarks.in_scope`, EXPERIMENTS.md). The two known encoders share it; other encoders scatter their
cosines otherwise.
"""

import numpy as np
from numpy.typing import NDArray

from retrieval.encoder import Vectors, unit
from retrieval.known_models import known_names
from retrieval.train_set import TrainSet

AT_ONE_INTENT, PER_LOG_INTENTS = 0.24, 0.04
LOW_QUANTILE = 0.05  # of the run's own rows, below which an encoder that nobody measured calls a ticket out of scope


def class_vectors(train_set: TrainSet, *, with_names: bool) -> Vectors:
    """(c, d) unit vectors of the intents."""
    means = unit(train_set.class_sums(train_set.ticket_vectors))
    return unit(means + train_set.name_vectors) if with_names else means


def in_scope_threshold(train_set: TrainSet, *, with_names: bool) -> float:
    """The in-scope score below which a ticket is probably out of scope."""
    if train_set.encoder in known_names("encoder") or not train_set.rows:
        # An intent with neither row nor name has no vector that a ticket could be near.
        return fitted_threshold(len(train_set.intents) if with_names else int(np.count_nonzero(train_set.row_counts)))
    return float(np.quantile(leave_one_out_scores(train_set, with_names=with_names), LOW_QUANTILE))


def fitted_threshold(intents: int, *, at_one: float = AT_ONE_INTENT, per_log: float = PER_LOG_INTENTS) -> float:
    """The threshold for so many intents and a known encoder."""
    return at_one + per_log * float(np.log(max(1, intents)))


def leave_one_out_scores(train_set: TrainSet, *, with_names: bool) -> NDArray[np.float32]:
    """(n,) the in-scope score of each train row, its own intent's vector made without it."""
    rows, labels = train_set.ticket_vectors, train_set.labels
    scores = rows @ class_vectors(train_set, with_names=with_names).T
    own = unit(train_set.class_sums(rows)[labels] - rows)
    own = unit(own + train_set.name_vectors[labels]) if with_names else own
    scores[np.arange(len(rows)), labels] = np.sum(own * rows, axis=1)
    return np.asarray(scores.max(axis=1), dtype=np.float32)
