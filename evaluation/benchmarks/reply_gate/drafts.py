"""Drafts beside the stored replies to the same tickets: what both are worth, and how near to the ticket they are."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from finetune.reply_choice import nearness
from finetune.reply_quality import reply_qualities
from retrieval.encoder import Encoder, Vectors
from retrieval.index import DECIMALS
from retrieval.prediction import Reply, copy_reply
from retrieval.retrieve import Retrieval
from retrieval.train_set import TrainSet


class Draft(TypedDict):
    """A draft beside the stored reply to the same ticket."""

    text: str
    findings: list[str]  # of the check
    passed: bool  # the check
    draft: float  # its reply quality
    copy: float  # that of the stored reply
    nearer: float  # its cosine to the ticket minus that of the stored reply


def drafts(
    found: Sequence[Retrieval],
    replies: Sequence[Reply],
    *,
    vectors: Vectors,
    train_set: TrainSet,
    ideals: Sequence[str],
    encoder: Encoder,
) -> list[Draft]:
    """What the model wrote to m tickets, beside the stored replies; `replies` before or after the nearer one was chosen."""
    written, copied = [reply.draft or reply.text for reply in replies], [copy_reply(one).text for one in found]
    texts = [*written, *copied]
    qualities = np.split(reply_qualities(texts, [*ideals, *ideals], encoder), 2)
    near, theirs = np.split(nearness(texts, np.concatenate([vectors, vectors]), train_set, encoder), 2)
    return [
        Draft(
            text=text,
            findings=list(reply.findings) if reply.source == "replaced" else [],
            passed=_passed(reply),
            draft=round(float(own), 4),
            copy=round(float(other), 4),
            nearer=round(float(by), DECIMALS),
        )
        for text, reply, own, other, by in zip(written, replies, *qualities, near - theirs, strict=True)
    ]


def _passed(reply: Reply) -> bool:
    """Whether the draft passed the check; a copied reply with a draft was preferred to one that did."""
    return reply.source == "generated" or (reply.source != "replaced" and bool(reply.draft))
