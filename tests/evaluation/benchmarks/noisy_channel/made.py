"""Scores as a base might give them, for two tickets that the classifier gets wrong."""

import numpy as np

from evaluation.benchmarks.noisy_channel.scored import Scored
from retrieval.exemplars import near_rows
from retrieval.intent_classifier import fit_classifier
from tests.fakes import ROWS, HashEncoder, row, train_set

TESTS = (row(91, "one seat", "billing.seat", ROWS[1].ideal_reply), row(92, "token", "api.token", ROWS[3].ideal_reply))
TRUE = np.array([1, 0])  # the intents of the tests: api.token, billing.seat, data.export in order of their names
WAVERING = np.log(np.array([[0.5, 0.4, 0.1], [0.3, 0.4, 0.3]]))  # both wrong


def scored(scores: list[list[float]]) -> Scored:
    classifier = fit_classifier(train_set(), with_names=True)
    vectors = HashEncoder().encode([test.text for test in TESTS])
    near = near_rows(classifier, vectors, WAVERING)
    rows = np.array([[0, 1, 2], [2, 3, 0]])  # seat seat token, token token seat
    return Scored(classifier, TESTS, vectors, TRUE, WAVERING, near, rows, {"reply": np.array(scores)})
