"""From a ticket to a calibrated distribution over intents.

Four views of a ticket, each simple, are added with fixed weights, and a softmax with no further temperature makes
probabilities of the sum:

    regression  balanced logistic regression on the rows, the humanised intent names as extra rows; log-probabilities
    neighbours  a kNN vote over all rows, normalised by class, in which the intent's name is worth 1.5 neighbours
    replies     the same vote over the stored replies, without names: a ticket often resembles its answer
    lexical     BM25, best document of the intent (rows and names), scaled to [0, 1] per ticket

The weights are constants, fitted on public sets by leaving one set out; accuracy is flat around them, and a pool less one of
its views loses between nothing and a point (`python -m evaluation.thirty_rows`, EXPERIMENTS.md). What is decided per desk is
only whether the intent names mean anything, see `names`.

Confidence (the highest probability) is for errors between known intents; `familiarity` is for tickets that belong to none.
They answer different questions and are not mixed.

What it does not know: which reply answers a ticket (`exemplars`), and intents that nobody named.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from retrieval.desk import Desk, unit
from retrieval.encoder import Vectors, humanised
from retrieval.index import DECIMALS, VectorIndex, build_index
from retrieval.lexical import LexicalIndex

Floats = NDArray[np.float64]

NAME_NEIGHBOURS = 1.5  # an intent's name counts as this many neighbours
REGRESSION_C = 30.0
UNSEEN_LOG_PROBABILITY = float(np.log(1e-6))  # of an intent that the regression was not shown
FAMILIAR = 0.34  # keeps 95 % of in-scope rows, rejects 88-90 % of CLINC150's out-of-scope rows at 30 train rows
CHUNK = 256  # tickets at a time, so that memory does not grow with their number


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each view counts; 0 removes it."""

    regression: float = 2.0
    neighbours: float = 6.0
    replies: float = 4.0
    lexical: float = 1.0


