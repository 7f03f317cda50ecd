"""Which rows speak for all of them, where a stage cannot take all.

Every intent in turn gives its most representative row that is left (the highest cosine to the mean of the intent's tickets),
until there are enough; a ticket that repeats another one of its intent comes last. So all intents are covered before any
has two, and the choice follows from the rows alone.

What it does not know: how many rows are enough.
"""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from retrieval.index import ranked
from retrieval.tickets import folded
from retrieval.train_set import TrainSet, unit


def representative_rows(train_set: TrainSet, *, at_most: int) -> NDArray[np.int64]:
    """The numbers of at most so many rows, in the order of the rows; all of them where that is enough."""
    if len(train_set.rows) <= at_most:
        return np.arange(len(train_set.rows))
    turn = np.empty(len(train_set.rows), dtype=np.int64)  # the round in which a row's intent offers it
    for intent in range(len(train_set.intents)):
        members = np.flatnonzero(train_set.intent_of == intent)
        turn[members[_offer(train_set, members)]] = np.arange(len(members))
    return np.sort(np.lexsort((train_set.intent_of, turn))[:at_most])


def _offer(train_set: TrainSet, members: NDArray[np.int64]) -> NDArray[np.int64]:
    """The order in which an intent offers its rows: new texts by closeness to the mean, then repeated texts."""
    if not len(members):
        return members
    closeness = train_set.tickets[members] @ unit(train_set.tickets[members].mean(axis=0))
    seen: dict[str, int] = defaultdict(int)
    order = ranked(closeness, len(members))
    repeats = np.zeros(len(members), dtype=np.int64)
    for i in order:
        text = folded(train_set.rows[members[i]].text)
        repeats[i] = seen[text]
        seen[text] += 1
    return order[np.argsort(repeats[order], kind="stable")]
