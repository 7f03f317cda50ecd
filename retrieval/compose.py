"""A reply made of two stored ones, where the exemplar ranking cannot tell which of them answers the ticket.

Two replies of the predicted intent whose exemplar scores nearly tie are two good guesses. The first is given whole, with those
sentences of the second behind it that are nearer to the ticket than the mean sentence of the first. On public draws this gains
required facts and cosine beyond its error (`python -m evaluation.benchmarks.stored_replies`, EXPERIMENTS.md).

A sentence is left out if the first reply nearly says it, if it gives another number for something that the first reply counts,
or if it is a step of a list. All words are those of the train rows.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from retrieval.encoder import Encoder, Vectors
from retrieval.facts import LIST_MARKER, quantities
from retrieval.retrieve import Retrieval

SAME_SENTENCE = 0.85  # cosine
YES_OR_NO = re.compile(r"^(?:yes|no)[,.:;]\s+", re.IGNORECASE)
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\d])")


def with_composed_replies(found: Sequence[Retrieval], vectors: Vectors, encoder: Encoder) -> tuple[Retrieval, ...]:
    """The retrievals of m tickets, with a composed reply where two stored ones nearly tie.

    Args:
        found: of the tickets.
        vectors: (m, d) their unit vectors.
        encoder: embeds the sentences of the replies that tie.
    """
    pairs = [(one.exemplars[0].ideal_reply, one.tied.ideal_reply) if one.tied else None for one in found]
    texts = dict.fromkeys(sentence for pair in pairs if pair for reply in pair for sentence in sentences(reply))
    known = dict(zip(texts, encoder.encode(list(texts)), strict=True))
    composed = (compose(*pair, ticket, known) if pair else "" for pair, ticket in zip(pairs, vectors, strict=True))
    return tuple(replace(one, composed=reply) for one, reply in zip(found, composed, strict=True))


def compose(first: str, second: str, ticket: Vectors, known: dict[str, Vectors]) -> str:
    """The first reply and the fitting sentences of the second; empty if none fits.

    Args:
        first: a stored reply.
        second: another.
        ticket: (d,) the ticket's vector.
        known: the (d,) vectors of all their sentences.
    """
    ours = [known[sentence] for sentence in sentences(first)]
    needed = sum(float(vector @ ticket) for vector in ours) / len(ours)
    added = [
        sentence
        for sentence in sentences(second)
        if known[sentence] @ ticket > needed
        and max(float(known[sentence] @ vector) for vector in ours) < SAME_SENTENCE
        and not LIST_MARKER.match(sentence)
        and not _contradicts(sentence, first)
    ]
    return " ".join([first, *map(_without_yes, added)]) if added else ""


def sentences(reply: str) -> list[str]:
    """The sentences of a reply; an entry of a list is one."""
    lines = (line.strip() for line in reply.splitlines() if line.strip())
    return [part for line in lines for part in ([line] if LIST_MARKER.match(line) else SENTENCE_END.split(line))]


def _without_yes(sentence: str) -> str:
    """The sentence without the answer to another customer's question that it may begin with."""
    rest = YES_OR_NO.sub("", sentence)
    return rest[:1].upper() + rest[1:]


def _contradicts(sentence: str, reply: str) -> bool:
    """Whether the sentence gives another number for something that the reply counts."""
    ours, theirs = quantities(reply), quantities(sentence)
    return any(theirs[thing] - ours[thing] for thing in ours.keys() & theirs.keys())
