"""All that retrieval says about a ticket: intents, neighbours, exemplars, small enough to keep and to print.

The classifier scores a batch of tickets with matrices that grow with the train rows; a `Retrieval` keeps only what the later
stages and a reader need. A language model that scores intents is asked in the middle: after the classifier has named the
candidates, before intent and exemplars are chosen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Protocol, TypedDict

import numpy as np

from retrieval.encoder import Vectors
from retrieval.exemplars import (
    EXEMPLARS,
    NearRows,
    candidate_rows,
    choose_exemplars,
    exemplar_scores,
    near_rows,
    tied_row,
)
from retrieval.index import ranked
from retrieval.intent_classifier import Floats, IntentClassifier, ScorerOutputs
from retrieval.lm_fusion import LmScores, fuse, lm_score_matrix
from retrieval.reference_numbers import for_ticket
from retrieval.tickets import LabelledTicket, Ticket
from retrieval.train_set import Rows

NEIGHBOURS = 5
SHOWN_INTENTS = 5


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A train row near a ticket."""

    row: LabelledTicket  # the train row
    cosine: float  # centred, of the two tickets: what the neighbours are ranked by
    vote_share: float  # what the row adds to the ticket vote of its intent
    reply_cosine: float  # centred, of the ticket and the row's reply
    bm25: float  # of the row's ticket
    exemplar_score: float  # what exemplars are ranked by
    shared_words: tuple[str, ...]  # the words that both tickets hold, rarest first


@dataclass(frozen=True, slots=True)
class IntentScore:
    """A candidate intent: its probability, each scorer's output before its weight, the LM score if there is one."""

    intent: str
    probability: float
    scorers: dict[str, float]
    lm_score: float | None = None


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What retrieval says about a ticket."""

    ticket: Ticket  # the ticket
    intents: tuple[IntentScore, ...]  # the likeliest intents, best first; the first is the predicted one
    in_scope_score: float  # highest cosine to an intent; low for a ticket that belongs to none
    in_scope_threshold: float  # what it is compared with
    neighbours: tuple[Neighbour, ...]  # nearest train rows, best first
    exemplars: tuple[LabelledTicket, ...]  # rows to answer from, best first, their replies as `for_ticket` makes them
    tied: LabelledTicket | None = None  # another row of the predicted intent, nearly as good as the first exemplar
    composed: str = ""  # a reply made of both, if that was asked for and they fit
    intent_has_rows: bool = True  # False if only a taxonomy names the predicted intent: then no stored reply is about it

    @property
    def intent(self) -> str:
        """The predicted intent."""
        return self.intents[0].intent

    @property
    def confidence(self) -> float:
        """The probability of the predicted intent."""
        return self.intents[0].probability

    @property
    def out_of_scope(self) -> bool:
        """Whether the ticket is probably about something that no intent covers."""
        return self.in_scope_score < self.in_scope_threshold


@dataclass(frozen=True, slots=True)
class IntentQuestion:
    """A ticket, and the rows near it whose intents are to be scored, best first."""

    ticket: Ticket
    rows: tuple[LabelledTicket, ...]
    confidence: float  # the classifier's in the ticket's likeliest intent


class LmScorer(Protocol):
    """A language model that scores the intents of rows near a ticket."""

    @property
    def weight(self) -> float:
        """Of its scores beside the classifier's log-probabilities."""

    @property
    def candidates(self) -> int:
        """How many rows near a ticket it scores."""

    @property
    def below(self) -> float:
        """It scores tickets to which the classifier gives a lower confidence."""

    def score(self, questions: Sequence[IntentQuestion]) -> LmScores:
        """The scores of the intents of each question's rows; a question may be left out."""


