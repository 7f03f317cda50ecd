from pathlib import Path

import numpy as np
import pytest

from retrieval.curate import representative_rows
from retrieval.files import write_json, write_text
from retrieval.index import build_index
from retrieval.store import load_train_set, save_train_set
from retrieval.tickets import InputProblems
from tests.fakes import ROWS, row, train_set


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_number_that_is_not_finite_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "r.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_written_files_can_be_read_by_others(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write_json(tmp_path / "r.json", {})
    save_train_set(train_set(), build_index(train_set().tickets), tmp_path)
    assert {path.stat().st_mode for path in tmp_path.iterdir()} == {(tmp_path / "usual").stat().st_mode}


def test_a_saved_desk_is_loaded_as_it_was(tmp_path: Path) -> None:
    save_train_set(train_set(), build_index(train_set().tickets), tmp_path)
    loaded = load_train_set(tmp_path)
    assert (loaded.rows, loaded.intents) == (train_set().rows, train_set().intents)
    assert np.array_equal(loaded.replies, train_set().replies)
    assert np.array_equal(loaded.intent_of, train_set().intent_of)


def test_a_folder_that_is_no_weights_folder_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(InputProblems, match="expected a weights folder"):
        load_train_set(tmp_path)


def test_representative_rows_cover_every_intent_before_any_has_two() -> None:
    many = train_set((*ROWS, *(row(10 + i, f"seat {i}", "billing.seat", f"r{i}") for i in range(6))))
    chosen = representative_rows(many, at_most=3)
    assert sorted(many.intent_of[chosen].tolist()) == [0, 1, 2]
    assert representative_rows(many, at_most=99).tolist() == list(range(12))


def test_a_repeated_ticket_is_chosen_last() -> None:
    rows = [row(i, text, "billing.seat", "r") for i, text in enumerate(["seat price", "Seat  price", "other words"])]
    assert representative_rows(train_set(rows), at_most=2).tolist() in ([0, 2], [1, 2])
