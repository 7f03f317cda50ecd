from pathlib import Path
from typing import Any

import pytest

from evaluation.benchmarks.bench import report
from evaluation.benchmarks.bench.contestants import PARTS, RUN, SETFIT, TRL
from evaluation.benchmarks.bench.report import COSTS, NOTES, SCORES, cell, figure, machine, markdown, tables, write_docs


def run(contestant: str, cost: float | None, score: float | None = 0.5, base: str = "small") -> dict[str, Any]:
    head = {
        "contestant": contestant,
        "base": base,
        "round": 1,
        "split": "a",
        "machine": "2 cores",
        "train_rows": 30,
        "tickets": 50,
    }
    by_ticket = {"correct_by_ticket": [1, 0], "quality_by_ticket": None if score is None else [score, 0.25]}
    return head | dict.fromkeys(COSTS, cost) | dict.fromkeys(SCORES, score) | by_ticket


def test_a_cost_is_a_median_and_a_score_a_mean_of_those_that_have_one() -> None:
    runs = [run(TRL, 1.0, 0.0), run(TRL, 9.0, 0.0), run(TRL, 2.0, 0.6), run(TRL, None, None)]
    assert figure("wall_s", runs) == 2.0
    assert figure("quality", runs) == pytest.approx(0.2)
    assert figure("wall_s", [run(SETFIT, None)]) is None
    assert figure("wall_s", []) is None


def test_a_figure_says_how_many_times_the_reference_it_is() -> None:
    assert cell("step_s", [run(TRL, 3.0)], [run(PARTS, 2.0), run(PARTS, 2.0)]) == "3 (1.50 ×)"
    assert cell("step_s", [run(TRL, 1234.5)], []) == "1234"
    assert cell("step_s", [run(TRL, 0.01234)], [run(PARTS, None)]) == "0.0123"
    assert cell("step_s", [run(TRL, None)], [run(PARTS, 2.0)]) == "–"


def test_other_programs_are_compared_with_the_part_of_this_one_that_does_the_same() -> None:
    measured = [run(TRL, 8.0), run(PARTS, 2.0), run(RUN, 4.0), run(SETFIT, 1.0, None), run(TRL, 5.0, base="large")]
    costs, scores, paired = tables(measured)
    assert [(line["base"], line["contestant"], line["runs"]) for line in costs] == [
        *(("small", name, "1") for name in (RUN, PARTS, TRL, SETFIT)),
        ("large", TRL, "1"),
    ]
    by_head = {head: [line[head] for line in costs] for head, _ in COSTS.values()}
    assert by_head["training step, s"] == ["4", "2", "8 (4.00 ×)", "1 (0.50 ×)", "5"]
    assert by_head["whole run, s"] == ["4", "2", "8 (2.00 ×)", "1 (0.25 ×)", "5"]
    assert [line["reply quality"] for line in scores] == ["0.5", "0.5", "0.5", "–", "0.5"]
    assert [line[f"{RUN} minus"] for line in paired] == [TRL, PARTS, SETFIT]


def test_a_page_has_a_line_for_every_line_of_a_table() -> None:
    assert markdown([{"a": "1", "b": "–"}, {"a": "2", "b": "3"}]) == "| a | b |\n| --- | --- |\n| 1 | – |\n| 2 | 3 |\n"


def test_the_page_holds_all_tables_the_machine_the_plot_and_what_is_compared(tmp_path: Path) -> None:
    measured = [run(RUN, 4.0), run(TRL, 8.0), run(SETFIT, None, None), run(RUN, 9.0, base="large")]
    write_docs(measured, tmp_path)
    page = (tmp_path / "bench.md").read_text(encoding="utf-8")
    assert "30 train rows and 50 tickets on 2 cores." in page
    assert all(markdown(lines) in page for lines in tables(measured))
    assert page.endswith(NOTES)
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert "(bench.png)" in page


def test_a_package_that_no_contestant_needed_and_nobody_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "find_spec", lambda name: None if name in ("trl", "setfit") else object())
    assert ", peft " in machine()
    assert "trl" not in machine()
