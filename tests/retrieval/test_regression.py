import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from retrieval.encoder import unit
from retrieval.regression import fit_regression, regression_of


def vectors(rows: int) -> np.ndarray:
    return unit(np.random.default_rng(0).normal(size=(rows, 8)))


@pytest.mark.parametrize("intents", [2, 3, 5])
def test_it_says_what_scikit_learn_says_without_it(intents: int) -> None:
    classes = np.arange(12) % intents
    found = fit_regression(vectors(12), classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LogisticRegression(C=30, class_weight="balanced", max_iter=300).fit(vectors(12), classes)
    assert found is not None
    np.testing.assert_allclose(found.log_probabilities(vectors(20)), model.predict_log_proba(vectors(20)), atol=1e-5)
    np.testing.assert_array_equal(found.classes, model.classes_)


@pytest.mark.parametrize("classes", [[3, 3, 3, 3], []])
def test_one_class_or_none_is_nothing_to_tell_apart(classes: list[int]) -> None:
    assert fit_regression(vectors(len(classes)), np.array(classes, dtype=np.int64)) is None


def test_two_classes_are_told_by_the_logit_of_the_second() -> None:
    one = regression_of(np.array([[2.0, 0.0]], dtype=np.float32), np.array([-1.0], dtype=np.float32), np.array([4, 7]))
    probabilities = np.exp(one.log_probabilities(np.array([[1.0, 0.0]], dtype=np.float32)))
    np.testing.assert_allclose(probabilities, [[1 / (1 + np.e), np.e / (1 + np.e)]], rtol=1e-6)
    again = regression_of(one.coefficients, one.intercepts, one.classes)
    np.testing.assert_array_equal(again.coefficients, one.coefficients)
