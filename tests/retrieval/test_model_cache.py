"""An entry of the cache is whole or not there, whatever ends the run that makes it."""

import shutil
from pathlib import Path

import pytest

from retrieval.errors import Refused
from retrieval.model_cache import MODEL, cache_folder, discard, locked, new_entry


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache_folder().mkdir()
    return cache_folder()


def make(text: str, folder: Path) -> Path:
    folder.mkdir()
    (folder / "file").write_text(text)
    return folder


def names(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


def test_an_entry_is_renamed_in_one_step_and_what_it_was_made_of_goes(cache: Path) -> None:
    with locked("a", deadline=0.0), new_entry("a") as work:
        (work / "downloaded").write_text("parts")
        node = make("whole", work / MODEL).stat().st_ino
        assert names(cache) == [work.name]
    assert names(cache) == ["a"]
    assert (cache / "a").stat().st_ino == node, "the folder itself, not a copy, of which a part could be seen"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_or_an_interrupt_leaves_nothing(error: type[BaseException], cache: Path) -> None:
    def fail() -> None:
        with locked("a", deadline=0.0), new_entry("a") as work:
            make("half", work / MODEL)
            raise error

    with pytest.raises(error):
        fail()
    assert names(cache) == []
    with locked("a", deadline=0.0):
        pass


def test_what_killed_runs_left_of_this_entry_is_removed_and_nothing_of_others(cache: Path) -> None:
    make("killed", cache / "unfinished-a-x1")
    make("at work", cache / "unfinished-b-x1")
    with locked("a", deadline=0.0), new_entry("a") as work:
        make("whole", work / MODEL)
    assert names(cache) == ["a", "unfinished-b-x1"]


def test_an_entry_that_is_discarded_loses_its_name_before_its_files(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(path: Path, **_: object) -> None:
        assert not (cache / "a").exists()
        raise SystemExit

    make("broken", cache / "a")
    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(SystemExit):
        discard("a")


def test_entries_have_locks_of_their_own(cache: Path) -> None:
    with locked("a", deadline=0.0), locked("b", deadline=0.0):
        pass
    (cache / "c.lock").mkdir()
    with pytest.raises(Refused, match=r"cannot be written \(Is a directory\): set XDG_CACHE_HOME"), locked("c", deadline=0.0):
        pass
