"""The classifier's word on its own rows by pools that have not seen them: honest confidence for everything that learns from it.

What it does not know: what is learnt from it (losses, training prompts, gates).
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from retrieval.curate import representative_rows
from retrieval.intent_classifier import IntentClassifier, IntentScores, fit_classifier, winners
from retrieval.train_set import TrainSet

LEAVE_ONE_OUT = 60  # rows; beyond, `FOLDS`
FOLDS = 10


def folds(train_set: TrainSet, *, count: int) -> NDArray[np.int64]:
    """(n,) fold of each row; rows of one intent go to different folds as far as they can."""
    order = np.lexsort((np.arange(len(train_set.rows)), train_set.intent_of))
    found = np.empty(len(train_set.rows), dtype=np.int64)
    found[order] = np.arange(len(train_set.rows)) % count
    return found


def out_of_fold_scores(classifier: IntentClassifier) -> IntentScores:
    """The intent_scores of the classifier's own n rows, their log-probabilities by pools that have not seen the row.

    Leave-one-out up to `LEAVE_ONE_OUT` rows, ten folds beyond. The scores are those of the whole index: a row's score with
    itself is among them, and whoever ranks by them leaves it out (`exemplars.train_row_exemplars`).
    """
    train_set = classifier.train_set
    texts = [row.text for row in train_set.rows]
    fold_of = folds(train_set, count=len(train_set.rows) if len(train_set.rows) <= LEAVE_ONE_OUT else FOLDS)
    log_probabilities = np.zeros((len(train_set.rows), len(train_set.intents)))
    for fold in range(int(fold_of.max()) + 1):
        out = np.flatnonzero(fold_of == fold)
        rest = fit_classifier(train_set.without(out), with_names=classifier.with_names, weights=classifier.weights)
        log_probabilities[out] = rest.score(train_set.tickets[out], [texts[i] for i in out]).log_probabilities
    return replace(
        classifier.score(train_set.tickets, texts), log_probabilities=log_probabilities, winners=winners(log_probabilities)
    )


def intent_losses(classifier: IntentClassifier, *, at_most: int = 1000) -> tuple[float, float]:
    """Mean cross-entropy of the right intent on train rows, nats: by the classifier, and by pools that have not seen the row.

    Beyond `at_most` rows, of so many representative ones: the held-out pools are fitted anew for every fold.
    """
    sample = classifier.train_set.keep(representative_rows(classifier.train_set, at_most=at_most))
    fitted = fit_classifier(sample, with_names=classifier.with_names, weights=classifier.weights)
    seen = fitted.score(sample.tickets, [row.text for row in sample.rows])
    each = np.arange(len(sample.rows))
    return tuple(  # type: ignore[return-value]
        float(0.0 - intent_scores.log_probabilities[each, sample.intent_of].mean())
        for intent_scores in (seen, out_of_fold_scores(fitted))
    )
