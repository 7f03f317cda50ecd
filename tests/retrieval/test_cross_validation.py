import numpy as np
import pytest

from retrieval import cross_validation
from retrieval.cross_validation import folds, intent_losses, out_of_fold_log_probabilities
from retrieval.intent_classifier import IntentClassifier, ScorerWeights, fit_classifier
from retrieval.label_names import label_names_gate
from retrieval.train_set import TrainSet
from tests.fakes import ROWS, row, train_set


@pytest.fixture
def refitted_on(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of every classifier that is fitted anew."""
    sizes: list[int] = []

    def refit(classifier: IntentClassifier, rows: TrainSet) -> IntentClassifier:
        sizes.append(len(rows.rows))
        return fit_classifier(rows, with_names=classifier.with_names, weights=classifier.weights)

    monkeypatch.setattr(cross_validation, "refit", refit)
    return sizes


def test_folds_spread_the_rows_of_an_intent() -> None:
    half = folds(train_set(), count=2)
    assert [sorted(half[train_set().labels == c].tolist()) for c in range(3)] == [[0, 1]] * 3


def test_out_of_fold_probabilities_do_not_know_the_row() -> None:
    odd = (*ROWS, row(7, "zebra quagga okapi", "api.token", "x"))
    classifier = fit_classifier(train_set(odd), with_names=True)
    seen = classifier.score(classifier.train_set.ticket_vectors, [r.text for r in odd]).log_probabilities
    token = classifier.train_set.intents.index("api.token")
    assert seen[6, token] > -0.2
    assert out_of_fold_log_probabilities(classifier)[6, token] < seen[6, token] - 0.3


def test_few_rows_are_left_out_one_by_one_and_many_in_folds(refitted_on: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = fit_classifier(train_set(), with_names=True)
    out_of_fold_log_probabilities(classifier)
    assert refitted_on == [5] * 6
    refitted_on.clear()
    monkeypatch.setattr(cross_validation, "LEAVE_ONE_OUT", 5)
    monkeypatch.setattr(cross_validation, "FOLDS", 3)
    assert np.isfinite(out_of_fold_log_probabilities(classifier)).all()
    assert refitted_on == [4] * 3


def test_a_fold_is_scored_with_the_names_and_weights_of_the_classifier() -> None:
    weights = ScorerWeights(regression=0.0, ticket_vote=0.0, reply_vote=0.0)
    classifier = fit_classifier(train_set(), with_names=False, weights=weights)
    found = np.exp(out_of_fold_log_probabilities(classifier)[2])
    assert found.tolist() == pytest.approx([np.e / (np.e + 2), 1 / (np.e + 2), 1 / (np.e + 2)]), "BM25 alone: 1, 0, 0"


def test_losses_are_mean_cross_entropies_and_lower_on_rows_that_were_seen() -> None:
    classifier = fit_classifier(train_set(), with_names=True)
    seen, out_of_fold = intent_losses(classifier)
    log_p = out_of_fold_log_probabilities(classifier)
    assert out_of_fold == pytest.approx(-np.mean([log_p[i, label] for i, label in enumerate(train_set().labels)]))
    assert 0 < seen < out_of_fold


def test_losses_of_many_rows_are_measured_on_representative_ones(refitted_on: list[int]) -> None:
    intent_losses(fit_classifier(train_set(), with_names=True), at_most=3)
    assert refitted_on == [3, 2, 2, 2]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_trap_13_few_rows_one_intent_duplicates_and_no_words_have_finite_losses(count: int) -> None:
    rows = train_set([row(i, "…" if i else "same", "only.intent", "same reply") for i in range(count)])
    classifier = fit_classifier(rows, with_names=label_names_gate(rows, seed=0).passed)
    assert intent_losses(classifier) == (0.0, 0.0)
    assert [np.signbit(loss) for loss in intent_losses(classifier)] == [False, False], "no -0.0 in a record"
