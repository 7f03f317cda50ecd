"""The draft or the stored reply? The draft where it is nearer to the ticket.

Stored replies are ranked by how near they are to the ticket, more than by anything else (`retrieval.exemplars`), and a draft
that passed the check competes with the best of them by its own nearness: the cosine of ticket and reply, here not centred. On
public tickets what drafts gain over copies goes with this difference, out-of-fold and on new tickets alike (`python -m
evaluation.benchmarks.reply_gate`, EXPERIMENTS.md).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from retrieval.encoder import Encoder, Vectors
from retrieval.index import DECIMALS
from retrieval.intent_classifier import Floats
from retrieval.prediction import Reply, copy_reply
from retrieval.retrieve import Retrieval
from retrieval.train_set import TrainSet

MARGIN = 0.0  # by which a draft must be nearer to the ticket than the stored reply


def choose_replies(
    found: Sequence[Retrieval], replies: Sequence[Reply], vectors: Vectors, train_set: TrainSet, encoder: Encoder
) -> list[Reply]:
    """The replies to m tickets; where a generated one is not nearer to its ticket than the stored one, that is given.

    Such a reply is copied or composed, and has the draft that was not given and why.

    Args:
        found: what retrieval says about the tickets, with composed replies.
        replies: to them; those that were not generated stay.
        vectors: (m, d) unit vectors of the tickets.
        train_set: whose replies have vectors already.
        encoder: of the same vectors.
    """
    drafted = [i for i, reply in enumerate(replies) if reply.source == "generated"]
    if not drafted:
        return list(replies)
    drafts, copies = [replies[i].text for i in drafted], [copy_reply(found[i]).text for i in drafted]
    near = nearness([*drafts, *copies], vectors[[*drafted, *drafted]], train_set, encoder)
    chosen = list(replies)
    for i, draft, copy in zip(drafted, *np.split(near, 2), strict=True):
        if round(draft - copy, DECIMALS) <= MARGIN:
            chosen[i] = _stored_instead(replies[i], copy_reply(found[i]), draft, copy)
    return chosen


def _stored_instead(draft: Reply, stored: Reply, draft_cosine: float, stored_cosine: float) -> Reply:
    why = f"the stored reply is at least as near to the ticket: cosine {stored_cosine:.3f}, the draft {draft_cosine:.3f}"
    why = "it is the stored reply, word for word" if draft.text == stored.text else why
    return replace(draft, text=stored.text, source=stored.source, findings=(why,), draft=draft.text)


def nearness(texts: Sequence[str], tickets: Vectors, train_set: TrainSet, encoder: Encoder) -> Floats:
    """(k,) the cosine of each text and its ticket; `tickets` are the (k, d) vectors of the tickets."""
    known = train_set.known_reply_vectors(texts)
    new = [text for text in dict.fromkeys(texts) if text not in known]
    known |= zip(new, encoder.encode(new), strict=True)
    return np.array([float(known[text] @ ticket) for text, ticket in zip(texts, tickets, strict=True)])