def retrieve(
    classifier: IntentClassifier,
    tickets: Sequence[Ticket],
    vectors: Vectors,
    *,
    exemplars: int = EXEMPLARS,
    lm_scorer: LmScorer | None = None,
) -> tuple[Retrieval, ...]:
    """Classifies tickets and chooses their neighbours and exemplars.

    Args:
        classifier: fitted on the train set.
        tickets: m tickets with unique ids.
        vectors: (m, d) their unit vectors.
        exemplars: how many for each ticket.
        lm_scorer: a language model whose scores join the classifier's.
    """
    found: list[Retrieval] = []
    for batch, scores in classifier.batches(vectors, [ticket.text for ticket in tickets]):
        asked = tickets[batch]
        near = near_rows(classifier, vectors[batch], scores.log_probabilities)
        lm_scores = _lm_scores(lm_scorer, classifier, asked, near, scores.log_probabilities) if lm_scorer else {}
        matrix = lm_score_matrix(lm_scores, [ticket.id for ticket in asked], classifier.train_set.intents)
        log_p = fuse(scores.log_probabilities, matrix, lm_scorer.weight if lm_scorer else 0.0)
        found += (
            Retrieval(
                ticket=ticket,
                intents=_intent_scores(classifier, log_p[i], scores.scorers, i, lm_scores.get(ticket.id, {})),
                in_scope_score=float(scores.in_scope[i]),
                in_scope_threshold=classifier.in_scope_threshold,
                neighbours=_neighbours(classifier, ticket, near[i], log_p[i], scores.row_bm25[i]),
                **_stored(classifier, ticket, near[i], log_p[i], exemplars),
            )
            for i, ticket in enumerate(asked)
        )
    return tuple(found)


def retrieve_train_rows(classifier: IntentClassifier, rows: Rows, log_probabilities: Floats) -> tuple[Retrieval, ...]:
    """Train rows as if they were new tickets: the row itself is hidden from its exemplars.

    Args:
        classifier: fitted on all rows.
        rows: (m,) which.
        log_probabilities: (m, c) of these rows, out-of-fold.
    """
    train_set = classifier.train_set
    vectors = train_set.ticket_vectors[rows]
    near = near_rows(classifier, vectors, log_probabilities, hidden=[int(row) for row in rows])
    in_scope = (vectors @ classifier.class_vectors.T).max(axis=1) if len(rows) else ()
    tickets = [Ticket(train_set.rows[row].id, train_set.rows[row].text) for row in rows]
    return tuple(
        Retrieval(
            ticket=ticket,
            intents=_intent_scores(classifier, log_p, None, i, {}),
            in_scope_score=float(score),
            in_scope_threshold=classifier.in_scope_threshold,
            neighbours=(),
            **_stored(classifier, ticket, near[i], log_p, EXEMPLARS),
        )
        for i, (ticket, log_p, score) in enumerate(zip(tickets, log_probabilities, in_scope, strict=True))
    )


def intent_questions(
    classifier: IntentClassifier,
    tickets: Sequence[Ticket],
    near: Sequence[NearRows],
    log_probabilities: Floats,
    *,
    candidates: int,
    below: float,
) -> tuple[IntentQuestion, ...]:
    """What a language model is asked: the tickets, out of m, that have a lower confidence and rows of two intents near.

    A ticket whose likeliest intent has no row is left out: the model scores rows, and would only argue for the others.

    Args:
        classifier: with the train set.
        tickets: m tickets.
        near: the rows near each of them.
        log_probabilities: (m, c) of the tickets.
        candidates: how many of the rows near a ticket are scored.
        below: the confidence from which on nothing is asked.
    """
    train_set, found = classifier.train_set, []
    for ticket, rows, log_p in zip(tickets, near, log_probabilities, strict=True):
        confidence = float(np.exp(log_p.max()))
        if confidence >= below or not train_set.has_rows(int(ranked(log_p, 1)[0])):
            continue
        chosen = candidate_rows(train_set, rows, exemplar_scores(rows, log_p, train_set.labels), count=candidates)
        if len(np.unique(train_set.labels[chosen])) > 1:
            found.append(IntentQuestion(ticket, tuple(train_set.rows[i] for i in chosen), confidence))
    return tuple(found)


