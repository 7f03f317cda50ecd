"""Which train rows go into a prompt, and in which order.

For writing a reply a row is exemplar_score

    .3 * cosine(ticket, its ticket) + .7 * cosine(ticket, its reply) + .1 * log p(its intent)

with the centred cosines that FAISS returned for the score. Copying the first row of this ranking comes nearer to the ideal
reply than copying the reply of the nearest ticket (EXPERIMENTS.md).

For a train row the ranking must be honest: its own ticket, at cosine 1, must not lift its own reply, because no new ticket
will have that help. Its own reply is therefore ranked with the highest cosine to the *other* tickets in place of its own.

What it does not know: how exemplars are written into a prompt (`finetune.prompt`).
"""

import numpy as np
from numpy.typing import NDArray

from retrieval.index import ranked
from retrieval.intent_classifier import IntentScores
from retrieval.train_set import TrainSet

EXEMPLARS = 4  # in a prompt
TICKET_WEIGHT = 0.3
REPLY_WEIGHT = 0.7
INTENT_WEIGHT = 0.1

Rows = NDArray[np.int64]


def exemplar_scores(train_set: TrainSet, intent_scores: IntentScores, number: int) -> NDArray[np.float64]:
    """(n,) what each row is exemplar_score for answering ticket `number` of the intent_scores."""
    intent_log_p = intent_scores.log_probabilities[number][train_set.intent_of]
    return _exemplar_scores(intent_scores.ticket_scores[number], intent_scores.reply_scores[number], intent_log_p)


def reply_exemplars(train_set: TrainSet, intent_scores: IntentScores, number: int, *, count: int) -> Rows:
    """The `count` best rows to answer ticket `number` of the intent_scores from, best first, no reply text twice."""
    return _distinct(train_set, exemplar_scores(train_set, intent_scores, number), count)


def train_row_exemplars(train_set: TrainSet, intent_scores: IntentScores, number: int, *, count: int, with_own: bool) -> Rows:
    """The exemplars of train row `number`, best first, as retrieval would find them if the ticket were new.

    Args:
        train_set: all rows, row `number` among them.
        intent_scores: the intent_scores of the train_set's own tickets, `log_probabilities` of pools that had not seen the row.
        number: the row.
        count: how many exemplars.
        with_own: whether the row's own reply stands among them: at its honest rank, or last if that is beyond `count`.
    """
    others = np.flatnonzero(np.arange(len(train_set.rows)) != number)
    ticket_scores = intent_scores.ticket_scores[number].copy()
    ticket_scores[number] = ticket_scores[others].max() if len(others) else 0.0
    exemplar_score = _exemplar_scores(
        ticket_scores, intent_scores.reply_scores[number], intent_scores.log_probabilities[number][train_set.intent_of]
    )
    if not with_own:
        return others[_distinct(train_set.keep(others), exemplar_score[others], count)]
    best = _distinct(train_set, exemplar_score, count)
    own_reply = train_set.rows[number].ideal_reply
    return best if any(train_set.rows[i].ideal_reply == own_reply for i in best) else np.append(best[: count - 1], number)


def intent_exemplars(
    train_set: TrainSet, intent_scores: IntentScores, number: int, intents: Rows, *, own: int | None = None
) -> Rows:
    """The row nearest to ticket `number` of each of these intents, in their order; intents without a row are left out.

    `own` is the ticket's own row in the train_set, which must not stand for its intent.
    """
    scores = intent_scores.ticket_scores[number]
    allowed = np.arange(len(train_set.rows)) != (-1 if own is None else own)
    members = (np.flatnonzero((train_set.intent_of == intent) & allowed) for intent in intents)
    return np.array([rows[ranked(scores[rows], 1)[0]] for rows in members if len(rows)], dtype=np.int64)


def _exemplar_scores(
    ticket_scores: NDArray[np.floating], reply_scores: NDArray[np.floating], log_p: NDArray[np.floating]
) -> NDArray[np.float64]:
    return np.asarray(TICKET_WEIGHT * ticket_scores + REPLY_WEIGHT * reply_scores + INTENT_WEIGHT * log_p, dtype=np.float64)


def _distinct(train_set: TrainSet, exemplar_score: NDArray[np.float64], count: int) -> Rows:
    """The best rows, each reply text once: a reply that stands there twice takes the place of another fact."""
    chosen: dict[str, int] = {}
    for i in ranked(exemplar_score, len(exemplar_score)):
        chosen.setdefault(train_set.rows[i].ideal_reply, int(i))
        if len(chosen) == count:
            break
    return np.array(list(chosen.values()), dtype=np.int64)
