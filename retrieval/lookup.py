"""What retrieval says about one ticket, all of it, small enough to keep and to print.

The pool votes on many tickets at a time with matrices that grow with the train rows; here each ticket keeps only what the
later stages and a reader need: the intent, who voted how, the nearest rows, the exemplars.

What it does not know: language models. With none at hand, the reply of the first exemplar is the answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from retrieval.encoder import Vectors
from retrieval.exemplars import EXEMPLARS, reply_exemplars, reply_worth
from retrieval.index import ranked
from retrieval.opinion import UNASKED, Opinions, fused
from retrieval.tickets import LabelledTicket, Ticket
from retrieval.voting import FAMILIAR, IntentPool, Views, Votes, vote_in_chunks, winners

NEIGHBOURS = 5
INTENTS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A train row near a ticket.

    Attributes:
        row: the train row.
        cosine: centred, of the two tickets: what FAISS ranks by.
        reply_cosine: centred, of the ticket and the row's reply.
        bm25: of the row's ticket.
        worth: all of them for writing a reply (`exemplars`).
        shared: the words that matched, rarest first.
    """

    row: LabelledTicket
    cosine: float
    reply_cosine: float
    bm25: float
    worth: float
    shared: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IntentVote:
    """A candidate intent: its probability, what each view said before its weight, the language model's word if it was asked."""

    intent: str
    probability: float
    views: dict[str, float]
    opinion: float | None = None


@dataclass(frozen=True, slots=True)
class Lookup:
    """What retrieval found for a ticket.

    Attributes:
        ticket: the ticket.
        votes: the likeliest intents, best first; the first is the answer.
        familiarity: highest cosine to an intent; low for a ticket that belongs to none.
        neighbours: nearest train rows, best first.
        exemplars: rows to answer from, best first.
    """

    ticket: Ticket
    votes: tuple[IntentVote, ...]
    familiarity: float
    neighbours: tuple[Neighbour, ...]
    exemplars: tuple[LabelledTicket, ...]

    @property
    def intent(self) -> str:
        """The chosen intent."""
        return self.votes[0].intent

    @property
    def confidence(self) -> float:
        """The chosen intent's probability."""
        return self.votes[0].probability

    @property
    def unfamiliar(self) -> bool:
        """Whether the ticket is probably about something that no intent covers."""
        return self.familiarity < FAMILIAR


def look_up(
    pool: IntentPool,
    tickets: Sequence[Ticket],
    vectors: Vectors,
    *,
    exemplars: int = EXEMPLARS,
    opinions: Opinions = UNASKED,
) -> tuple[Lookup, ...]:
    """Votes on tickets and chooses their neighbours and exemplars.

    Args:
        pool: fitted on the desk.
        tickets: m tickets.
        vectors: (m, d) their unit vectors.
        exemplars: how many exemplars each.
        opinions: a further voter's, mixed in before the intent and the exemplars are chosen.
    """
    found: list[Lookup] = []
    for votes in vote_in_chunks(pool, vectors, [ticket.text for ticket in tickets]):
        batch = tickets[len(found) : len(found) + len(votes.winners)]
        heard = _mixed(pool, votes, batch, opinions)
        found += (
            _one(pool, ticket, heard, number, exemplars=exemplars, opinions=opinions) for number, ticket in enumerate(batch)
        )
    return tuple(found)


def _mixed(pool: IntentPool, votes: Votes, tickets: Sequence[Ticket], opinions: Opinions) -> Votes:
    """The votes with opinions in their probabilities; the views stay the pool's own."""
    said = opinions.matrix([ticket.id for ticket in tickets], pool.desk.intents)
    log_probabilities = fused(votes.log_probabilities, said, opinions.weight)
    return replace(votes, log_probabilities=log_probabilities, winners=winners(log_probabilities))


def _one(pool: IntentPool, ticket: Ticket, votes: Votes, number: int, *, exemplars: int, opinions: Opinions) -> Lookup:
    rows = pool.desk.rows
    said = opinions.of_ticket.get(ticket.id, {})
    return Lookup(
        ticket=ticket,
        votes=tuple(
            _intent_vote(pool, votes, number, int(c), said) for c in ranked(votes.log_probabilities[number], INTENTS_SHOWN)
        ),
        familiarity=float(votes.familiarity[number]),
        neighbours=_neighbours(pool, ticket, votes, number),
        exemplars=tuple(rows[i] for i in reply_exemplars(pool.desk, votes, number, count=exemplars)),
    )


def _neighbours(pool: IntentPool, ticket: Ticket, votes: Votes, number: int) -> tuple[Neighbour, ...]:
    worth = reply_worth(pool.desk, votes, number)
    return tuple(
        Neighbour(
            row=(row := pool.desk.rows[i]),
            cosine=float(votes.ticket_scores[number, i]),
            reply_cosine=float(votes.reply_scores[number, i]),
            bm25=float(votes.lexical_scores[number, i]),
            worth=float(worth[i]),
            shared=tuple(pool.lexical_index.shared(ticket.text, row.text)),
        )
        for i in ranked(votes.ticket_scores[number], NEIGHBOURS)
    )


def _intent_vote(pool: IntentPool, votes: Votes, number: int, intent: int, said: Mapping[str, float]) -> IntentVote:
    return IntentVote(
        intent=pool.desk.intents[intent],
        probability=float(np.exp(votes.log_probabilities[number, intent])),
        views={view.name: float(getattr(votes.views, view.name)[number, intent]) for view in fields(Views)},
        opinion=said.get(pool.desk.intents[intent]),
    )
