from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from retrieval.classifier_files import load_classifier, save_classifier
from retrieval.errors import ModelUnavailable
from retrieval.intent_classifier import IntentClassifier, ScorerOutputs, fit_classifier
from retrieval.train_set_files import save_train_set
from tests.fakes import ROWS, HashEncoder, train_set

TICKETS = ["does a guest cost anything", "the token is gone", "where is my export", "nothing of all this"]


def save(folder: Path, classifier: IntentClassifier) -> Path:
    save_train_set(classifier.train_set, classifier.ticket_index, folder)
    save_classifier(classifier, folder)
    return folder


@pytest.mark.parametrize("rows", [ROWS, ROWS[:4], ROWS[:2], ROWS[:1]], ids=["3 intents", "2 intents", "1 intent", "1 row"])
@pytest.mark.parametrize("with_names", [True, False])
def test_a_loaded_classifier_gives_the_very_scores_of_the_one_that_was_saved(
    tmp_path: Path, rows: tuple[object, ...], with_names: bool
) -> None:
    saved = fit_classifier(train_set(ROWS[: len(rows)]), with_names=with_names)
    loaded = load_classifier(save(tmp_path, saved), "hash")
    vectors = HashEncoder().encode(TICKETS)
    one, other = saved.score(vectors, TICKETS), loaded.score(vectors, TICKETS)
    for field in fields(ScorerOutputs):
        assert np.array_equal(getattr(one.scorers, field.name), getattr(other.scorers, field.name)), field.name
    assert np.array_equal(one.in_scope, other.in_scope)
    assert (loaded.with_names, loaded.in_scope_threshold) == (saved.with_names, saved.in_scope_threshold)


def test_nothing_is_fitted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, fit_classifier(train_set(), with_names=True))
    for name in ("fit_regression", "in_scope_threshold"):
        monkeypatch.setattr(f"retrieval.intent_classifier.{name}", lambda *_, **__: pytest.fail("it was fitted"))
    load_classifier(tmp_path, "hash")


def test_a_file_that_was_cut_is_one_sentence(tmp_path: Path) -> None:
    path = save(tmp_path, fit_classifier(train_set(), with_names=True)) / "classifier.safetensors"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ModelUnavailable, match=r"classifier\.safetensors cannot be loaded: [^\n]+$"):
        load_classifier(tmp_path, "hash")
