from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest

from retrieval.errors import ModelUnavailable
from retrieval.index import build_row_index
from retrieval.taxonomy import Taxonomy
from retrieval.tickets import InputProblems
from retrieval.train_set import TrainSet, embed_train_set
from retrieval.train_set_files import load_train_set, save_train_set
from tests.fakes import ROWS, HashEncoder, row, train_set


def save(folder: Path, found: TrainSet) -> Path:
    folder.mkdir(exist_ok=True)
    save_train_set(found, build_row_index(found.ticket_vectors, [row.text for row in found.rows]), folder)
    return folder


def test_a_saved_train_set_is_loaded_as_it_was(tmp_path: Path) -> None:
    saved = train_set((*ROWS, row(7, ROWS[0].text, "a.b", "line\nbreak \u2028 “quotes”")))
    loaded, index = load_train_set(save(tmp_path, saved), "hash")
    assert (loaded.rows, loaded.intents) == (saved.rows, saved.intents)
    for name in ("labels", "ticket_vectors", "reply_vectors", "name_vectors"):
        assert np.array_equal(getattr(loaded, name), getattr(saved, name)), name
    assert index.faiss_index.ntotal == 6, "a ticket that stands twice is stored once"


def test_the_files_can_be_read_by_others(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    save(tmp_path, train_set())
    assert {path.stat().st_mode for path in tmp_path.iterdir()} == {(tmp_path / "usual").stat().st_mode}


def test_the_stored_index_is_used_and_not_built_again(tmp_path: Path) -> None:
    save(tmp_path, train_set())
    vectors = faiss.read_index(str(tmp_path / "tickets.faiss")).reconstruct_n(0, 6)
    turned = faiss.IndexFlatIP(vectors.shape[1])
    turned.add(np.ascontiguousarray(vectors[::-1]))
    faiss.write_index(turned, str(tmp_path / "tickets.faiss"))
    _, index = load_train_set(tmp_path, "hash")
    query = index.centred(train_set().ticket_vectors[:1])
    assert index.nearest(query, texts=1)[0].tolist() == [5]
    assert index.cosines(query[0], np.array([5])) == pytest.approx([1.0])


@pytest.mark.parametrize("missing", ["train_rows.jsonl", "train_vectors.safetensors", "tickets.faiss"])
def test_a_folder_in_which_a_file_is_missing_is_a_problem_that_names_it(tmp_path: Path, missing: str) -> None:
    (save(tmp_path, train_set()) / missing).unlink()
    with pytest.raises(InputProblems, match=missing):
        load_train_set(tmp_path, "hash")


@pytest.mark.parametrize("name", ["train_rows.jsonl", "train_vectors.safetensors", "tickets.faiss"])
def test_files_of_different_runs_are_refused(tmp_path: Path, name: str) -> None:
    other = save(tmp_path / "other", train_set(ROWS[:4]))
    (save(tmp_path / "this", train_set()) / name).write_bytes((other / name).read_bytes())
    with pytest.raises((InputProblems, ModelUnavailable), match=r"different runs|other rows"):
        load_train_set(tmp_path / "this", "hash")


@pytest.mark.parametrize("name", ["train_vectors.safetensors", "tickets.faiss"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_file_that_was_cut_is_one_sentence(tmp_path: Path, name: str, share: float) -> None:
    path = save(tmp_path, train_set()) / name
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelUnavailable, match=rf"{name} cannot be loaded: [^\n]+$"):
        load_train_set(tmp_path, "hash")


def test_the_taxonomy_of_a_run_is_kept_with_its_intents_without_rows(tmp_path: Path) -> None:
    given = Taxonomy({"a.b": "", "billing": "Seats."} | dict.fromkeys({row.intent for row in ROWS}, ""), {"a": "a.b"})
    saved = replace(embed_train_set(ROWS, HashEncoder(), given), taxonomy=given)
    loaded, _ = load_train_set(save(tmp_path, saved), "hash")
    assert loaded.intents == saved.intents
    assert {"a.b", "billing"} < set(loaded.intents)
    assert (loaded.labels.tolist(), loaded.descriptions) == (saved.labels.tolist(), {"billing": "Seats."})
    assert loaded.taxonomy is not None
    assert loaded.taxonomy.canonical["a"] == "a.b"


def test_without_a_taxonomy_there_is_no_such_file(tmp_path: Path) -> None:
    assert not (save(tmp_path, train_set()) / "intents.json").exists()


def test_a_taxonomy_file_that_the_record_does_not_list_is_the_users(tmp_path: Path) -> None:
    save(tmp_path, train_set())
    (tmp_path / "intents.json").write_text('[{"intent": "of.somebody"}]', encoding="utf-8")
    (tmp_path / "run.json").write_text('{"sha256": {"train_rows.jsonl": "0"}}', encoding="utf-8")
    assert load_train_set(tmp_path, "hash")[0].taxonomy is None