@dataclass(frozen=True, slots=True)
class Views:
    """What each view says, (m, c) each, before its weight."""

    regression: Floats
    neighbours: Floats
    replies: Floats
    lexical: Floats

    def pooled(self, weights: Weights) -> Floats:
        """(m, c) log-probabilities of the weighted sum."""
        logits = sum(getattr(weights, view.name) * getattr(self, view.name) for view in fields(self))
        shifted = logits - np.max(logits, axis=1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


@dataclass(frozen=True, slots=True)
class Votes:
    """The pool's word on m tickets.

    Attributes:
        views: what each view says, (m, c) each.
        log_probabilities: (m, c).
        winners: (m,) the number of the chosen intent.
        familiarity: (m,) highest cosine to an intent; below `FAMILIAR` the ticket is probably about something else.
        ticket_scores: (m, n) centred cosine to every train ticket: the neighbours' voices.
        reply_scores: (m, n) centred cosine to every stored reply.
        lexical_scores: (m, n) BM25 of every train ticket.
    """

    views: Views
    log_probabilities: Floats
    winners: NDArray[np.int64]
    familiarity: Floats
    ticket_scores: Vectors
    reply_scores: Vectors
    lexical_scores: Vectors

    @property
    def confidence(self) -> Floats:
        """(m,) probability of the winner."""
        return np.asarray(np.exp(self.log_probabilities.max(axis=1)))


@dataclass(frozen=True, slots=True)
class IntentPool:
    """The fitted views over one desk."""

    desk: Desk
    weights: Weights
    with_names: bool
    ticket_index: VectorIndex
    reply_index: VectorIndex
    lexical_index: LexicalIndex
    regression: LogisticRegression | None

    def vote(self, queries: Vectors, texts: Sequence[str]) -> Votes:
        """(m, d) unit vectors of m tickets, and their texts -> the votes."""
        centred = self.ticket_index.centred(queries)
        ticket_scores = self.ticket_index.similarities(centred)
        reply_scores = self.reply_index.similarities(centred)
        lexical_scores = np.array([self.lexical_index.scores(text) for text in texts], dtype=np.float32)  # (m, documents)
        views = Views(
            regression=self._regression_view(queries),
            neighbours=self._neighbour_view(centred, ticket_scores),
            replies=self._reply_view(reply_scores),
            lexical=self._lexical_view(lexical_scores),
        )
        log_probabilities = views.pooled(self.weights)
        return Votes(
            views=views,
            log_probabilities=log_probabilities,
            winners=winners(log_probabilities),
            familiarity=np.max(queries @ self._class_vectors().T, axis=1).astype(np.float64),
            ticket_scores=ticket_scores,
            reply_scores=reply_scores,
            lexical_scores=lexical_scores[:, : len(self.desk.rows)],
        )

    def _regression_view(self, queries: Vectors) -> Floats:
        found = np.zeros((len(queries), len(self.desk.intents))) + UNSEEN_LOG_PROBABILITY
        if self.regression is None:  # one class or none: nothing to tell apart
            return found
        found[:, self.regression.classes_] = np.maximum(self.regression.predict_log_proba(queries), UNSEEN_LOG_PROBABILITY)
        return found

    def _neighbour_view(self, centred: Vectors, ticket_scores: Vectors) -> Floats:
        """The vote: every row speaks for its intent with its score, the name with 1.5 times its own."""
        name_voices = NAME_NEIGHBOURS * self._centred_names() if self.with_names else np.zeros_like(self.desk.names)
        totals = ticket_scores @ self._membership() + centred @ name_voices.T
        rows = unit(self.desk.tickets - self.ticket_index.mean)
        return _by_length(totals, self._membership().T @ rows + name_voices)

    def _reply_view(self, reply_scores: Vectors) -> Floats:
        """The vote over the stored replies: the ticket is centred as a ticket, the replies as replies."""
        rows = unit(self.desk.replies - self.reply_index.mean)
        return _by_length(reply_scores @ self._membership(), self._membership().T @ rows)

    def _lexical_view(self, scores: Vectors) -> Floats:
        """The best document of each intent; documents are the rows, then the names."""
        owner = np.concatenate([self.desk.intent_of, np.arange(len(self.desk.intents))])
        found = np.zeros((len(scores), len(self.desk.intents)))
        for i, row in enumerate(scores):
            np.maximum.at(found[i], owner[: len(row)], row)
        return np.asarray(found / np.maximum(found.max(axis=1, keepdims=True), 1e-9))

    def _membership(self) -> Vectors:
        return np.eye(len(self.desk.intents), dtype=np.float32)[self.desk.intent_of]  # (n, c)

    def _centred_names(self) -> Vectors:
        return unit(self.desk.names - self.desk.names.mean(axis=0))

    def _class_vectors(self) -> Vectors:
        """(c, d) uncentred mean ticket of an intent, half and half with its name."""
        means = unit(self._membership().T @ self.desk.tickets)
        return unit(means + self.desk.names) if self.with_names else means


def winners(log_probabilities: Floats) -> NDArray[np.int64]:
    """(m, c) -> (m,) the likeliest intent; ties go to the first."""
    return np.asarray(np.argmax(np.round(log_probabilities, DECIMALS), axis=1), dtype=np.int64)


def _by_length(totals: NDArray[np.floating], class_sums: Vectors) -> Floats:
    """(m, c) sums of votes by the length of the (c, d) class sums: many rows must not outvote few."""
    return np.asarray(totals / np.maximum(np.linalg.norm(class_sums, axis=1), 1e-9), dtype=np.float64)


def fit_pool(desk: Desk, *, with_names: bool, weights: Weights | None = None) -> IntentPool:
    """Builds both indexes and fits the regression; `with_names` is the decision of `names.names_gate`."""
    documents = [row.text for row in desk.rows]
    if with_names:
        documents += [humanised(intent) for intent in desk.intents]
    return IntentPool(
        desk=desk,
        weights=weights or Weights(),
        with_names=with_names,
        ticket_index=build_index(desk.tickets),
        reply_index=build_index(desk.replies),
        lexical_index=LexicalIndex(documents),
        regression=_fit_regression(desk, with_names=with_names),
    )


def _fit_regression(desk: Desk, *, with_names: bool) -> LogisticRegression | None:
    vectors, classes = desk.tickets, desk.intent_of
    if with_names:
        vectors = np.concatenate([vectors, desk.names])
        classes = np.concatenate([classes, np.arange(len(desk.intents))])
    if len(np.unique(classes)) < 2:
        return None
    with warnings.catch_warnings():
        # With a row or two per intent scikit-learn asks whether this might be a regression problem.
        warnings.filterwarnings("ignore", message="The number of unique classes")
        return LogisticRegression(C=REGRESSION_C, class_weight="balanced", max_iter=300).fit(vectors, classes)


def vote_in_chunks(pool: IntentPool, queries: Vectors, texts: Sequence[str]) -> Iterator[Votes]:
    """The votes of any number of tickets, `CHUNK` at a time."""
    for i in range(0, len(texts), CHUNK):
        yield pool.vote(queries[i : i + CHUNK], texts[i : i + CHUNK])
