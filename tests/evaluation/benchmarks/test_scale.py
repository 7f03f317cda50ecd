from collections.abc import Sequence

import pytest

from evaluation.benchmarks import scale
from evaluation.benchmarks.scale import INTENTS, made_texts, made_train_set, main, measure
from retrieval.intent_classifier import fit_classifier
from tests.evaluation.samples import use_hash_encoder


def test_a_made_train_set_can_be_told_apart_and_is_the_same_every_time() -> None:
    train_set, again = made_train_set(2 * INTENTS), made_train_set(2 * INTENTS)
    assert (train_set.rows, train_set.ticket_vectors.tolist()) == (again.rows, again.ticket_vectors.tolist())
    texts, intents, encoder = made_texts(20, seed=2)
    scores = fit_classifier(train_set, with_names=False).score(encoder.encode(texts), texts)
    correct = [train_set.intents[w] == f"topic.{c}" for w, c in zip(scores.winners, intents, strict=True)]
    assert sum(correct) > 10, "rows of an intent lie together"


def test_the_made_data_are_those_of_the_figures_in_experiments_md() -> None:
    train_set = made_train_set(300)
    assert train_set.rows[0].text == "w1 w3 w351 w14 w106 w3 w1 w2 w102 w13 w1 topic0"
    vectors = (train_set.ticket_vectors[7, 5], train_set.reply_vectors[9, 3], train_set.name_vectors[4, 2])
    assert [float(value) for value in vectors] == pytest.approx([-0.029147, -0.029223, 0.015220], abs=1e-6)


def test_every_figure_of_a_size_is_measured_and_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cost = measure(40, 5)
    assert cost["train rows"] == "40"
    assert float(cost["GiB peak"]) > 0
    use_hash_encoder(monkeypatch, scale.__name__)
    monkeypatch.setattr(scale, "_in_its_own_process", lambda rows, tickets: cost | {"train rows": f"{rows:,}"})
    assert main(["--rows", "100000", "7"]) == 0
    said = capsys.readouterr().out
    assert all(piece in said for piece in (*cost, "100,000", "ms a text, on top"))


@pytest.mark.parametrize("words", [["--rows", "0"], ["--tickets", "-1"]])
def test_a_size_below_one_is_refused(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert "expected a whole number from 1" in capsys.readouterr().err
