"""What retrieval says about one ticket, all of it, small enough to keep and to print.

The classifier intent_scores on many tickets at a time with matrices that grow with the train rows; here each ticket keeps
only what the
later stages and a reader need: the intent, who voted how, the nearest rows, the exemplars.

What it does not know: language models. With none at hand, the reply of the first exemplar is the answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from retrieval.encoder import Vectors
from retrieval.exemplars import EXEMPLARS, exemplar_scores, reply_exemplars
from retrieval.index import ranked
from retrieval.intent_classifier import IN_SCOPE_THRESHOLD, IntentClassifier, IntentScores, Scorers, score_in_chunks, winners
from retrieval.lm_scores import NO_LM_SCORES, LmScores, fuse
from retrieval.tickets import LabelledTicket, Ticket

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
        exemplar_score: all of them for writing a reply (`exemplars`).
        shared: the words that matched, rarest first.
    """

    row: LabelledTicket
    cosine: float
    reply_cosine: float
    bm25: float
    exemplar_score: float
    shared: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IntentVote:
    """A candidate intent: its probability, what each scorer said before its weight, the language model's word if it was
    asked."""

    intent: str
    probability: float
    scorers: dict[str, float]
    lm_score: float | None = None


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What retrieval found for a ticket.

    Attributes:
        ticket: the ticket.
        intent_scores: the likeliest intents, best first; the first is the answer.
        in_scope_score: highest cosine to an intent; low for a ticket that belongs to none.
        neighbours: nearest train rows, best first.
        exemplars: rows to answer from, best first.
    """

    ticket: Ticket
    intent_scores: tuple[IntentVote, ...]
    in_scope_score: float
    neighbours: tuple[Neighbour, ...]
    exemplars: tuple[LabelledTicket, ...]

    @property
    def intent(self) -> str:
        """The chosen intent."""
        return self.intent_scores[0].intent

    @property
    def confidence(self) -> float:
        """The chosen intent's probability."""
        return self.intent_scores[0].probability

    @property
    def out_of_scope(self) -> bool:
        """Whether the ticket is probably about something that no intent covers."""
        return self.in_scope_score < IN_SCOPE_THRESHOLD


def retrieve(
    classifier: IntentClassifier,
    tickets: Sequence[Ticket],
    vectors: Vectors,
    *,
    exemplars: int = EXEMPLARS,
    lm_scores: LmScores = NO_LM_SCORES,
) -> tuple[Retrieval, ...]:
    """IntentScores on tickets and chooses their neighbours and exemplars.

    Args:
        classifier: fitted on the train_set.
        tickets: m tickets.
        vectors: (m, d) their unit vectors.
        exemplars: how many exemplars each.
        lm_scores: a further voter's, mixed in before the intent and the exemplars are chosen.
    """
    found: list[Retrieval] = []
    for intent_scores in score_in_chunks(classifier, vectors, [ticket.text for ticket in tickets]):
        batch = tickets[len(found) : len(found) + len(intent_scores.winners)]
        heard = _mixed(classifier, intent_scores, batch, lm_scores)
        found += (
            _one(classifier, ticket, heard, number, exemplars=exemplars, lm_scores=lm_scores)
            for number, ticket in enumerate(batch)
        )
    return tuple(found)


def _mixed(
    classifier: IntentClassifier, intent_scores: IntentScores, tickets: Sequence[Ticket], lm_scores: LmScores
) -> IntentScores:
    """The intent_scores with lm_scores in their probabilities; the scorers stay the classifier's own."""
    said = lm_scores.matrix([ticket.id for ticket in tickets], classifier.train_set.intents)
    log_probabilities = fuse(intent_scores.log_probabilities, said, lm_scores.weight)
    return replace(intent_scores, log_probabilities=log_probabilities, winners=winners(log_probabilities))


def _one(
    classifier: IntentClassifier,
    ticket: Ticket,
    intent_scores: IntentScores,
    number: int,
    *,
    exemplars: int,
    lm_scores: LmScores,
) -> Retrieval:
    rows = classifier.train_set.rows
    said = lm_scores.of_ticket.get(ticket.id, {})
    return Retrieval(
        ticket=ticket,
        intent_scores=tuple(
            _intent_vote(classifier, intent_scores, number, int(c), said)
            for c in ranked(intent_scores.log_probabilities[number], INTENTS_SHOWN)
        ),
        in_scope_score=float(intent_scores.in_scope_score[number]),
        neighbours=_neighbours(classifier, ticket, intent_scores, number),
        exemplars=tuple(rows[i] for i in reply_exemplars(classifier.train_set, intent_scores, number, count=exemplars)),
    )


def _neighbours(
    classifier: IntentClassifier, ticket: Ticket, intent_scores: IntentScores, number: int
) -> tuple[Neighbour, ...]:
    exemplar_score = exemplar_scores(classifier.train_set, intent_scores, number)
    return tuple(
        Neighbour(
            row=(row := classifier.train_set.rows[i]),
            cosine=float(intent_scores.ticket_scores[number, i]),
            reply_cosine=float(intent_scores.reply_scores[number, i]),
            bm25=float(intent_scores.bm25_scores[number, i]),
            exemplar_score=float(exemplar_score[i]),
            shared=tuple(classifier.bm25_index.shared(ticket.text, row.text)),
        )
        for i in ranked(intent_scores.ticket_scores[number], NEIGHBOURS)
    )


def _intent_vote(
    classifier: IntentClassifier, intent_scores: IntentScores, number: int, intent: int, said: Mapping[str, float]
) -> IntentVote:
    return IntentVote(
        intent=classifier.train_set.intents[intent],
        probability=float(np.exp(intent_scores.log_probabilities[number, intent])),
        scorers={scorer.name: float(getattr(intent_scores.scorers, scorer.name)[number, intent]) for scorer in fields(Scorers)},
        lm_score=said.get(classifier.train_set.intents[intent]),
    )
