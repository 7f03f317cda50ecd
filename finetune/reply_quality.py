"""How near a reply comes to the ideal one: half cosine, half facts.

Cosine alone prefers fluent replies without a fact in them; facts alone do not see what is said. F1, so that piling up facts
does not pay. Where the ideal reply has no fact that can be checked, cosine counts alone.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from retrieval.encoder import Encoder, Vectors
from retrieval.facts import countable_facts
from retrieval.intent_classifier import Floats
from retrieval.prediction import Reply, copy_reply
from retrieval.retrieve import Retrieval
from retrieval.train_set import TrainSet


def gains_over_copies(
    judged: Sequence[Retrieval], replies: Mapping[str, Reply], train_set: TrainSet, encoder: Encoder
) -> dict[str, float]:
    """By id, of each reply to a train row, its quality minus that of the copied reply.

    Args:
        judged: the rows as new tickets, hidden from themselves, with composed replies.
        replies: by row id.
        train_set: with the rows.
        encoder: measures how near a reply is to the ideal one.
    """
    position = {row.id: i for i, row in enumerate(train_set.rows)}
    rows = [position[found.ticket.id] for found in judged]
    ideals = [train_set.rows[i].ideal_reply for i in rows]
    written, copied = [replies[found.ticket.id].text for found in judged], [copy_reply(found).text for found in judged]
    known = train_set.known_reply_vectors([*written, *copied, *ideals])
    ours, theirs = np.split(reply_qualities([*written, *copied], [*ideals, *ideals], encoder, known=known), 2)
    return {found.ticket.id: float(gain) for found, gain in zip(judged, ours - theirs, strict=True)}


def reply_qualities(
    replies: Sequence[str], ideals: Sequence[str], encoder: Encoder, *, known: Mapping[str, Vectors] | None = None
) -> Floats:
    """(n,) the quality of each reply against its ideal one, 1 for an equal text; `known` has texts' vectors, to save time."""
    vectors = dict(known or {})
    new = list(dict.fromkeys(text for text in (*replies, *ideals) if text not in vectors))
    vectors |= zip(new, encoder.encode(new), strict=True)
    cosines = [float(vectors[reply] @ vectors[ideal]) for reply, ideal in zip(replies, ideals, strict=True)]
    scores = [fact_f1(reply, ideal) for reply, ideal in zip(replies, ideals, strict=True)]
    return np.array([c if f is None else (c + f) / 2 for c, f in zip(cosines, scores, strict=True)])


def fact_f1(reply: str, ideal: str) -> float | None:
    """Harmonic mean of precision and recall of the reply's facts, None where the ideal reply has none."""
    wanted, given = countable_facts(ideal), countable_facts(reply)
    return 2 * len(wanted & given) / (len(wanted) + len(given)) if wanted else None
