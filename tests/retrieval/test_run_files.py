"""A run never deletes or overwrites a file that no earlier run of this program wrote."""

import json
from pathlib import Path
from typing import Any, NoReturn

import pytest

from retrieval import __version__
from retrieval.files import sha256
from retrieval.run_files import (
    FORMAT,
    MAKING,
    NEXT,
    PROGRAM,
    finish_moving,
    foreign_files,
    kept_files,
    new_run,
    own_files,
    publish,
    versions,
)

FIRST = {"adapter_model.safetensors": "a1", "tokenizer.json": "t1", "tickets.faiss": "i1", "predictions.jsonl": "p1"}
SECOND = {"tickets.faiss": "i2", "predictions.jsonl": "p2", "train_rows.jsonl": "r2"}
CARDS = {"README.md": "card", ".gitignore": "rules"}


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
    with new_run(folder) as made:
        publish(write(made, files), folder, {"seed": 0})


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file() and path.name != "run.json"}


def record(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "run.json").read_text())
    return found


def test_the_record_lists_every_file_of_the_run_with_its_hash(folder: Path) -> None:
    assert contents(folder) == FIRST
    hashes = {name: sha256(folder / name) for name in FIRST}
    assert record(folder) == {"program": PROGRAM, "format": FORMAT, "seed": 0, "sha256": hashes}
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
    write(folder, {"run.json": json.dumps({"program": PROGRAM, "sha256": [*FIRST]})})
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


def cut_off_after(patch: pytest.MonkeyPatch, steps: int) -> list[None]:
    """Lets so many changes of the file system's names succeed and no further one; returns a list of those that are left."""
    left = [None] * steps

    def counted(name: str) -> None:
        really = getattr(Path, name)

        def change(path: Path, *given: Any, **options: Any) -> Any:
            if not left:
                raise KeyboardInterrupt
            left.pop()
            return really(path, *given, **options)

        patch.setattr(Path, name, change)

    for name in ("replace", "rename", "unlink", "rmdir"):
        counted(name)
    return left


def made_in(folder: Path, files: dict[str, str]) -> Path:
    """A folder with a run's files, left as a killed run leaves it."""
    made = folder / f"{MAKING}x"
    return write(made, files)


def changes_of_publishing(folder: Path, files: dict[str, str]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        left = cut_off_after(patch, 100)
        publish(made_in(folder, files), folder, {"seed": 1})
    return 100 - len(left)


def test_wherever_a_run_is_cut_off_the_folder_holds_all_of_the_old_one_or_all_of_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = FIRST | CARDS, SECOND | {"README.md": "next card"}
    put(write(tmp_path / "whole", {}), first)
    steps = changes_of_publishing(tmp_path / "whole", second)
    assert steps > len(first) + len(second) - 4, "every file is moved or deleted"
    found = []
    for step in range(steps):
        folder = write(tmp_path / f"{step}", {"notes.txt": "mine"})
        put(folder, first)
        with monkeypatch.context() as patch:
            cut_off_after(patch, step)
            with pytest.raises(KeyboardInterrupt):
                publish(made_in(folder, second), folder, {"seed": 1})
        assert foreign_files(folder) == []
        finish_moving(folder)
        seed = record(folder)["seed"]
        assert contents(folder) == {"notes.txt": "mine"} | (second if seed else first)
        assert record(folder)["sha256"] == {name: sha256(folder / name) for name in contents(folder) if name != "notes.txt"}
        found.append(seed)
    assert found == sorted(found), "the old run up to one step, the new one from there on"
    assert {*found} == {0, 1}


def test_moving_that_is_cut_off_again_and_again_ends_with_the_new_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        cut_off_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            publish(made_in(folder, SECOND), folder, {"seed": 1})
    while (folder / NEXT).exists():
        with monkeypatch.context() as patch:
            cut_off_after(patch, 1)
            try:
                finish_moving(folder)
            except KeyboardInterrupt:
                continue
    assert contents(folder) == SECOND
    assert record(folder)["seed"] == 1


def test_the_first_run_of_a_folder_that_is_cut_off_while_it_moves_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "weights", {})
    with monkeypatch.context() as patch:
        cut_off_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            publish(made_in(folder, SECOND), folder, {"seed": 1})
    assert not (folder / "run.json").exists()
    assert foreign_files(folder) == []
    put(folder, FIRST)
    assert contents(folder) == FIRST


def test_the_next_run_removes_what_a_killed_one_was_making_and_nothing_else(folder: Path) -> None:
    made_in(folder, SECOND)
    (folder / "unfinished").mkdir()
    put(folder, SECOND)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*SECOND, "run.json", "unfinished"])


def test_a_run_that_fails_while_its_files_are_made_leaves_the_old_one_and_nothing_of_its_own(folder: Path) -> None:
    def fill_the_disk() -> NoReturn:
        with new_run(folder) as made:
            write(made, SECOND)
            raise OSError(28, "No space left on device")

    before = sorted(folder.iterdir())
    with pytest.raises(OSError, match="No space"):
        fill_the_disk()
    assert (contents(folder), sorted(folder.iterdir())) == (FIRST, before)


def cut_off(folder: Path) -> None:
    """A run that is cut off as soon as it has taken the other's place."""
    with pytest.MonkeyPatch.context() as patch:
        cut_off_after(patch, 2)  # the record is written, the folder gets its name
        with pytest.raises(KeyboardInterrupt):
            publish(made_in(folder, SECOND | CARDS), folder, {"seed": 1})
    assert (folder / NEXT).is_dir()


def test_a_file_that_a_user_put_there_while_a_run_waits_to_be_moved_up_is_not_replaced(folder: Path) -> None:
    cut_off(folder)
    (folder / "train_rows.jsonl").write_text("put here since")
    assert foreign_files(folder) == ["train_rows.jsonl"]
    with pytest.raises(FileExistsError):
        finish_moving(folder)
    assert (folder / "train_rows.jsonl").read_text() == "put here since"


def test_a_readme_that_a_user_put_there_since_stays_and_the_rest_is_moved_up(folder: Path) -> None:
    cut_off(folder)
    (folder / "README.md").write_text("mine")
    finish_moving(folder)
    assert contents(folder) == SECOND | CARDS | {"README.md": "mine"}


def test_a_users_folder_with_the_name_of_a_run_on_its_way_up_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "weights", {})
    write(folder / NEXT, {"notes.txt": "mine"})
    assert foreign_files(folder) == [NEXT]
    with pytest.raises(FileExistsError):
        put(folder, SECOND)
    assert (folder / NEXT / "notes.txt").read_text() == "mine"


def test_no_name_in_the_record_of_a_run_on_its_way_up_leads_out_of_the_folder(folder: Path) -> None:
    (folder.parent / "beside.txt").write_text("mine")
    cut_off(folder)
    listed = json.loads((folder / NEXT / "run.json").read_text())
    listed["sha256"]["../beside.txt"] = sha256(folder.parent / "beside.txt")
    (folder / NEXT / "run.json").write_text(json.dumps(listed))
    finish_moving(folder)
    assert (folder.parent / "beside.txt").read_text() == "mine"
    assert contents(folder) == SECOND | CARDS


def test_versions_name_the_program_python_and_the_packages_that_are_there() -> None:
    assert {"python", "numpy", "faiss-cpu"} <= versions().keys()
    assert versions()[PROGRAM] == __version__