def train_row_questions(
    classifier: IntentClassifier, rows: Rows, log_probabilities: Floats, *, candidates: int, below: float
) -> tuple[IntentQuestion, ...]:
    """What a language model is asked about train rows, each hidden from itself.

    Args:
        classifier: fitted on all rows.
        rows: (m,) which.
        log_probabilities: (m, c) of these rows, out-of-fold.
        candidates: how many of the rows near a row are scored.
        below: the confidence from which on nothing is asked.
    """
    train_set = classifier.train_set
    hidden = [int(row) for row in rows]
    near = near_rows(classifier, train_set.ticket_vectors[rows], log_probabilities, hidden=hidden)
    tickets = [Ticket(train_set.rows[row].id, train_set.rows[row].text) for row in rows]
    return intent_questions(classifier, tickets, near, log_probabilities, candidates=candidates, below=below)


def _lm_scores(
    scorer: LmScorer, classifier: IntentClassifier, tickets: Sequence[Ticket], near: Sequence[NearRows], log_p: Floats
) -> LmScores:
    """The scores of the intents that were asked about; no other intent can come in."""
    questions = intent_questions(classifier, tickets, near, log_p, candidates=scorer.candidates, below=scorer.below)
    scores, found = scorer.score(questions), {}
    for question in questions:
        given = scores.get(question.ticket.id, {})
        found[question.ticket.id] = {row.intent: given[row.intent] for row in question.rows if row.intent in given}
    return found


class _Stored(TypedDict):
    exemplars: tuple[LabelledTicket, ...]
    tied: LabelledTicket | None
    intent_has_rows: bool


def _stored(classifier: IntentClassifier, ticket: Ticket, near: NearRows, log_p: Floats, count: int) -> _Stored:
    """The rows that a reply is made of, with the ticket's own reference number in their replies."""
    train_set, intent = classifier.train_set, int(ranked(log_p, 1)[0])
    scores = exemplar_scores(near, log_p, train_set.labels)
    chosen = choose_exemplars(train_set, near, scores, ticket.text, count=count)
    tied = tied_row(train_set, near, scores, ticket.text, intent=intent)
    return {
        "exemplars": tuple(for_ticket(train_set.rows[i], ticket.text) for i in chosen),
        "tied": None if tied is None else for_ticket(train_set.rows[tied], ticket.text),
        "intent_has_rows": train_set.has_rows(intent),
    }


def _neighbours(
    classifier: IntentClassifier, ticket: Ticket, near: NearRows, log_p: Floats, row_bm25: Vectors
) -> tuple[Neighbour, ...]:
    train_set = classifier.train_set
    shares = classifier.vote_shares(near.rows, near.ticket_cosines)
    exemplar = exemplar_scores(near, log_p, train_set.labels)
    return tuple(
        Neighbour(
            row=(row := train_set.rows[near.rows[i]]),
            cosine=float(near.ticket_cosines[i]),
            vote_share=float(shares[i]),
            reply_cosine=float(near.reply_cosines[i]),
            bm25=float(row_bm25[near.rows[i]]),
            exemplar_score=float(exemplar[i]),
            shared_words=tuple(classifier.documents.index.shared_words(ticket.text, row.text)),
        )
        for i in ranked(near.ticket_cosines, NEIGHBOURS)
    )


def _intent_scores(
    classifier: IntentClassifier,
    log_p: Floats,
    scorers: ScorerOutputs | None,
    number: int,
    lm_scores: Mapping[str, float],
) -> tuple[IntentScore, ...]:
    names = classifier.train_set.intents
    outputs = [] if scorers is None else [(field.name, getattr(scorers, field.name)[number]) for field in fields(scorers)]
    return tuple(
        IntentScore(
            intent=names[c],
            probability=float(np.exp(log_p[c])),
            scorers={name: float(output[c]) for name, output in outputs},
            lm_score=lm_scores.get(names[c]),
        )
        for c in ranked(log_p, SHOWN_INTENTS)
    )
