"""The benchmarks on public sets, on two made ones: one with replies, one without and with out-of-scope rows."""

from pathlib import Path

import numpy as np
import pytest

from evaluation.benchmarks import fewshot, thirty_rows
from evaluation.benchmarks.fewshot import calibration_error, score_set
from evaluation.benchmarks.thirty_rows import draw, load, most_frequent, score_draw, with_error
from tests.evaluation.samples import use_hash_encoder
from tests.fakes import HashEncoder
from tests.test_run import write

WORDS = ("invoice", "token", "export")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name, replies in (("bare", False), ("full", True)):
        for part, first in (("train_10", 0), ("test", 50)):
            rows = [
                {"id": f"{word}{i}", "ticket": f"the {word} {i} please", "intent": f"{word}.help"}
                | ({"ideal_reply": f"About the {word} {i}."} if replies else {})
                for word in WORDS
                for i in range(first, first + 10)
            ]
            write(tmp_path / f"{name}_{part}.jsonl", *rows)
    write(tmp_path / "bare_out_of_scope.jsonl", *({"id": f"o{i}", "ticket": f"zebra {i}"} for i in range(5)))
    return tmp_path


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    assert calibration_error(np.array([0.95, 0.95]), np.array([True, False])) == pytest.approx(0.45)
    assert calibration_error(np.array([1.0, 0.05]), np.array([True, False])) == pytest.approx(0.025)


def test_a_set_with_replies_is_scored_with_and_without_their_vote(data: Path) -> None:
    (bare,) = score_set(data, "bare", 10, HashEncoder(), seed=0)
    assert (bare["reply vote"], bare["train"], bare["test"], bare["accuracy %"]) == ("no", "30", "30", "100.0")
    assert bare["out of scope rejected %"] == "100.0"
    without, with_vote = score_set(data, "full", 10, HashEncoder(), seed=0)
    assert [without["reply vote"], with_vote["reply vote"]] == ["no", "yes"]
    assert without["out of scope rejected %"] == "", "there are no such rows"


def test_a_draw_has_its_size_its_own_names_and_only_test_rows_of_its_intents(data: Path) -> None:
    source = load(data, "full", HashEncoder())
    train_set, tests = draw(source, intents=2, rows=3, seed=0)
    assert (len(train_set.rows), len(train_set.intents), len(tests)) == (6, 2, 20)
    assert [row.intent for row in train_set.rows] == [train_set.intents[label] for label in train_set.labels]
    assert {source.tests[i].intent for i in tests} == set(train_set.intents)
    again, other = draw(source, intents=2, rows=3, seed=0), draw(source, intents=2, rows=3, seed=1)
    assert (again[0].rows, again[1]) == (train_set.rows, tests)
    assert other[0].rows != train_set.rows


def test_all_methods_are_scored_and_copies_only_where_there_are_replies(data: Path) -> None:
    full = score_draw(load(data, "full", HashEncoder()), intents=3, rows=2, seed=0)
    bare = score_draw(load(data, "bare", HashEncoder()), intents=3, rows=2, seed=0)
    assert list(full.accuracy) == list(bare.accuracy)
    assert full.accuracy["classifier"] == full.accuracy["nearest ticket"] == 1.0
    assert full.copied is not None
    assert all(0 < cosine <= 1 for cosine in full.copied)
    assert bare.copied is None
    assert bare.accuracy["classifier without reply vote"] == bare.accuracy["classifier"]


def test_the_most_frequent_intent_wins_and_the_nearest_row_decides_a_tie() -> None:
    assert most_frequent(np.array([2, 1, 1, 0, 3])) == 1
    assert most_frequent(np.array([2, 1, 1, 2, 3])) == 2
    assert with_error([1.0, 3.0], digits=1) == "+2.0 ± 0.7"


@pytest.mark.parametrize("module", [fewshot, thirty_rows])
def test_the_commands_print_a_table_and_a_missing_file_is_a_sentence(
    module: object, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main, name = module.main, module.__name__  # type: ignore[attr-defined]
    use_hash_encoder(monkeypatch, name)
    size = ["--shots", "10"] if module is fewshot else ["--draws", "2", "--intents", "2"]
    assert main(["--data", str(data), "--sets", "bare", "full", *size]) == 0
    said = capsys.readouterr().out
    assert ("accuracy %" in said) if module is fewshot else ("copying on full" in said and "copying on bare" not in said)
    assert main(["--data", str(data), "--sets", "none", *size]) == 2
    assert "none_train_10.jsonl: cannot be read" in capsys.readouterr().err
