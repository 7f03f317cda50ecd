"""A run never deletes or overwrites a file that no earlier run of this program wrote."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from retrieval import __version__
from retrieval.files import sha256
from retrieval.run_files import PROGRAM, foreign_files, kept_files, own_files, publish, versions

FIRST = {"adapter_model.safetensors": "a1", "tokenizer.json": "t1", "tickets.faiss": "i1", "predictions.jsonl": "p1"}
SECOND = {"tickets.faiss": "i2", "predictions.jsonl": "p2", "train_rows.jsonl": "r2"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A weights folder that a run wrote."""
    (tmp_path / "weights").mkdir()
    put(tmp_path / "weights", FIRST)
    return tmp_path / "weights"


def write(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def put(folder: Path, files: dict[str, str]) -> None:
    """Publishes files as a run does."""
    with TemporaryDirectory(dir=folder.parent) as made:
        publish(write(Path(made), files), folder, {"seed": 0})


def contents(folder: Path) -> dict[str, str]:
    skipped = ("run.json", ".unfinished-")  # the second is a record that was written and not moved
    return {path.name: path.read_text() for path in folder.iterdir() if not path.name.startswith(skipped)}


def record(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "run.json").read_text())
    return found


def test_the_record_lists_every_file_of_the_run_with_its_hash(folder: Path) -> None:
    assert contents(folder) == FIRST
    assert record(folder) == {"program": PROGRAM, "seed": 0, "sha256": {name: sha256(folder / name) for name in FIRST}}
    assert own_files(folder) == {"run.json": ""} | {name: sha256(folder / name) for name in FIRST}
    assert foreign_files(folder) == []


def test_a_later_run_replaces_files_and_deletes_an_adapter_that_it_does_not_have(folder: Path) -> None:
    put(folder, SECOND)
    assert contents(folder) == SECOND
    assert {*own_files(folder)} == {"run.json", *SECOND}


def test_files_of_other_names_stay_untouched(folder: Path) -> None:
    write(folder, {"notes.txt": "mine", "model.safetensors": "mine too"})
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "tokenizer.json").write_text("deeper")
    assert foreign_files(folder) == []
    put(folder, SECOND | {"notes.txt": "of a library"})
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "model.safetensors").read_text() == "mine too"
    assert (folder / "checkpoints" / "tokenizer.json").read_text() == "deeper"


@pytest.mark.parametrize("name", ["tokenizer.json", "predictions.jsonl", "run.json"])
def test_a_users_file_under_one_of_our_names_is_never_replaced(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "weights", {name: "{}"})
    assert foreign_files(folder) == [name]
    with pytest.raises(FileExistsError) as raised:
        put(folder, SECOND)
    assert raised.value.filename == str(folder / name)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {name: "{}"}


CARDS = {"README.md": "card", ".gitignore": "rules"}


@pytest.mark.parametrize("name", [*CARDS])
def test_a_users_readme_or_gitignore_is_kept_and_the_run_goes_on_without_its_own(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "weights", {name: "mine"})
    assert (foreign_files(folder), kept_files(folder)) == ([], [name])
    put(folder, FIRST | CARDS)
    assert contents(folder) == FIRST | CARDS | {name: "mine"}
    assert name not in own_files(folder)
    put(folder, SECOND)
    assert contents(folder) == SECOND | {name: "mine"}


def test_a_model_card_is_replaced_and_deleted_with_its_adapter_but_not_once_a_user_has_changed_it(folder: Path) -> None:
    put(folder, FIRST | CARDS)
    put(folder, FIRST | CARDS | {"README.md": "next card"})
    assert (kept_files(folder), (folder / "README.md").read_text()) == ([], "next card")
    (folder / "README.md").write_text("next card, with a licence")
    assert kept_files(folder) == ["README.md"]
    put(folder, SECOND)
    assert contents(folder) == SECOND | {"README.md": "next card, with a licence"}


def test_a_folder_under_one_of_our_names_is_not_ours(folder: Path) -> None:
    (folder / "vocab.json").mkdir()
    assert foreign_files(folder) == ["vocab.json"]


def test_a_users_link_that_leads_nowhere_is_not_replaced_either(tmp_path: Path) -> None:
    folder = write(tmp_path / "weights", {})
    (folder / "tickets.faiss").symlink_to("on-another-disk")
    with pytest.raises(FileExistsError):
        put(folder, SECOND)


def test_a_file_that_was_changed_since_the_run_is_not_ours(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("edited by hand")
    assert foreign_files(folder) == ["tokenizer.json"]
    with pytest.raises(FileExistsError):
        put(folder, SECOND)
    assert contents(folder) == FIRST | {"tokenizer.json": "edited by hand"}


@pytest.mark.parametrize(
    "text",
    ['{"sha256": HASHES}', '{"program": "another", "sha256": HASHES}', "[]", "not json", "[" * 100_000, '{"program": 3}'],
)
def test_a_record_of_another_program_makes_no_file_ours(folder: Path, text: str) -> None:
    hashes = json.dumps({name: sha256(folder / name) for name in FIRST})
    (folder / "run.json").write_text(text.replace("HASHES", hashes))
    assert own_files(folder) == {}
    assert {*foreign_files(folder)} == {*FIRST, "run.json"}


def test_a_record_whose_hashes_are_no_object_makes_no_file_ours(folder: Path) -> None:
    write(folder, {"run.json": json.dumps({"program": PROGRAM, "sha256": [*FIRST], "replaces": None})})
    assert own_files(folder) == {"run.json": ""}


@pytest.mark.parametrize("name", ["../beside.txt", "notes.txt", "checkpoints/tokenizer.json"])
def test_names_in_the_record_that_no_run_writes_are_never_touched(folder: Path, name: str) -> None:
    (folder / "checkpoints").mkdir()
    (folder / name).write_text("mine")
    listed = record(folder)
    listed["sha256"] = {**{n: sha256(folder / n) for n in FIRST}, name: sha256(folder / name)}
    (folder / "run.json").write_text(json.dumps(listed))
    assert name not in own_files(folder)
    put(folder, SECOND)
    assert (folder / name).read_text() == "mine"


@pytest.mark.parametrize("moves", [0, 1, 2, 3])
def test_a_run_that_ends_between_two_moves_can_be_replaced_by_the_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    write(folder, {"notes.txt": "mine"})
    left = [None] * (moves + 1)  # the record is moved into its place first
    really_replace = Path.replace

    def replace(path: Path, target: Path) -> Path:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return really_replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            put(folder, SECOND)
    assert record(folder)["unfinished"] is True
    assert foreign_files(folder) == []
    put(folder, {"predictions.jsonl": "p3", "merges.txt": "m3"})
    assert contents(folder) == {"notes.txt": "mine", "predictions.jsonl": "p3", "merges.txt": "m3"}
    assert "unfinished" not in record(folder)


def test_a_file_that_a_user_put_among_those_of_an_unfinished_run_is_not_ours(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            put(folder, SECOND)
    (folder / "train_rows.jsonl").write_text("put here since")
    assert foreign_files(folder) == ["train_rows.jsonl"]


def test_versions_name_the_program_python_and_the_packages_that_are_there() -> None:
    assert {"python", "numpy", "faiss-cpu"} <= versions().keys()
    assert versions()[PROGRAM] == __version__
