"""From a ticket to a calibrated distribution over intents.

Four scorers of a ticket, each simple, are added with fixed weights, and a softmax with no further temperature makes
probabilities of the sum:

    regression  balanced logistic regression on the rows, the humanised intent names as extra rows; log-probabilities
    neighbours  a kNN score over all rows, normalised by class, in which the intent's name is exemplar_score 1.5 neighbours
    replies     the same score over the stored replies, without names: a ticket often resembles its answer
    lexical     BM25, best document of the intent (rows and names), scaled to [0, 1] per ticket

The weights are constants, fitted on public sets by leaving one set out; accuracy is flat around them, and a classifier less
one of
its scorers loses between nothing and a point (`python -m evaluation.thirty_rows`, EXPERIMENTS.md). What is decided per
train_set is
only whether the intent names mean anything, see `names`.

Confidence (the highest probability) is for errors between known intents; `in_scope_score` is for tickets that belong to none.
They answer different questions and are not mixed.

What it does not know: which reply answers a ticket (`exemplars`), and intents that nobody named.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression

from retrieval.bm25 import BM25Index
from retrieval.encoder import Vectors, humanised
from retrieval.index import DECIMALS, VectorIndex, build_index
from retrieval.train_set import TrainSet, unit

Floats = NDArray[np.float64]

NAME_NEIGHBOURS = 1.5  # an intent's name counts as this many neighbours
REGRESSION_C = 30.0
UNSEEN_LOG_PROBABILITY = float(np.log(1e-6))  # of an intent that the regression was not shown
IN_SCOPE_THRESHOLD = 0.34  # keeps 95 % of in-scope rows, rejects 88-90 % of CLINC150's out-of-scope rows at 30 train rows
CHUNK = 256  # tickets at a time, so that memory does not grow with their number,
MOST_SCORES = 1 << 24  # and fewer where a matrix of scores, tickets by rows, would hold more than so many


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each scorer counts; 0 removes it."""

    regression: float = 2.0
    neighbours: float = 6.0
    replies: float = 4.0
    lexical: float = 1.0


