from collections.abc import Sequence

import pytest

from evaluation.scale import INTENTS, Cost, _show, made, made_train_set, main, measure
from retrieval.intent_classifier import fit_classifier


def test_a_made_desk_can_be_told_apart_and_is_the_same_every_time() -> None:
    train_set, again = made_train_set(2 * INTENTS), made_train_set(2 * INTENTS)
    assert (train_set.rows, train_set.tickets.tolist()) == (again.rows, again.tickets.tolist())
    texts, intents, encoder = made(20, seed=2)
    intent_scores = fit_classifier(train_set, with_names=False).score(encoder.encode(texts), texts)
    right = [train_set.intents[w] == f"topic.{c}" for w, c in zip(intent_scores.winners, intents, strict=True)]
    assert sum(right) > 10, "rows of an intent lie together"


def test_every_figure_of_a_size_is_measured_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    cost = measure(40, 5)
    assert cost.rows == 40
    assert min(cost.fit_s, cost.ticket_ms, cost.peak_gib) > 0
    _show([cost, Cost(100_000, 1.0, 2.0, 3.0, 4.0, 5.0)], 6.0)
    said = capsys.readouterr().out
    assert all(figure in said for figure in ("100,000", "1.0", "2.0", "3.0", "4.00", "5.00", "6.0 ms"))


@pytest.mark.parametrize("words", [["--rows", "0"], ["--tickets", "-1"]])
def test_a_size_below_one_is_refused(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert "found a count below 1" in capsys.readouterr().err
