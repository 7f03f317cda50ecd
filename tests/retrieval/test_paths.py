import os
from pathlib import Path

import pytest

from retrieval.paths import path_problems


def problems(tmp_path: Path, **paths: str) -> str:
    paths = {"train": "t.jsonl", "val": "v.jsonl", "weights": "w", "output": "r.json"} | paths
    return " | ".join(path_problems(**{name: tmp_path / path for name, path in paths.items()}))


@pytest.mark.parametrize("paths", [{}, {"output": "w/results.json"}, {"weights": "deep/er/w"}])
def test_good_places_have_no_problems_and_nothing_is_made(tmp_path: Path, paths: dict[str, str]) -> None:
    assert problems(tmp_path, **paths) == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ({"output": "."}, "found a folder, expected a file"),
        ({"output": "pipe"}, "found a device or a pipe"),
        ({"output": "w"}, "makes a folder of it"),
        ({"output": "w", "weights": "w/deeper"}, "makes a folder of it"),
        ({"output": "repeated"}, "cannot be used"),
        ({"output": "x" * 300 + "/r.json"}, "cannot be used"),
        ({"output": "none/r.json"}, "found no folder"),
        ({"output": "t.jsonl"}, "found the file of --train"),
        ({"weights": "file"}, "found the file"),
        ({"weights": "file/w"}, "found the file"),
        ({"weights": "w", "output": "w/run.json"}, "the run writes a file of that name"),
        ({"weights": "full"}, "found the folder run.json in it"),
        ({"weights": ".", "train": "train_set.jsonl"}, "would be replaced"),
    ],
)
def test_bad_places_are_named(tmp_path: Path, paths: dict[str, str], said: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full" / "run.json").mkdir(parents=True)
    (tmp_path / "repeated").symlink_to("repeated")
    os.mkfifo(tmp_path / "pipe")
    assert said in problems(tmp_path, **paths)
