import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluation.measured_lines import earlier_lines, with_earlier_lines
from retrieval.tickets import InputProblems


def test_lines_are_printed_kept_and_joined_with_those_of_earlier_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "lines.jsonl"
    assert with_earlier_lines([{"round": 1}], kept) == [{"round": 1}]
    assert with_earlier_lines([{"round": 2}], kept) == [{"round": 1}, {"round": 2}]
    assert [json.loads(line)["round"] for line in kept.read_text().splitlines()] == [1, 2]
    assert capsys.readouterr().out == kept.read_text()


def test_without_a_file_there_is_nothing_earlier() -> None:
    assert with_earlier_lines([{"round": 1}], None) == [{"round": 1}]


def test_a_line_is_kept_although_the_next_one_fails(tmp_path: Path) -> None:
    def measured() -> Iterator[dict[str, int]]:
        yield {"round": 1}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        with_earlier_lines(measured(), tmp_path / "lines.jsonl")
    assert earlier_lines(tmp_path / "lines.jsonl") == [{"round": 1}]


def test_another_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a line")
    with pytest.raises(InputProblems, match="found a line that is no JSON"):
        earlier_lines(tmp_path / "notes.txt")
