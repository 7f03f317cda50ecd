"""Probabilities of the train rows by classifiers that have not seen them: honest inputs for everything learned from them."""

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from retrieval.intent_classifier import Floats, IntentClassifier, fit_classifier
from retrieval.train_set import Rows, TrainSet, representative_rows

LEAVE_ONE_OUT = 60  # rows; beyond, `FOLDS`
FOLDS = 10
INTENT_LOSS = "cross-entropy of the right intent, nats per ticket: train rows, out-of-fold"


def folds(train_set: TrainSet, *, count: int) -> Rows:
    """(n,) the fold of each row; rows of one intent go to different folds as far as they can."""
    order = np.lexsort((np.arange(len(train_set.rows)), train_set.labels))
    found = np.empty(len(train_set.rows), dtype=np.int64)
    found[order] = np.arange(len(train_set.rows)) % count
    return found


def out_of_fold_log_probabilities(classifier: IntentClassifier) -> Floats:
    """(n, c) of the classifier's own rows: leave-one-out up to `LEAVE_ONE_OUT` rows, ten folds beyond."""
    train_set = classifier.train_set
    fold_of = folds(train_set, count=len(train_set.rows) if len(train_set.rows) <= LEAVE_ONE_OUT else FOLDS)
    found = np.zeros((len(train_set.rows), len(train_set.intents)))
    # One thread: on matrices as small as these, the threads of the regression's solver cost ten times what they save.
    with threadpool_limits(1, user_api="blas"):
        for fold in range(int(fold_of.max()) + 1):
            out = np.flatnonzero(fold_of == fold)
            rest = refit(classifier, train_set.without(out))
            found[out] = rest.score(train_set.ticket_vectors[out], [train_set.rows[i].text for i in out]).log_probabilities
    return found


def refit(classifier: IntentClassifier, train_set: TrainSet) -> IntentClassifier:
    """The same classifier on other rows."""
    return fit_classifier(train_set, with_names=classifier.with_names, weights=classifier.weights)


def intent_losses(classifier: IntentClassifier, *, at_most: int = 1000) -> tuple[float, float]:
    """Mean cross-entropy of the right intent in nats per ticket: on the rows, and out-of-fold.

    Beyond `at_most` rows, of so many representative ones: the classifier is fitted anew for every fold.
    """
    train_set = classifier.train_set.subset(representative_rows(classifier.train_set, at_most=at_most))
    fitted = refit(classifier, train_set)
    seen = fitted.score(train_set.ticket_vectors, [row.text for row in train_set.rows]).log_probabilities
    return _cross_entropy(seen, train_set.labels), _cross_entropy(out_of_fold_log_probabilities(fitted), train_set.labels)


def _cross_entropy(log_probabilities: Floats, labels: NDArray[np.int64]) -> float:
    return float(0.0 - log_probabilities[np.arange(len(labels)), labels].mean())
