import os
from pathlib import Path

import pytest

from retrieval.paths import path_problems
from retrieval.run_files import publish


def problems(tmp_path: Path, **paths: str) -> str:
    paths = {"train": "t.jsonl", "val": "v.jsonl", "weights": "w", "output": "r.json"} | paths
    return " | ".join(path_problems(**{name: tmp_path / path for name, path in paths.items()}))


@pytest.mark.parametrize("paths", [{}, {"output": "w/results.json"}, {"weights": "deep/er/w"}])
def test_good_paths_have_no_problems_and_nothing_is_made(tmp_path: Path, paths: dict[str, str]) -> None:
    assert problems(tmp_path, **paths) == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ({"output": "."}, "found a folder, expected a file"),
        ({"output": "pipe"}, "found a device or a pipe"),
        ({"output": "w"}, "makes a folder of it"),
        ({"output": "w", "weights": "w/deeper"}, "makes a folder of it"),
        ({"output": "circle"}, "cannot be used"),
        ({"output": "x" * 300 + "/r.json"}, "cannot be used"),
        ({"output": "half\udc80.json"}, "not UTF-8"),
        ({"output": "none/r.json"}, "found no folder"),
        ({"output": "t.jsonl"}, "found the file of --train"),
        ({"weights": "file"}, "found the file"),
        ({"weights": "file/w"}, "found the file"),
        ({"weights": "nowhere"}, "found the file"),
        ({"weights": "w", "output": "w/run.json"}, "the name of a file of the run"),
        ({"weights": "full"}, "found run.json in it"),
        ({"weights": ".", "train": "train_rows.jsonl"}, "found train_rows.jsonl of --train, which would be replaced"),
        ({"weights": ".", "taxonomy": "intents.json"}, "found intents.json of --taxonomy, which would be replaced"),
        ({"output": "taxonomy.json", "taxonomy": "taxonomy.json"}, "found the file of --taxonomy"),
        ({"weights": ".", "val": "link.jsonl"}, "of --val, which would be replaced"),
    ],
)
def test_bad_paths_are_named(tmp_path: Path, paths: dict[str, str], said: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full" / "run.json").mkdir(parents=True)
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "nowhere").symlink_to("missing")
    (tmp_path / "link.jsonl").symlink_to("predictions.jsonl")
    os.mkfifo(tmp_path / "pipe")
    assert said in problems(tmp_path, **paths)


def test_a_folder_with_a_users_tokenizer_is_refused_by_a_sentence_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "tokenizer.json").write_text("{}")
    (tmp_path / "w" / "notes.txt").touch()
    assert problems(tmp_path) == (
        f"--weights {tmp_path / 'w'}: found tokenizer.json in it, which no run of this program left there as it is and "
        "which would be replaced; expected a new folder, or that of an earlier run: move or delete them"
    )


def test_the_folder_of_an_earlier_run_can_be_used_again_but_not_with_its_own_rows_as_input(tmp_path: Path) -> None:
    for folder in ("made", "w"):
        (tmp_path / folder).mkdir()
    (tmp_path / "made" / "train_rows.jsonl").write_text("{}")
    publish(tmp_path / "made", tmp_path / "w", {})
    assert problems(tmp_path) == ""
    assert "found train_rows.jsonl of --train, which would be replaced" in problems(tmp_path, train="w/train_rows.jsonl")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_to_write_is_named(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "found no permission to write" in problems(tmp_path, weights="closed/w")
    assert "found no permission to write" in problems(tmp_path, output="closed/r.json")
