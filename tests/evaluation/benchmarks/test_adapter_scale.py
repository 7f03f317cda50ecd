import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.benchmarks.adapter_scale import choice_table, main, measure, scale_table
from finetune.gates import SCALES
from tests.evaluation.benchmarks.reply_gate.test_reply_gate import ROWS, all_ids, use_drafts
from tests.evaluation.samples import tiny_split
from tests.fakes import HashEncoder, base

GAINS = dict(zip((*SCALES, 0.0), (0.3, 0.2, 0.1, 0.05, 0.02, 0.0), strict=True))


def line(split: str, scale: float, *, rise: float) -> dict[str, Any]:
    """Two test rows: a draft that gains as much as its scale has it, and one that failed the check."""
    given = {"passed": True, "nearer": 0.1, "draft": 0.5 + 2 * GAINS[scale], "copy": 0.5, "text": "", "findings": []}
    test = [given, given | {"passed": False, "draft": 1.0, "findings": ["no"]}]
    return {"split": split, "scale": scale, "sentences": -0.01, "paraphrases": rise, "test": test}


def split_of(name: str, *, at_1: float) -> list[dict[str, Any]]:
    """A split whose loss rises with the square of the scale."""
    return [line(name, scale, rise=at_1 * scale**2) for scale in GAINS]


def test_every_scale_answers_the_test_rows_and_the_bare_base_rises_by_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    use_drafts(monkeypatch, all_ids())
    lines = list(measure(tiny_split(ROWS), base(), HashEncoder()))
    assert [found["scale"] for found in lines] == [*SCALES, 0.0]
    assert (lines[-1]["sentences"], lines[-1]["paraphrases"]) == (0.0, 0.0)
    assert lines[0]["sentences"] != 0.0
    assert {len(found["test"]) for found in lines} == {2}


def test_a_choice_gains_what_the_scale_that_it_takes_on_each_split_gains() -> None:
    found = {one["scale"]: one for one in choice_table([*split_of("a", at_1=0.04), *split_of("b", at_1=0.24)])}
    assert found["always 1"]["gain (± standard error over splits)"] == "+0.300 ± 0.000"
    assert found["always 1"]["loss on general text"] == "+0.140"
    coarse, fine = found["forgetting check of 1, .5 (before)"], found["forgetting check, as a run chooses"]
    assert (coarse["mean scale"], coarse["gain (± standard error over splits)"]) == ("0.50", "+0.150 ± 0.150")
    assert (fine["mean scale"], fine["gain (± standard error over splits)"]) == ("0.69", "+0.175 ± 0.125")


def test_a_split_of_which_a_scale_is_missing_is_shown_and_chooses_nothing() -> None:
    lines = split_of("a", at_1=0.04)[:3]
    assert [one["gain"] for one in scale_table(lines)] == ["+0.300", "+0.200", "+0.100"]
    assert scale_table(lines)[0]["drafts passed"] == "1 of 2"
    assert choice_table(lines) == []


def test_lines_of_before_are_reported_without_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in split_of("a", at_1=0.24)))
    assert main(["--report", "--jsonl", str(path)]) == 0
    assert "always 0.375" in capsys.readouterr().err
    assert main(["--report"]) == 2
