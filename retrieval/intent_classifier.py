"""From a ticket to calibrated probabilities of the intents.

Four scorers are added with fixed weights, and a softmax without a further temperature makes probabilities of the sum:

    regression   balanced logistic regression on the rows, the humanised label names as extra rows; log-probabilities
    ticket_vote  the kNN vote over all rows, normalised by class; a label name is worth 1.5 neighbours
    reply_vote   the same vote over the stored replies, without names: a ticket often resembles its reply
    bm25         BM25, best document of the intent (rows and names), scaled to [0, 1] for each ticket

An intent that a taxonomy names and no row has is told by its label alone: a row of the regression, all of its ticket vote, a
document. It has no replies, and would lose to every intent that has some; so its ticket vote stands in for its reply vote,
without a weight of its own (`python -m evaluation.benchmarks.taxonomy`).

The sum of a ticket's dot products with the rows of a class is its dot product with their sum, so a vote costs one FAISS search
over c class prototypes. Accuracy is flat around these weights; they were moved towards what cross-entropy asks for on public
sets, one left out in turn, as far as no set loses accuracy, and serve both known encoders
(`python -m evaluation.benchmarks.scorer_weights`, EXPERIMENTS.md).

Confidence is for errors between known intents, the in-scope score for tickets that belong to none; they are not mixed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import faiss
import numpy as np
from numpy.typing import NDArray

from retrieval.bm25 import BM25Index
from retrieval.encoder import Vectors, unit
from retrieval.in_scope import class_vectors, in_scope_threshold
from retrieval.index import DECIMALS, RowIndex, all_scores, build_row_index, flat_index
from retrieval.regression import Regression, fit_regression
from retrieval.train_set import Rows, TrainSet

Floats = NDArray[np.float64]

NAME_NEIGHBOURS = 1.5  # a label name counts as this many neighbours
UNSEEN_LOG_PROBABILITY = float(np.log(1e-6))  # of an intent that the regression was not shown
MAX_BATCH = 256  # tickets at a time, so that memory does not grow with their number,
MAX_SCORES = 1 << 24  # and fewer where the matrix of BM25 scores, tickets by documents, would hold more than so many


@dataclass(frozen=True, slots=True)
class ScorerWeights:
    """How much each scorer counts; 0 removes it."""

    regression: float = 1.5
    ticket_vote: float = 7.0
    reply_vote: float = 4.0
    bm25: float = 1.0


@dataclass(frozen=True, slots=True)
class ScorerOutputs:
    """What each scorer says, (m, c) each, before its weight."""

    regression: Floats
    ticket_vote: Floats
    reply_vote: Floats
    bm25: Floats

    def log_probabilities(self, weights: ScorerWeights) -> Floats:
        """(m, c) log-softmax of the weighted sum."""
        logits = sum(getattr(weights, scorer.name) * getattr(self, scorer.name) for scorer in fields(self))
        shifted = logits - np.max(logits, axis=1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


@dataclass(frozen=True, slots=True)
class IntentScores:
    """What the classifier says about m tickets."""

    scorers: ScorerOutputs  # the outputs of the scorers, (m, c) each
    log_probabilities: Floats  # (m, c)
    in_scope: Floats  # (m,) highest cosine to an intent; below the threshold the ticket is probably out of scope
    row_bm25: NDArray[np.float32]  # (m, n) BM25 score of each train ticket

    @property
    def winners(self) -> Rows:
        """(m,) the position of the likeliest intent."""
        return winners(self.log_probabilities)

    @property
    def confidence(self) -> Floats:
        """(m,) the probability of the likeliest intent."""
        return np.asarray(np.exp(self.log_probabilities.max(axis=1)))


@dataclass(frozen=True, slots=True)
class VoteIndex:
    """The class sums of a kNN vote: (c, d) prototypes of length 1 in FAISS, and (c,) the lengths of the sums."""

    prototypes: faiss.IndexFlatIP
    lengths: Floats

    def scores(self, centred: Vectors) -> Floats:
        """(m, d) centred queries -> (m, c) votes."""
        return all_scores(self.prototypes, centred).astype(np.float64)


@dataclass(frozen=True, slots=True)
class BM25Documents:
    """BM25 over rows and label names, the documents of an intent side by side."""

    index: BM25Index  # over the documents
    of_row: Rows  # (n,) the document of each row
    intents: Rows  # the intents that have a document
    starts: Rows  # where the documents of each of them begin


@dataclass(frozen=True, slots=True)
class Fitted:
    """What is fitted by iterations, or by cross-validation."""

    regression: Regression | None  # None with one class or none: nothing to tell apart
    in_scope_threshold: float  # a ticket with a lower in-scope score is probably out of scope


@dataclass(frozen=True, slots=True)
class IntentClassifier:
    """The fitted scorers over one train set."""

    train_set: TrainSet
    weights: ScorerWeights
    with_names: bool
    ticket_index: RowIndex
    reply_index: RowIndex
    ticket_vote: VoteIndex
    reply_vote: VoteIndex
    documents: BM25Documents
    class_vectors: Vectors  # (c, d) what the in-scope score compares a ticket with
    in_scope_threshold: float  # a ticket with a lower in-scope score is probably out of scope
    regression: Regression | None

    def score(self, queries: Vectors, texts: Sequence[str]) -> IntentScores:
        """(m, d) unit vectors of m tickets, and their texts -> their scores."""
        centred = self.ticket_index.centred(queries)
        document_scores = self.documents.index.scores(texts)  # (m, documents)
        ticket_vote = self.ticket_vote.scores(centred)
        scorers = ScorerOutputs(
            regression=self._regression(queries),
            ticket_vote=ticket_vote,
            reply_vote=self._reply_vote(centred, ticket_vote),
            bm25=self._best_document(document_scores),
        )
        return IntentScores(
            scorers=scorers,
            log_probabilities=scorers.log_probabilities(self.weights),
            in_scope=np.max(queries @ self.class_vectors.T, axis=1).astype(np.float64),
            row_bm25=document_scores[:, self.documents.of_row],
        )

    def batches(self, queries: Vectors, texts: Sequence[str]) -> Iterator[tuple[slice, IntentScores]]:
        """The scores of any number of tickets, a batch at a time, so that memory does not grow with their number."""
        size = max(1, min(MAX_BATCH, MAX_SCORES // max(1, len(self.train_set.rows))))
        for start in range(0, len(texts), size):
            batch = slice(start, start + size)
            yield batch, self.score(queries[batch], texts[batch])

    def vote_shares(self, rows: Rows, cosines: Vectors) -> Floats:
        """(k,) what each of k rows adds to the ticket vote of its intent, given its centred cosine to the ticket."""
        return np.asarray(cosines / np.maximum(self.ticket_vote.lengths[self.train_set.labels[rows]], 1e-9), dtype=np.float64)

    def _regression(self, queries: Vectors) -> Floats:
        found = np.full((len(queries), len(self.train_set.intents)), UNSEEN_LOG_PROBABILITY)
        if self.regression is None:  # one class or none: it is that one
            found[:, self.train_set.labels] = 0.0
            return found
        found[:, self.regression.classes] = np.maximum(self.regression.log_probabilities(queries), UNSEEN_LOG_PROBABILITY)
        return found

    def _reply_vote(self, centred: Vectors, ticket_vote: Floats) -> Floats:
        found = self.reply_vote.scores(centred)
        if self.train_set.taxonomy:  # without one, only a fold has intents without a row, and they must not gain by that
            rowless = self.train_set.row_counts == 0
            found[:, rowless] = ticket_vote[:, rowless]
        return found

    def _best_document(self, scores: NDArray[np.float32]) -> Floats:
        """(m, documents) -> (m, c) the best document of each intent, scaled to [0, 1] for each ticket."""
        found = np.zeros((len(scores), len(self.train_set.intents)))
        if len(self.documents.starts):
            found[:, self.documents.intents] = np.maximum.reduceat(scores, self.documents.starts, axis=1)
        return np.asarray(found / np.maximum(found.max(axis=1, keepdims=True), 1e-9))


def winners(log_probabilities: Floats) -> Rows:
    """(m, c) -> (m,) the likeliest intent; ties go to the first."""
    return np.asarray(np.argmax(np.round(log_probabilities, DECIMALS), axis=1), dtype=np.int64)


def fit_classifier(
    train_set: TrainSet,
    *,
    with_names: bool,
    weights: ScorerWeights | None = None,
    ticket_index: RowIndex | None = None,
    fitted: Fitted | None = None,
) -> IntentClassifier:
    """Fits the scorers.

    Args:
        train_set: the rows.
        with_names: whether label names are used, the decision of `label_names_gate`.
        weights: of the scorers.
        ticket_index: of the same rows, where it was loaded from a finished run.
        fitted: to the same rows, where it was loaded from a finished run.
    """
    found = fitted or Fitted(
        _fitted_regression(train_set, with_names=with_names), in_scope_threshold(train_set, with_names=with_names)
    )
    tickets = ticket_index or build_row_index(train_set.ticket_vectors, [row.text for row in train_set.rows])
    replies = build_row_index(train_set.reply_vectors, [row.ideal_reply for row in train_set.rows])
    names = train_set.name_vectors
    name_votes = NAME_NEIGHBOURS * unit(names - names.mean(axis=0)) if with_names else np.zeros_like(names)
    return IntentClassifier(
        train_set=train_set,
        weights=weights or ScorerWeights(),
        with_names=with_names,
        ticket_index=tickets,
        reply_index=replies,
        ticket_vote=_vote_index(train_set.class_sums(unit(train_set.ticket_vectors - tickets.mean)) + name_votes),
        reply_vote=_vote_index(train_set.class_sums(unit(train_set.reply_vectors - replies.mean))),
        documents=_bm25_documents(train_set, with_names=with_names),
        class_vectors=class_vectors(train_set, with_names=with_names),
        in_scope_threshold=found.in_scope_threshold,
        regression=found.regression,
    )


def _vote_index(sums: Vectors) -> VoteIndex:
    return VoteIndex(flat_index(unit(sums)), np.linalg.norm(sums, axis=1).astype(np.float64))


def _bm25_documents(train_set: TrainSet, *, with_names: bool) -> BM25Documents:
    texts = [row.text for row in train_set.rows]
    owners = train_set.labels
    if with_names:
        texts += train_set.label_texts
        owners = np.concatenate([owners, np.arange(len(train_set.intents))])
    order = np.argsort(owners, kind="stable")
    intents, starts = np.unique(owners[order], return_index=True)
    document_of = np.empty(len(order), dtype=np.int64)
    document_of[order] = np.arange(len(order))
    return BM25Documents(BM25Index([texts[i] for i in order]), document_of[: len(train_set.rows)], intents, starts)


def _fitted_regression(train_set: TrainSet, *, with_names: bool) -> Regression | None:
    vectors, classes = train_set.ticket_vectors, train_set.labels
    if with_names:
        vectors = np.concatenate([vectors, train_set.name_vectors])
        classes = np.concatenate([classes, np.arange(len(train_set.intents))])
    return fit_regression(vectors, classes)
