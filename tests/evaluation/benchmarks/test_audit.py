import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.benchmarks import audit
from evaluation.benchmarks.audit import Case, Hits, argmax_differs, below, by_filter, fitted, hits, with_flipped_labels
from tests.fakes import HashEncoder, train_set


def test_a_tenth_of_the_labels_are_flipped_to_another_intent_and_nothing_else_changes() -> None:
    before = train_set()
    for seed in range(20):
        after, wrong = with_flipped_labels(before, seed=seed)
        changed = [i for i in range(6) if after.rows[i].intent != before.rows[i].intent]
        assert changed == wrong.tolist()
        assert len(changed) == 1
        assert [after.intents[c] for c in after.labels] == [row.intent for row in after.rows]
        assert [row.text for row in after.rows] == [row.text for row in before.rows]
        assert len(after.name_vectors) == len(after.intents)
    assert with_flipped_labels(before, seed=3)[1].tolist() == with_flipped_labels(before, seed=3)[1].tolist()


def test_precision_and_recall_are_counted_against_the_flipped_rows() -> None:
    one = Hits(found=4, right=1, wanted=2)
    assert (one.precision, one.recall, one.f1) == (0.25, 0.5, 1 / 3)
    assert np.isnan(Hits(0, 0, 2).precision)


def case(*, own: float) -> Case:
    """Six rows of which the second, a flipped one, gives its label this probability, and the third half of all."""
    found = train_set()
    p = np.full((6, 3), 0.0001)
    p[np.arange(6), found.labels] = 1.0
    p[1] = [0.9, own, 0.0001]
    p[2] = [0.4, 0.5, 0.1]
    return Case("x", ((3, 2),), found, np.log(p / p.sum(axis=1, keepdims=True)), np.array([1]))


def test_the_rules_see_a_flipped_label_and_the_naive_one_doubts_another() -> None:
    one = case(own=0.001)
    assert argmax_differs(one.train_set, one.log_p).tolist() == [1, 2]
    assert below(0.02)(one.train_set, one.log_p).tolist() == [1]
    assert 1 in by_filter("low_self_confidence")(one.train_set, one.log_p)
    assert hits(below(0.02), [one]) == [Hits(1, 1, 1)]


def test_the_threshold_with_the_highest_f1_is_fitted_and_the_lowest_of_equal_ones() -> None:
    assert fitted([case(own=0.04)]) == 0.05
    assert fitted([case(own=0.001)]) == 0.005


def test_the_command_prints_a_table_for_each_set_and_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "chosen_encoder", lambda _: HashEncoder())
    words = ("seat plan price", "token key secret", "export zip data", "board page link")
    rows = [{"id": f"{c}-{i}", "ticket": f"{text} {i}", "intent": f"i{c}"} for c, text in enumerate(words) for i in range(10)]
    (tmp_path / "hwu64_train_10.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--data", str(tmp_path), "--sets", "hwu64", "--sizes", "4x5", "--draws", "2"]
    assert audit.main(options) == 0
    out = capsys.readouterr().out
    assert "hash, hwu64, 4x5, 2 of 20 labels flipped, 2 draws" in out
    assert "argmax differs" in out
    assert "label quality below 0.02 (the audit)" in out
