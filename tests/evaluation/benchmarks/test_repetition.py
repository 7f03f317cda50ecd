import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.benchmarks.repetition import main, table
from tests.test_run import GOOD, write

CIRCLE = "open the page with all your orders and open the page with all your orders"  # seven words twice
SHORT = "the early exit fee is the early exit fee"  # four


def draft(text: str, *, gain: float = 0.1, nearer: float = 0.1, findings: list[str] | None = None) -> Any:
    return {"text": text, "draft": 0.5 + gain, "copy": 0.5, "nearer": nearer, "findings": findings or []}


def column(lines: list[dict[str, str]], name: str) -> dict[str, str]:
    return {line["words"]: line[name] for line in lines}


def test_each_length_has_the_share_of_the_replies_that_repeat_so_many_words() -> None:
    lines = table([CIRCLE, SHORT, "no word twice", "none"], [])
    shares = {length: share.removesuffix(" of 4") for length, share in column(lines, "stored replies that repeat").items()}
    assert shares == {"4": "50.0%", "5": "25.0%", "6": "25.0%", "7": "25.0%", "8": "0.0%", "10": "0.0%"}
    assert set(column(lines, "drafts that repeat").values()) == {""}


def test_drafts_that_repeat_gain_where_they_are_nearer() -> None:
    lines = table(["none"], [draft(CIRCLE), draft(SHORT, gain=0.3), draft(SHORT, gain=-1.0, nearer=-0.1), draft("none")])
    counts = {"4": "3 of 4", "5": "1 of 4", "6": "1 of 4", "7": "1 of 4", "8": "0 of 4", "10": "0 of 4"}
    assert column(lines, "drafts that repeat") == counts
    assert (lines[0]["drafts that repeat"], lines[0]["of these nearer"], lines[0]["gain of the nearer"]) == (
        "3 of 4",
        "2",
        "+0.200",
    )
    assert lines[-1]["gain of the nearer"] == ""


def test_the_command_counts_the_drafts_that_only_a_repetition_made_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "rows.jsonl", GOOD, GOOD | {"id": "b"})
    drafts = [draft(SHORT), draft(SHORT, findings=['it repeats "the early exit fee"']), draft(SHORT, findings=["number 9"])]
    (tmp_path / "lines.jsonl").write_text(json.dumps({"folds": [drafts[:1]], "test": drafts[1:]}))
    assert main([str(tmp_path / "rows.jsonl"), "--drafts", str(tmp_path / "lines.jsonl")]) == 0
    assert "2 of 2" in capsys.readouterr().out


def test_bad_input_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "rows.jsonl", GOOD, GOOD | {"id": "b"})
    (tmp_path / "lines.jsonl").write_text('{"test": 3}')
    assert main([str(tmp_path / "rows.jsonl"), "--drafts", str(tmp_path / "lines.jsonl")]) == 2
    assert "expected lines of evaluation.benchmarks.reply_gate" in capsys.readouterr().err
    (tmp_path / "lines.jsonl").write_text(json.dumps({"folds": [], "test": [{"findings": []}]}))
    assert main([str(tmp_path / "rows.jsonl"), "--drafts", str(tmp_path / "lines.jsonl")]) == 2
    assert main([str(tmp_path / "rows.jsonl"), "--drafts", str(tmp_path / "gone.jsonl")]) == 2
    assert "gone.jsonl: found no such file" in capsys.readouterr().err
    assert main([str(tmp_path / "none.jsonl")]) == 2
