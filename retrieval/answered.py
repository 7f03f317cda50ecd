"""New tickets, answered: what every way of answering gives back, and the simplest way, which copies.

What it does not know: language models (`finetune.answering` answers with one).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.encoder import Vectors
from retrieval.lookup import Lookup, look_up
from retrieval.opinion import UNASKED, Opinions
from retrieval.reply import Reply, asked, copy_reply
from retrieval.results import Answer
from retrieval.tickets import Ticket
from retrieval.voting import IntentPool


@dataclass(frozen=True, slots=True)
class Answered:
    """Answers.

    Attributes:
        lookups: of all tickets.
        replies: by ticket id.
        brakes: what cut the answering short in a way that a second run may not repeat, a sentence each.
    """

    lookups: tuple[Lookup, ...]
    replies: dict[str, Reply]
    brakes: tuple[str, ...] = ()


def answer_by_copying(
    pool: IntentPool, tickets: Sequence[Ticket], vectors: Vectors, *, opinions: Opinions = UNASKED
) -> Answered:
    """Votes on m tickets, (m, d) their vectors, and copies the stored reply that retrieval ranks first."""
    lookups = look_up(pool, tickets, vectors, opinions=opinions)
    return Answered(lookups, {found.ticket.id: copy_reply(asked(found)) for found in lookups})


def timed(found: Answered, seconds: float) -> tuple[Answer, ...]:
    """The answers with their latency: what the model took for each, and an equal share of all else that the seconds hold."""
    share = max(0.0, seconds - sum(reply.seconds for reply in found.replies.values())) / len(found.lookups)
    each = ((lookup, found.replies[lookup.ticket.id]) for lookup in found.lookups)
    return tuple(Answer(lookup, reply, 1000 * (share + reply.seconds)) for lookup, reply in each)
