from pathlib import Path

import numpy as np
import pytest

from retrieval.encoder import unit
from retrieval.errors import ModelUnavailable
from retrieval.index import ROWS_PER_TEXT, RowIndex, all_scores, build_row_index, flat_index, load_row_index, ranked
from retrieval.tickets import LabelledTicket
from tests.fakes import ROWS, train_set

TEXTS = [row.text for row in ROWS]
VECTORS = train_set().ticket_vectors


@pytest.fixture
def index() -> RowIndex:
    return build_row_index(VECTORS, TEXTS)


def test_cosines_are_centred_by_the_mean_of_the_rows(index: RowIndex) -> None:
    centred = unit(VECTORS - VECTORS.mean(axis=0))
    (query,) = index.centred(VECTORS[:1])
    assert index.cosines(query, np.array([2, 0])) == pytest.approx([centred[0] @ centred[2], 1.0], abs=1e-5)
    assert index.cosines(query, np.array([], dtype=np.int64)).tolist() == []


def test_trap_9_faiss_is_never_asked_for_more_rows_than_it_has() -> None:
    two = build_row_index(VECTORS[:2], TEXTS[:2])
    assert [sorted(rows.tolist()) for rows in two.nearest(two.centred(VECTORS), texts=64)] == [[0, 1]] * 6


def test_an_index_without_rows_finds_nothing() -> None:
    none = build_row_index(VECTORS[:0], [])
    assert [rows.tolist() for rows in none.nearest(none.centred(VECTORS[:2]), texts=64)] == [[], []]


def test_a_text_counts_once_among_the_nearest_and_gives_its_first_rows() -> None:
    repeated = ROWS_PER_TEXT + 5
    index = build_row_index(np.concatenate([np.repeat(VECTORS[:1], repeated, axis=0), VECTORS]), [TEXTS[0]] * repeated + TEXTS)
    assert index.faiss_index.ntotal == len(TEXTS)
    (found,) = index.nearest(index.centred(VECTORS[:1]), texts=2)
    assert found[:ROWS_PER_TEXT].tolist() == list(range(ROWS_PER_TEXT))
    assert len(found) == ROWS_PER_TEXT + 1


def test_trap_7_scores_that_differ_by_float_noise_are_ties_and_ties_go_to_the_earlier_row() -> None:
    assert ranked(np.array([0.5, 0.5 + 1e-7, 0.7, 0.5 - 1e-7]), 4).tolist() == [2, 0, 1, 3]


def test_trap_12_only_the_ticket_is_indexed() -> None:
    relabelled = train_set([LabelledTicket(row.id, row.text, f"other.{i}", "another reply") for i, row in enumerate(ROWS)])
    assert np.array_equal(relabelled.ticket_vectors, VECTORS)


def test_all_scores_stand_in_the_order_in_which_vectors_were_added() -> None:
    assert np.allclose(all_scores(flat_index(VECTORS), VECTORS), VECTORS @ VECTORS.T, atol=1e-6)


def test_a_saved_index_is_loaded_as_it_was(index: RowIndex, tmp_path: Path) -> None:
    index.save(tmp_path / "i.faiss")
    loaded = load_row_index(tmp_path / "i.faiss", VECTORS, TEXTS)
    queries = index.centred(VECTORS)
    assert np.array_equal(loaded.cosines(queries[0], np.arange(6)), index.cosines(queries[0], np.arange(6)))
    assert np.array_equal(loaded.nearest(queries, texts=3), index.nearest(queries, texts=3))


def test_a_file_of_other_rows_or_without_its_end_is_refused(index: RowIndex, tmp_path: Path) -> None:
    path = tmp_path / "i.faiss"
    index.save(path)
    with pytest.raises(ModelUnavailable, match="holds 6 vectors of other rows"):
        load_row_index(path, VECTORS[:4], TEXTS[:4])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelUnavailable, match=r"i.faiss cannot be loaded: [^\n]+$"):
        load_row_index(path, VECTORS, TEXTS)
