"""Logistic regression over unit vectors: fitted by scikit-learn, and used without it, for its import takes .3 s."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.encoder import Vectors
from retrieval.train_set import Rows

INVERSE_STRENGTH = 30.0  # scikit-learn's C


@dataclass(frozen=True, slots=True)
class Regression:
    """A softmax over one linear function of the vector for each class."""

    coefficients: Vectors  # (k, d)
    intercepts: Vectors  # (k,)
    classes: Rows  # (k,) the intents it was shown

    def log_probabilities(self, vectors: Vectors) -> NDArray[np.float64]:
        """(m, d) -> (m, k)."""
        from scipy.special import log_softmax  # a tenth of a second, so not where a run is only read

        return np.asarray(log_softmax(vectors @ self.coefficients.T + self.intercepts, axis=1), dtype=np.float64)


def fit_regression(vectors: Vectors, classes: Rows) -> Regression | None:
    """Fits it to (n, d) vectors and their (n,) classes, each class weighing the same; None: there are not two to tell apart."""
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(classes)) < 2:
        return None
    with warnings.catch_warnings():
        # With a row or two per class scikit-learn asks whether this might be a regression problem.
        warnings.filterwarnings("ignore", message="The number of unique classes")
        model = LogisticRegression(C=INVERSE_STRENGTH, class_weight="balanced", max_iter=300).fit(vectors, classes)
    return regression_of(model.coef_, model.intercept_, model.classes_)


def regression_of(coefficients: Vectors, intercepts: Vectors, classes: Rows) -> Regression:
    """From the arrays of scikit-learn, which has one function for two classes: the logit of the second."""
    if len(coefficients) == 1:
        coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
        intercepts = np.concatenate([np.zeros_like(intercepts), intercepts])
    return Regression(coefficients, intercepts, classes)
