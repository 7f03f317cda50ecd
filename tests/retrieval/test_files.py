from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.files import (
    folder_sha256,
    lookup_problem,
    use_default_permissions,
    write_by,
    write_bytes,
    write_json,
    write_jsonl,
    write_text,
)


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
    with pytest.raises(ValueError, match="JSON compliant"):
        write_jsonl(tmp_path / "r.jsonl", [{}, {"loss": float("inf")}])
    assert list(tmp_path.iterdir()) == []


def test_written_files_can_be_read_by_others(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    (tmp_path / "private").touch(mode=0o600)
    write_json(tmp_path / "r.json", {})
    use_default_permissions(tmp_path / "private")
    assert {path.stat().st_mode for path in tmp_path.iterdir()} == {(tmp_path / "usual").stat().st_mode}


def test_the_digest_of_a_folder_changes_with_names_and_contents_of_its_weights_alone(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"1")
    (tmp_path / "notes.txt").write_bytes(b"1")
    before = folder_sha256(tmp_path)
    (tmp_path / "notes.txt").write_bytes(b"2")
    assert folder_sha256(tmp_path) == before
    (tmp_path / "a.safetensors").rename(tmp_path / "b.safetensors")
    renamed = folder_sha256(tmp_path)
    (tmp_path / "b.safetensors").write_bytes(b"2")
    assert len({before, renamed, folder_sha256(tmp_path)}) == 3


def test_a_path_that_cannot_be_looked_up_is_a_sentence_and_no_error() -> None:
    assert lookup_problem(Path("x" * 300)).startswith("a path that cannot be looked up (")
    assert lookup_problem(Path("missing")) == ""


def test_an_error_while_writing_names_the_file_whoever_writes_it(tmp_path: Path) -> None:
    def full() -> None:
        raise Exception("No space left on device (os error 28)\nsome detail")  # as tokenizers does

    writers: list[Callable[[], object]] = [
        lambda: write_text(tmp_path / "no" / "a", "x"),
        lambda: write_bytes(tmp_path / "no" / "a", b"x"),
        lambda: write_by(full, tmp_path / "no" / "a"),
    ]
    for write in writers:
        with pytest.raises(OSError, match=r"No (such file or directory|space left on device \(os error 28\))") as caught:
            write()
        assert caught.value.filename == str(tmp_path / "no" / "a")
        assert "\n" not in caught.value.strerror
