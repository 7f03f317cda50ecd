import os
from pathlib import Path

import pytest

from retrieval.places import place_problems


def problems(tmp_path: Path, **places: str) -> str:
    paths = {"train": "t.jsonl", "val": "v.jsonl", "weights": "w", "output": "r.json"} | places
    return " | ".join(place_problems(**{name: tmp_path / path for name, path in paths.items()}))


@pytest.mark.parametrize("places", [{}, {"output": "w/results.json"}, {"weights": "deep/er/w"}])
def test_good_places_have_no_problems_and_nothing_is_made(tmp_path: Path, places: dict[str, str]) -> None:
    assert problems(tmp_path, **places) == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ({"output": "."}, "found a folder, expected a file"),
        ({"output": "pipe"}, "found a device or a pipe"),
        ({"output": "w"}, "makes a folder of it"),
        ({"output": "w", "weights": "w/deeper"}, "makes a folder of it"),
        ({"output": "circle"}, "cannot be used"),
        ({"output": "x" * 300 + "/r.json"}, "cannot be used"),
        ({"output": "none/r.json"}, "found no folder"),
        ({"output": "t.jsonl"}, "found the file of --train"),
        ({"weights": "file"}, "found the file"),
        ({"weights": "file/w"}, "found the file"),
        ({"weights": "w", "output": "w/run.json"}, "the run writes a file of that name"),
        ({"weights": "full"}, "found the folder run.json in it"),
        ({"weights": ".", "train": "desk.jsonl"}, "would be replaced"),
    ],
)
def test_bad_places_are_named(tmp_path: Path, places: dict[str, str], said: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full" / "run.json").mkdir(parents=True)
    (tmp_path / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "pipe")
    assert said in problems(tmp_path, **places)
