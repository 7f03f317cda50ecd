"""How near a reply comes to the ideal one: half cosine, half facts.

Cosine alone prefers fluent replies without a fact in them; facts alone do not see what is said. F1, so that piling up facts
does not pay. Where the ideal reply has no fact that can be checked, cosine counts alone.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from retrieval.compose import with_composed_replies
from retrieval.encoder import Encoder
from retrieval.facts import countable_facts
from retrieval.intent_classifier import Floats
from retrieval.prediction import Reply, copy_reply
from retrieval.retrieve import Retrieval
from retrieval.train_set import TrainSet


def gains_over_copies(
    judged: Sequence[Retrieval], replies: Mapping[str, Reply], train_set: TrainSet, encoder: Encoder
) -> list[float]:
    """Of each reply to a train row, its quality minus that of the copied reply.

    Args:
        judged: the rows as new tickets, hidden from themselves.
        replies: by row id.
        train_set: with the rows.
        encoder: measures how near a reply is to the ideal one.
    """
    position = {row.id: i for i, row in enumerate(train_set.rows)}
    rows = [position[found.ticket.id] for found in judged]
    ideal = [train_set.rows[i].ideal_reply for i in rows]
    stored = with_composed_replies(judged, train_set.ticket_vectors[rows], encoder)
    written = reply_qualities([replies[found.ticket.id].text for found in judged], ideal, encoder)
    copied = reply_qualities([copy_reply(found).text for found in stored], ideal, encoder)
    return [float(gain) for gain in written - copied]


def reply_qualities(replies: Sequence[str], ideals: Sequence[str], encoder: Encoder) -> Floats:
    """(n,) the quality of each reply against its ideal one, 1 for an equal text."""
    cosines = np.sum(encoder.encode(replies) * encoder.encode(ideals), axis=1).astype(np.float64)
    scores = [fact_f1(reply, ideal) for reply, ideal in zip(replies, ideals, strict=True)]
    return np.array([c if f is None else (c + f) / 2 for c, f in zip(cosines, scores, strict=True)])


def fact_f1(reply: str, ideal: str) -> float | None:
    """Harmonic mean of precision and recall of the reply's facts, None where the ideal reply has none."""
    wanted, given = countable_facts(ideal), countable_facts(reply)
    return 2 * len(wanted & given) / (len(wanted) + len(given)) if wanted else None
