"""The pool's word on its own rows by pools that have not seen them: honest confidence for everything that learns from it.

What it does not know: what is learnt from it (losses, training prompts, gates).
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from retrieval.curate import representative_rows
from retrieval.desk import Desk
from retrieval.voting import IntentPool, Votes, fit_pool, winners

LEAVE_ONE_OUT = 60  # rows; beyond, `FOLDS`
FOLDS = 10


def folds(desk: Desk, *, count: int) -> NDArray[np.int64]:
    """(n,) fold of each row; rows of one intent go to different folds as far as they can."""
    order = np.lexsort((np.arange(len(desk.rows)), desk.intent_of))
    found = np.empty(len(desk.rows), dtype=np.int64)
    found[order] = np.arange(len(desk.rows)) % count
    return found


def held_out_votes(pool: IntentPool) -> Votes:
    """The votes of the pool's own n rows, their log-probabilities by pools that have not seen the row.

    Leave-one-out up to `LEAVE_ONE_OUT` rows, ten folds beyond. The scores are those of the whole index: a row's score with
    itself is among them, and whoever ranks by them leaves it out (`exemplars.honest_exemplars`).
    """
    desk = pool.desk
    texts = [row.text for row in desk.rows]
    fold_of = folds(desk, count=len(desk.rows) if len(desk.rows) <= LEAVE_ONE_OUT else FOLDS)
    log_probabilities = np.zeros((len(desk.rows), len(desk.intents)))
    for fold in range(int(fold_of.max()) + 1):
        out = np.flatnonzero(fold_of == fold)
        rest = fit_pool(desk.without(out), with_names=pool.with_names, weights=pool.weights)
        log_probabilities[out] = rest.vote(desk.tickets[out], [texts[i] for i in out]).log_probabilities
    return replace(pool.vote(desk.tickets, texts), log_probabilities=log_probabilities, winners=winners(log_probabilities))


def intent_losses(pool: IntentPool, *, at_most: int = 1000) -> tuple[float, float]:
    """Mean cross-entropy of the right intent on train rows, nats: by the pool, and by pools that have not seen the row.

    Beyond `at_most` rows, of so many representative ones: the held-out pools are fitted anew for every fold.
    """
    sample = pool.desk.keep(representative_rows(pool.desk, at_most=at_most))
    fitted = fit_pool(sample, with_names=pool.with_names, weights=pool.weights)
    seen = fitted.vote(sample.tickets, [row.text for row in sample.rows])
    each = np.arange(len(sample.rows))
    return tuple(  # type: ignore[return-value]
        float(0.0 - votes.log_probabilities[each, sample.intent_of].mean()) for votes in (seen, held_out_votes(fitted))
    )
