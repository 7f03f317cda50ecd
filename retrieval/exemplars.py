"""Which train rows stand near a ticket, and which of them go into its prompt.

The exemplar score of a row is

    .3 * cosine(ticket, its ticket) + .7 * cosine(ticket, its reply) + .1 * log p(its intent)

with centred cosines. Copying the first row of this ranking comes nearer to the ideal reply than copying the reply of the
nearest ticket (EXPERIMENTS.md). For a train row the ranking hides the row itself: its own ticket, at cosine 1, must not lift
its own reply, because no new ticket will have that help.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.encoder import Vectors
from retrieval.index import ranked
from retrieval.intent_classifier import Floats, IntentClassifier
from retrieval.reference_numbers import for_ticket
from retrieval.train_set import Rows, TrainSet

EXEMPLARS = 4  # in a prompt
TIE = 0.1  # exemplar scores that differ by less do not say which of two replies is meant
CANDIDATE_INTENTS = 5  # the likeliest ones, each with its nearest row
NEAREST_TEXTS = 64  # distinct tickets, and distinct replies, that are looked at
TICKET_WEIGHT = 0.3
REPLY_WEIGHT = 0.7
INTENT_WEIGHT = 0.1


@dataclass(frozen=True, slots=True)
class NearRows:
    """The train rows near one ticket: all that its neighbours and exemplars are chosen from.

    The rows of the `NEAREST_TEXTS` nearest tickets and replies, and the nearest row of each candidate intent.
    """

    rows: Rows  # (k,) ascending; a train row that `with_own_row` puts back stands last
    ticket_cosines: Vectors  # (k,) centred, of the ticket and the row's ticket
    reply_cosines: Vectors  # (k,) centred, of the ticket and the row's reply


def near_rows(
    classifier: IntentClassifier, queries: Vectors, log_probabilities: Floats, *, hidden: Sequence[int | None] | None = None
) -> list[NearRows]:
    """The rows near m tickets.

    Args:
        classifier: with the indexes.
        queries: (m, d) unit vectors of the tickets.
        log_probabilities: (m, c) of the tickets; they choose the candidate intents.
        hidden: for each ticket a row that is left out (its own), or None.
    """
    centred = classifier.ticket_index.centred(queries)
    by_ticket = classifier.ticket_index.nearest(centred, texts=NEAREST_TEXTS)
    by_reply = classifier.reply_index.nearest(centred, texts=NEAREST_TEXTS)
    found = []
    for i, query in enumerate(centred):
        own = None if hidden is None else hidden[i]
        tickets = by_ticket[i][by_ticket[i] != own]
        further = _rows_of_missing_intents(classifier, query, log_probabilities[i], tickets, own)
        rows = np.unique(np.concatenate([tickets, by_reply[i][by_reply[i] != own], further]))
        cosines = (index.cosines(query, rows) for index in (classifier.ticket_index, classifier.reply_index))
        found.append(NearRows(rows, *cosines))
    return found


def _rows_of_missing_intents(classifier: IntentClassifier, query: Vectors, log_p: Floats, near: Rows, own: int | None) -> Rows:
    """The nearest row of each candidate intent that has none among the nearest tickets."""
    labels = classifier.train_set.labels
    missing = np.setdiff1d(ranked(log_p, CANDIDATE_INTENTS), labels[near])
    members = (np.flatnonzero(labels == intent) for intent in missing)
    others = (rows[rows != own] for rows in members)
    nearest = [rows[ranked(classifier.ticket_index.cosines(query, rows), 1)[0]] for rows in others if len(rows)]
    return np.array(nearest, dtype=np.int64)


def with_own_row(near: NearRows, classifier: IntentClassifier, row: int) -> NearRows:
    """Near rows that hide a train row, with that row put back at the rank at which a new ticket would find its reply.

    Its ticket counts as near as the nearest other one.
    """
    train_set = classifier.train_set
    query = classifier.ticket_index.centred(train_set.ticket_vectors[row][None])[0]
    ticket_cosine = near.ticket_cosines.max() if len(near.rows) else np.float32(0.0)
    return NearRows(
        rows=np.append(near.rows, row),
        ticket_cosines=np.append(near.ticket_cosines, ticket_cosine),
        reply_cosines=np.append(near.reply_cosines, classifier.reply_index.cosines(query, np.array([row]))),
    )


def exemplar_scores(near: NearRows, log_p: Floats, labels: Rows) -> Floats:
    """(k,) of the near rows, given the ticket's (c,) log-probabilities and the (n,) labels of all rows."""
    cosines = TICKET_WEIGHT * near.ticket_cosines + REPLY_WEIGHT * near.reply_cosines
    return np.asarray(cosines + INTENT_WEIGHT * log_p[labels[near.rows]], dtype=np.float64)


def choose_exemplars(train_set: TrainSet, near: NearRows, scores: Floats, ticket: str, *, count: int) -> Rows:
    """The best rows, best first; each reply, as `ticket` would get it, once: a copy would take the place of another fact."""
    chosen: dict[str, int] = {}
    for i in _best_first(near, scores):
        row = int(near.rows[i])
        chosen.setdefault(for_ticket(train_set.rows[row], ticket).ideal_reply, row)
        if len(chosen) == count:
            break
    return np.array(list(chosen.values()), dtype=np.int64)


def candidate_rows(train_set: TrainSet, near: NearRows, scores: Floats, *, count: int) -> Rows:
    """The best rows, best first, whose intents a language model scores; each pair of intent and reply once."""
    chosen: dict[tuple[int, str], int] = {}
    for i in _best_first(near, scores):
        row = int(near.rows[i])
        text = train_set.rows[row].ideal_reply or train_set.rows[row].text
        chosen.setdefault((int(train_set.labels[row]), text), row)
        if len(chosen) == count:
            break
    return np.array(list(chosen.values()), dtype=np.int64)


def tied_row(train_set: TrainSet, near: NearRows, scores: Floats, ticket: str, *, intent: int, gap: float = TIE) -> int | None:
    """The best row of the predicted intent with another reply than the first row's; None if it is not nearly as good.

    None, too, if the first row has another intent. Replies are compared as `ticket` would get them.
    """
    order = _best_first(near, scores)
    first = int(near.rows[order[0]])
    given = for_ticket(train_set.rows[first], ticket).ideal_reply
    for i in order[1:]:
        row = int(near.rows[i])
        if scores[order[0]] - scores[i] >= gap or train_set.labels[first] != intent:
            return None
        if train_set.labels[row] == intent and for_ticket(train_set.rows[row], ticket).ideal_reply != given:
            return row
    return None


def _best_first(near: NearRows, scores: Floats) -> NDArray[np.int64]:
    order = np.argsort(near.rows)  # ties go to the earlier row
    return order[ranked(scores[order], len(order))]
