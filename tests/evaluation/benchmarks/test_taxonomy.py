"""Thirty rows of all intents, on a made-up set whose words are its names."""

from pathlib import Path

import numpy as np
import pytest

from evaluation.benchmarks import taxonomy
from evaluation.benchmarks.public_sets import PublicSet, load_set
from evaluation.benchmarks.taxonomy import ACCURACY, F1, SILENT, WITH, WITHOUT, figures, mean_of, score_draw, table_lines
from tests.evaluation.samples import use_hash_encoder, write_public_sets
from tests.fakes import HashEncoder

WORDS = ("invoice", "token", "export", "guest", "audit", "login", "refund", "webhook")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two sets, one with replies."""
    use_hash_encoder(monkeypatch, "evaluation.benchmarks.public_sets")
    write_public_sets(tmp_path, WORDS, rows=3)
    return tmp_path


def made(data: Path, name: str) -> PublicSet:
    return load_set(data, name, HashEncoder())


def test_only_with_the_names_are_tickets_of_intents_without_rows_right(data: Path) -> None:
    found = score_draw(made(data, "bare"), 5, seed=0)
    assert found[WITHOUT]["rowless"] == 0.0
    assert found[WITHOUT]["predicted rowless"] == 0.0
    assert found[WITH]["rowless"] > 50.0
    assert found[WITH][F1] > found[WITHOUT][F1]
    assert {one["are rowless"] for one in found.values()} == {found[WITH]["are rowless"]}
    assert SILENT not in found


def test_a_prior_for_intents_without_rows_predicts_them_more_often(data: Path) -> None:
    found = score_draw(made(data, "full"), 5, seed=1)
    shares = [found[system]["predicted rowless"] for system in (f"{WITH}, prior -1", WITH, f"{WITH}, prior +1")]
    assert shares == sorted(shares)
    assert SILENT in found


def test_the_same_seed_draws_the_same_rows_and_another_does_not(data: Path) -> None:
    first, again, other = (score_draw(made(data, "bare"), 5, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_figures_count_the_two_kinds_of_tickets_apart() -> None:
    predicted, expected, has_rows = np.array([0, 1, 2, 2]), np.array([0, 0, 2, 1]), np.array([True, False, False])
    found = figures(predicted, expected, has_rows)
    assert [round(share, 1) for share in found.values()] == [44.4, 50.0, 50.0, 50.0, 75.0, 50.0]


def test_the_difference_is_paired_and_a_kind_without_tickets_has_no_figure() -> None:
    assert mean_of([1.0, 3.0]) == "2.0 ± 1.0"
    assert mean_of([1.0, float("nan")]) == "1.0 ± 0.0"
    assert mean_of([float("nan")]) == "-"
    draws = [{WITHOUT: {ACCURACY: low}, WITH: {ACCURACY: low + 5.0}} for low in (10.0, 50.0)]
    assert table_lines("s", draws)[-1] == {"set": "s", "system": f"{WITH} minus {WITHOUT}", ACCURACY: "5.0 ± 0.0"}


def test_the_command_prints_a_line_for_each_system(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--data", str(data), "--sets", "bare", "full", "--rows", "5", "--draws", "2"]
    assert taxonomy.main(options) == 0
    printed = capsys.readouterr().out
    assert "hash, 5 rows of all intents, 2 draws from each set" in printed
    assert printed.count(f"{WITH} minus {WITHOUT}") == 2
