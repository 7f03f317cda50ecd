"""The benchmarks on public sets, on two made ones: one with replies, one without and with out-of-scope rows."""

import argparse
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from evaluation.benchmarks import fewshot, in_scope, scorer_weights, thirty_rows
from evaluation.benchmarks.fewshot import calibration_error, score_set
from evaluation.benchmarks.public_sets import draw, load_set, parsed_size, written_size
from evaluation.benchmarks.scorer_weights import Cell, fitted, measured
from evaluation.benchmarks.thirty_rows import most_frequent, score_draw
from evaluation.command import with_error
from evaluation.embeddings import CachingEncoder
from retrieval.intent_classifier import ScorerOutputs, ScorerWeights
from tests.evaluation.samples import use_hash_encoder, write_public_sets
from tests.fakes import HashEncoder
from tests.test_run import write

GIVEN = ["--weights", "1", "2", "0", "3"]
WORDS = ("invoice", "token", "export")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two sets; the commands embed by hashing words."""
    use_hash_encoder(monkeypatch, "evaluation.benchmarks.public_sets")
    write_public_sets(tmp_path, WORDS, rows=10)
    write(tmp_path / "bare_out_of_scope.jsonl", *({"id": f"o{i}", "ticket": f"zebra {i}"} for i in range(5)))
    return tmp_path


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    assert calibration_error(np.array([0.95, 0.95]), np.array([True, False])) == pytest.approx(0.45)
    assert calibration_error(np.array([1.0, 0.05]), np.array([True, False])) == pytest.approx(0.025)


def test_a_set_with_replies_is_scored_with_and_without_their_vote(data: Path) -> None:
    (bare,) = score_set(load_set(data, "bare", HashEncoder()), seed=0)
    assert (bare["reply vote"], bare["train"], bare["test"], bare["accuracy %"]) == ("no", "30", "30", "100.0 ± 0.0")
    assert bare["out of scope rejected %"] == "100.0"
    without, with_vote = score_set(load_set(data, "full", HashEncoder()), seed=0)
    assert [without["reply vote"], with_vote["reply vote"]] == ["no", "yes"]
    assert without["out of scope rejected %"] == "", "there are no such rows"


@pytest.mark.parametrize(("text", "intents"), [("15x2", 15), ("12x1+6x2+2x3", 20)])
def test_a_size_is_written_as_it_is_read(text: str, intents: int) -> None:
    assert written_size(parsed_size(text)) == text
    assert sum(number for number, _ in parsed_size(text)) == intents


@pytest.mark.parametrize("text", ["15", "0x2", "3x0", "3x2+", "ax2"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected INTENTSxROWS"):
        parsed_size(text)


def test_a_draw_has_its_size_its_own_names_and_only_test_rows_of_its_intents(data: Path) -> None:
    source = load_set(data, "full", HashEncoder())
    found = draw(source, ((1, 3), (1, 2)), seed=0)
    train_set = found.train_set
    assert (len(train_set.rows), len(train_set.intents), len(found.tests)) == (5, 2, 20)
    assert sorted(np.bincount(train_set.labels)) == [2, 3]
    assert [row.intent for row in train_set.rows] == [train_set.intents[label] for label in train_set.labels]
    assert [train_set.intents[label] for label in found.expected] == [row.intent for row in found.tests]
    np.testing.assert_array_equal(found.vectors, HashEncoder().encode([row.text for row in found.tests]))
    again, other = draw(source, ((1, 3), (1, 2)), seed=0), draw(source, ((1, 3), (1, 2)), seed=1)
    assert (again.train_set.rows, again.tests) == (train_set.rows, found.tests)
    assert other.train_set.rows != train_set.rows


def test_all_methods_are_scored_and_sets_without_replies_have_no_reply_vote(data: Path) -> None:
    full, bare = (score_draw(load_set(data, name, HashEncoder()), ((3, 2),), seed=0) for name in ("full", "bare"))
    assert list(full) == list(bare)
    assert full["classifier"] == full["nearest ticket"] == 1.0
    assert bare["classifier without reply vote"] == bare["classifier"]


def test_the_most_frequent_intent_wins_and_the_nearest_row_decides_a_tie() -> None:
    assert most_frequent(np.array([2, 1, 1, 0, 3])) == 1
    assert most_frequent(np.array([2, 1, 1, 2, 3])) == 2
    assert with_error([1.0, 3.0], digits=1) == "+2.0 ± 0.7"


def test_the_fit_trusts_the_scorer_that_is_right_and_not_the_one_that_is_wrong() -> None:
    expected = np.array([0, 1, 0, 1] * 5)
    right = np.eye(2)[expected]
    right[::10] = 0.5  # a scorer that is never unsure would get any weight
    silent, wrong = np.zeros_like(right), 1 - right
    cell = Cell("set", "2x2", ((ScorerOutputs(right, wrong, silent, silent), expected),))
    weights = fitted([cell])
    assert weights.regression > 5 * weights.ticket_vote
    present, better = measured(cell, ScorerWeights()), measured(cell, weights)
    assert better.cross_entropy < present.cross_entropy
    assert better.accuracy[0] > present.accuracy[0]


@pytest.mark.parametrize(
    ("module", "options", "said"),
    [
        (fewshot, ["--shots", "10"], ["accuracy %"]),
        (thirty_rows, ["--draws", "2", "--sizes", "2x2"], ["hash, 2x2, 2 draws", "nearest ticket"]),
        (scorer_weights, ["--draws", "2", "--sizes", "2x2"], ["tried on bare: regression", "all, 10 rows", "2x2"]),
        (scorer_weights, ["--draws", "1", "--sizes", "2x2", *GIVEN], ["tried on bare: regression 1.00, ticket_vote 2.00"]),
        (in_scope, ["--draws", "1"], ["hash: fitted on all sets", "without full: ", "1-10, no names"]),
    ],
)
def test_the_commands_print_a_table_and_a_missing_file_is_a_sentence(
    module: ModuleType, options: list[str], said: list[str], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert module.main(["--data", str(data), "--sets", "bare", "full", *options]) == 0
    printed = capsys.readouterr().out
    assert [piece for piece in said if piece not in printed] == []
    assert module.main(["--data", str(data), "--sets", "none", *options]) == 2
    assert "none_train_10.jsonl: cannot be read" in capsys.readouterr().err


def test_vectors_are_kept_for_the_next_time(data: Path, tmp_path: Path) -> None:
    first, texts = HashEncoder(), ["a token", "a seat", "a token"]
    expected = CachingEncoder(first, tmp_path / "cache").encode(texts)
    assert first.asked == ["a token", "a seat"]
    again = HashEncoder()
    np.testing.assert_array_equal(CachingEncoder(again, tmp_path / "cache").encode(texts[::-1]), expected[::-1])
    assert again.asked == []
    other = HashEncoder()
    other.files = replace(other.files, digest="sha256:1")
    CachingEncoder(other, tmp_path / "cache").encode(texts)
    assert other.asked == ["a token", "a seat"], "another encoder's vectors are not used"