@dataclass(frozen=True, slots=True)
class Scorers:
    """What each scorer says, (m, c) each, before its weight."""

    regression: Floats
    neighbours: Floats
    replies: Floats
    lexical: Floats

    def combined(self, weights: Weights) -> Floats:
        """(m, c) log-probabilities of the weighted sum."""
        logits = sum(getattr(weights, scorer.name) * getattr(self, scorer.name) for scorer in fields(self))
        shifted = logits - np.max(logits, axis=1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


@dataclass(frozen=True, slots=True)
class IntentScores:
    """The classifier's word on m tickets.

    Attributes:
        scorers: what each scorer says, (m, c) each.
        log_probabilities: (m, c).
        winners: (m,) the number of the chosen intent.
        in_scope_score: (m,) highest cosine to an intent; below `IN_SCOPE_THRESHOLD` the ticket is probably about something
        else.
        ticket_scores: (m, n) centred cosine to every train ticket: the neighbours' voices.
        reply_scores: (m, n) centred cosine to every stored reply.
        bm25_scores: (m, n) BM25 of every train ticket.
    """

    scorers: Scorers
    log_probabilities: Floats
    winners: NDArray[np.int64]
    in_scope_score: Floats
    ticket_scores: Vectors
    reply_scores: Vectors
    bm25_scores: Vectors

    @property
    def confidence(self) -> Floats:
        """(m,) probability of the winner."""
        return np.asarray(np.exp(self.log_probabilities.max(axis=1)))


@dataclass(frozen=True, slots=True)
class Classes:
    """What the rows of an intent are together, (c, ...) each.

    Attributes:
        members: (n, c) sparse, 1 where a row belongs to an intent.
        name_voices: (c, d) the centred names times what a name counts; zeros if names are not used.
        neighbour_lengths: (c,) length of the sum of an intent's centred tickets and its name's voice.
        reply_lengths: (c,) length of the sum of its centred replies.
        vectors: (c, d) uncentred mean ticket, half and half with the name if names are used.
    """

    members: csr_array
    name_voices: Vectors
    neighbour_lengths: NDArray[np.floating]
    reply_lengths: NDArray[np.floating]
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class IntentClassifier:
    """The fitted scorers over one train_set."""

    train_set: TrainSet
    weights: Weights
    with_names: bool
    classes: Classes
    ticket_index: VectorIndex
    reply_index: VectorIndex
    bm25_index: BM25Index
    regression: LogisticRegression | None

    def score(self, queries: Vectors, texts: Sequence[str]) -> IntentScores:
        """(m, d) unit vectors of m tickets, and their texts -> the intent_scores."""
        centred = self.ticket_index.centred(queries)
        ticket_scores = self.ticket_index.similarities(centred)
        reply_scores = self.reply_index.similarities(centred)
        bm25_scores = self.bm25_index.scores(texts).astype(np.float32)  # (m, documents)
        scorers = Scorers(
            regression=self._regression_view(queries),
            neighbours=self._neighbour_view(centred, ticket_scores),
            replies=self._reply_view(reply_scores),
            lexical=self._lexical_view(bm25_scores),
        )
        log_probabilities = scorers.combined(self.weights)
        return IntentScores(
            scorers=scorers,
            log_probabilities=log_probabilities,
            winners=winners(log_probabilities),
            in_scope_score=np.max(queries @ self.classes.vectors.T, axis=1).astype(np.float64),
            ticket_scores=ticket_scores,
            reply_scores=reply_scores,
            bm25_scores=bm25_scores[:, : len(self.train_set.rows)],
        )

    def _regression_view(self, queries: Vectors) -> Floats:
        found = np.zeros((len(queries), len(self.train_set.intents))) + UNSEEN_LOG_PROBABILITY
        if self.regression is None:  # one class or none: nothing to tell apart
            return found
        found[:, self.regression.classes_] = np.maximum(self.regression.predict_log_proba(queries), UNSEEN_LOG_PROBABILITY)
        return found

    def _neighbour_view(self, centred: Vectors, ticket_scores: Vectors) -> Floats:
        """The score: every row speaks for its intent with its score, the name with 1.5 times its own."""
        totals = self._summed(ticket_scores) + centred @ self.classes.name_voices.T
        return _by_length(totals, self.classes.neighbour_lengths)

    def _reply_view(self, reply_scores: Vectors) -> Floats:
        """The score over the stored replies: the ticket is centred as a ticket, the replies as replies."""
        return _by_length(self._summed(reply_scores), self.classes.reply_lengths)

    def _summed(self, scores: Vectors) -> Vectors:
        """(m, n) scores of rows -> (m, c) their sums over each intent."""
        return np.asarray((self.classes.members.T @ scores.T).T)

    def _lexical_view(self, scores: Vectors) -> Floats:
        """The best document of each intent; documents are the rows, then the names."""
        owner = np.concatenate([self.train_set.intent_of, np.arange(len(self.train_set.intents))])[: scores.shape[1]]
        order = np.argsort(owner, kind="stable")
        intents, starts = np.unique(owner[order], return_index=True)
        found = np.zeros((len(scores), len(self.train_set.intents)))
        if len(starts):
            found[:, intents] = np.maximum.reduceat(scores[:, order], starts, axis=1)
        return np.asarray(found / np.maximum(found.max(axis=1, keepdims=True), 1e-9))


def winners(log_probabilities: Floats) -> NDArray[np.int64]:
    """(m, c) -> (m,) the likeliest intent; ties go to the first."""
    return np.asarray(np.argmax(np.round(log_probabilities, DECIMALS), axis=1), dtype=np.int64)


def _by_length(totals: NDArray[np.floating], lengths: NDArray[np.floating]) -> Floats:
    """(m, c) sums of intent_scores by the (c,) lengths of the class sums: many rows must not outvote few."""
    return np.asarray(totals / np.maximum(lengths, 1e-9), dtype=np.float64)


def _fit_classes(train_set: TrainSet, tickets: VectorIndex, replies: VectorIndex, *, with_names: bool) -> Classes:
    count, size = len(train_set.rows), len(train_set.intents)
    each = np.arange(count)
    members = csr_array((np.ones(count, dtype=np.float32), (each, train_set.intent_of)), shape=(count, size))
    voices = (
        NAME_NEIGHBOURS * unit(train_set.names - train_set.names.mean(axis=0)) if with_names else np.zeros_like(train_set.names)
    )
    means = unit(members.T @ train_set.tickets)
    return Classes(
        members=members,
        name_voices=voices,
        neighbour_lengths=np.linalg.norm(members.T @ unit(train_set.tickets - tickets.mean) + voices, axis=1),
        reply_lengths=np.linalg.norm(members.T @ unit(train_set.replies - replies.mean), axis=1),
        vectors=unit(means + train_set.names) if with_names else means,
    )


def fit_classifier(train_set: TrainSet, *, with_names: bool, weights: Weights | None = None) -> IntentClassifier:
    """Builds both indexes and fits the regression; `with_names` is the decision of `names.label_names_gate`."""
    documents = [row.text for row in train_set.rows]
    if with_names:
        documents += [humanised(intent) for intent in train_set.intents]
    tickets, replies = build_index(train_set.tickets), build_index(train_set.replies)
    return IntentClassifier(
        train_set=train_set,
        weights=weights or Weights(),
        with_names=with_names,
        classes=_fit_classes(train_set, tickets, replies, with_names=with_names),
        ticket_index=tickets,
        reply_index=replies,
        bm25_index=BM25Index(documents),
        regression=_fit_regression(train_set, with_names=with_names),
    )


def _fit_regression(train_set: TrainSet, *, with_names: bool) -> LogisticRegression | None:
    vectors, classes = train_set.tickets, train_set.intent_of
    if with_names:
        vectors = np.concatenate([vectors, train_set.names])
        classes = np.concatenate([classes, np.arange(len(train_set.intents))])
    if len(np.unique(classes)) < 2:
        return None
    with warnings.catch_warnings():
        # With a row or two per intent scikit-learn asks whether this might be a regression problem.
        warnings.filterwarnings("ignore", message="The number of unique classes")
        return LogisticRegression(C=REGRESSION_C, class_weight="balanced", max_iter=300).fit(vectors, classes)


def score_in_chunks(classifier: IntentClassifier, queries: Vectors, texts: Sequence[str]) -> Iterator[IntentScores]:
    """The intent_scores of any number of tickets, so many at a time that the scores of one portion fit into a fixed space."""
    size = max(1, min(CHUNK, MOST_SCORES // max(1, len(classifier.train_set.rows))))
    for i in range(0, len(texts), size):
        yield classifier.score(queries[i : i + size], texts[i : i + size])
