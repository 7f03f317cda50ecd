"""Which train rows go into a prompt, and in which order.

For writing a reply a row is worth

    .3 * cosine(ticket, its ticket) + .7 * cosine(ticket, its reply) + .1 * log p(its intent)

with the centred cosines that FAISS returned for the vote. Copying the first row of this ranking comes nearer to the ideal
reply than copying the reply of the nearest ticket (EXPERIMENTS.md).

For a train row the ranking must be honest: its own ticket, at cosine 1, must not lift its own reply, because no new ticket
will have that help. Its own reply is therefore ranked with the highest cosine to the *other* tickets in place of its own.

What it does not know: how exemplars are written into a prompt (`finetune.prompt`).
"""

import numpy as np
from numpy.typing import NDArray

from retrieval.desk import Desk
from retrieval.index import ranked
from retrieval.voting import Votes

EXEMPLARS = 4  # in a prompt
TICKET_WEIGHT = 0.3
REPLY_WEIGHT = 0.7
INTENT_WEIGHT = 0.1

Rows = NDArray[np.int64]


def reply_worth(desk: Desk, votes: Votes, number: int) -> NDArray[np.float64]:
    """(n,) what each row is worth for answering ticket `number` of the votes."""
    intent_log_p = votes.log_probabilities[number][desk.intent_of]
    return _worth(votes.ticket_scores[number], votes.reply_scores[number], intent_log_p)


def reply_exemplars(desk: Desk, votes: Votes, number: int, *, count: int) -> Rows:
    """The `count` best rows to answer ticket `number` of the votes from, best first, no reply text twice."""
    return _distinct(desk, reply_worth(desk, votes, number), count)


def honest_exemplars(desk: Desk, votes: Votes, number: int, *, count: int, with_own: bool) -> Rows:
    """The exemplars of train row `number`, best first, as retrieval would find them if the ticket were new.

    Args:
        desk: all rows, row `number` among them.
        votes: the votes of the desk's own tickets, `log_probabilities` of pools that had not seen the row.
        number: the row.
        count: how many exemplars.
        with_own: whether the row's own reply stands among them: at its honest rank, or last if that is beyond `count`.
    """
    others = np.flatnonzero(np.arange(len(desk.rows)) != number)
    ticket_scores = votes.ticket_scores[number].copy()
    ticket_scores[number] = ticket_scores[others].max() if len(others) else 0.0
    worth = _worth(ticket_scores, votes.reply_scores[number], votes.log_probabilities[number][desk.intent_of])
    if not with_own:
        return others[_distinct(desk.keep(others), worth[others], count)]
    best = _distinct(desk, worth, count)
    own_reply = desk.rows[number].ideal_reply
    return best if any(desk.rows[i].ideal_reply == own_reply for i in best) else np.append(best[: count - 1], number)


def intent_exemplars(desk: Desk, votes: Votes, number: int, intents: Rows, *, own: int | None = None) -> Rows:
    """The row nearest to ticket `number` of each of these intents, in their order; intents without a row are left out.

    `own` is the ticket's own row in the desk, which must not stand for its intent.
    """
    scores = votes.ticket_scores[number]
    allowed = np.arange(len(desk.rows)) != (-1 if own is None else own)
    members = (np.flatnonzero((desk.intent_of == intent) & allowed) for intent in intents)
    return np.array([rows[ranked(scores[rows], 1)[0]] for rows in members if len(rows)], dtype=np.int64)


def _worth(
    ticket_scores: NDArray[np.floating], reply_scores: NDArray[np.floating], log_p: NDArray[np.floating]
) -> NDArray[np.float64]:
    return np.asarray(TICKET_WEIGHT * ticket_scores + REPLY_WEIGHT * reply_scores + INTENT_WEIGHT * log_p, dtype=np.float64)


def _distinct(desk: Desk, worth: NDArray[np.float64], count: int) -> Rows:
    """The best rows, each reply text once: a reply that stands there twice takes the place of another fact."""
    chosen: dict[str, int] = {}
    for i in ranked(worth, len(worth)):
        chosen.setdefault(desk.rows[i].ideal_reply, int(i))
        if len(chosen) == count:
            break
    return np.array(list(chosen.values()), dtype=np.int64)
