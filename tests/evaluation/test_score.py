import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation import score
from evaluation.fewshot import calibration_error
from evaluation.grading import Prediction, read_result, rouge_l, score_rows, with_grades
from evaluation.labels import Label, read_labels
from evaluation.parts import Part, efficiency, parts
from evaluation.second_run import differences
from retrieval.tickets import InputProblems
from tests.fakes import HashEncoder
from tests.test_run import write

SEAT = Label("a", ("billing.seat", "billing.guest"), "Guests need no seat.", (("no seat", "not a seat"), ("guest",)), ("$12",))


def graded(reply: str, *, label: Label = SEAT, intent: str = "billing.seat") -> Any:
    return score_rows({label.id: Prediction(intent, reply)}, {label.id: label}, HashEncoder())[0]


def test_a_perfect_answer_scores_one() -> None:
    row = graded("Guests need no seat.")
    assert (row.intent_right, row.missing, row.wrong_facts) == (True, (), ())
    assert row.quality == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(("intent", "right"), [("billing.seat", True), ("billing.guest", True), ("billing", False)])
def test_an_accepted_intent_is_right_and_a_prefix_is_not(intent: str, right: bool) -> None:
    assert graded("x", intent=intent).intent_right is right


def test_facts_are_compared_without_case_and_spaces_and_one_of_a_group_is_enough() -> None:
    assert graded("It is NOT  a\nseat for a Guest").facts_share == 1.0
    assert graded("It is not a seat.").facts_share == 0.5


def test_what_must_not_be_said_costs_all_facts() -> None:
    row = graded("Guests need no seat, it costs $12.")
    assert (row.facts_share, row.wrong_facts) == (0.0, ("$12",))
    assert row.quality == pytest.approx(row.similarity / 2)


def test_without_facts_similarity_is_all_there_is() -> None:
    row = graded("Guests need no seat.", label=Label("a", ("x",), "Guests need no seat.", (), ()))
    assert (row.facts_share, row.quality) == (None, row.similarity)


def test_rouge_l_is_the_f_measure_of_the_longest_common_subsequence() -> None:
    assert rouge_l("police kill the gunman", "police killed the gunman") == pytest.approx(3 / 4)  # Lin 2004, example S2
    assert rouge_l("the gunman kill police", "police killed the gunman") == pytest.approx(2 / 4)  # and S3
    assert rouge_l("", "word") == 0.0


def test_a_grade_takes_the_place_of_the_similarity() -> None:
    row = graded("It is not a seat.")
    (judged,) = with_grades([row], {"a": 0.9})
    assert (judged.similarity, judged.quality) == (0.9, pytest.approx((0.9 + 0.5) / 2))


@pytest.mark.parametrize(("seconds", "value"), [(0, 1.0), (600, 1.0), (1200, 0.5), (1800, 0.0), (9000, 0.0)])
def test_efficiency_is_full_at_600_s_and_gone_at_1800_s(seconds: float, value: float) -> None:
    assert efficiency(seconds) == pytest.approx(value)


def by_name(found: list[Part]) -> dict[str, Part]:
    return {part.name: part for part in found}


def test_all_parts_weigh_as_the_task_weighs_them() -> None:
    rows = [graded("Guests need no seat."), graded("x", intent="other", label=Label("p", ("y",), "z", (), (), kind="probe"))]
    found = by_name(parts(rows, seconds=1200, seed=0))
    assert [found[name].weight for name in ("intents", "replies", "probes", "efficiency")] == pytest.approx(
        [0.4, 0.3, 0.2, 0.1]
    )
    assert found["total"].value == pytest.approx(0.4 + 0.3 + 0.2 * found["probes"].value + 0.1 * 0.5, abs=1e-6)
    assert found["probes"].value < 0.2


def test_a_part_that_was_not_measured_leaves_the_others_their_proportions() -> None:
    found = by_name(parts([graded("Guests need no seat.")], seconds=0, seed=0))
    assert "probes" not in found
    assert found["intents"].weight / found["replies"].weight == pytest.approx(4 / 3)
    assert sum(part.weight for name, part in found.items() if name != "total") == pytest.approx(1.0)


def test_intervals_hold_the_value_and_are_the_same_for_the_same_seed() -> None:
    rows = [graded("x", intent="billing.seat" if i % 3 else "other") for i in range(30)]
    found = by_name(parts(rows, seconds=0, seed=0))["intents"]
    assert found.low < found.value < found.high
    assert by_name(parts(rows, seconds=0, seed=0))["intents"] == found


def result(*rows: tuple[str, str, str], **training: float) -> dict[str, Any]:
    found = [{"id": i, "prediction": p, "predicted_intent": c, "latency_ms": 1.0, "tokens_used": 0} for i, p, c in rows]
    return {"training": {"steps": 1, "train_loss": 1.0, "val_loss": 1.0, "wall_clock_s": 5.0} | training, "predictions": found}


def test_a_second_run_differs_in_what_it_says_and_not_in_its_times() -> None:
    first = result(("a", "x", "c"), ("b", "y", "c"))
    slower = result(("a", "x", "c"), ("b", "y", "c"), wall_clock_s=9.0)
    slower["predictions"][0]["latency_ms"] = 7.0
    assert differences(first, slower) == {}
    other = result(("a", "x", "d"), ("e", "y", "c"), val_loss=2.0)
    assert differences(first, other) == {
        "training": ["val_loss"],
        "a": ["predicted_intent"],
        "b": ["only in the first run"],
        "e": ["only in the second run"],
    }
    assert differences(first, result(("b", "y", "c"), ("a", "x", "c"))) == {"order": ["the rows stand in another order"]}


LABEL = {"id": "a", "intent": "billing.seat", "ideal_reply": "Guests need no seat.", "must_mention": [["no seat"]]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = result(("a", "Guests need no seat.", "billing.seat"), ("p", "Yes.", "api"), ("x", "?", "api"))
    (tmp_path / "r.json").write_text(json.dumps(found))
    write(
        tmp_path / "labels.jsonl", LABEL, {"id": "p", "intent": "api", "ideal_reply": "No.", "kind": "probe", "ticket": "[b]?"}
    )
    return tmp_path


def scored(folder: Path, *options: str) -> int:
    return score.main(["--results", str(folder / "r.json"), "--labels", str(folder / "labels.jsonl"), *options])


def test_the_json_holds_everything_and_nothing_else_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scored(folder, "--json", "--probes", "--second-run", str(folder / "r.json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert [part["name"] for part in found["parts"]] == ["intents", "replies", "probes", "efficiency", "total"]
    assert [row["id"] for row in found["rows"]] == ["a", "p"]
    assert (found["second_run"], found["judge"]) == ({}, None)
    assert found["notes"] == ["1 predictions have no label"]


def test_probe_rows_are_left_out_without_probes_and_that_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scored(folder) == 0
    said = capsys.readouterr().out
    assert "1 probe rows are left out without --probes" in said
    assert "probes" not in said.split("total")[0]


def test_the_tables_show_failures_with_ticket_expected_and_got(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "labels.jsonl", LABEL | {"intent": "api", "must_mention": [["a seat", "one seat"]]})
    write(folder / "val.jsonl", {"id": "a", "ticket": "[red]seats?"})
    assert scored(folder, "--val", str(folder / "val.jsonl")) == 0
    said = capsys.readouterr().out
    for piece in ("[red]seats?", "expected api, got billing.seat", "a seat | one seat", "api taken for billing.seat, 1 times"):
        assert piece in said


def test_all_problems_of_all_files_are_said_at_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "labels.jsonl", {"id": "a", "intent": "x"}, LABEL | {"id": "b", "kind": "odd", "must_mention": ["flat"]})
    (folder / "r.json").write_text("{}")
    assert scored(folder, "--val", str(folder / "none.jsonl"), "--judge", "gpt") == 2
    said = capsys.readouterr().err
    for piece in (
        "labels.jsonl:1:",
        'labels.jsonl:2: found "',
        '"kind"',
        '"must_mention"',
        "r.json: found",
        "none.jsonl",
        "--judge",
    ):
        assert piece in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("labels", "options", "said"),
    [
        ([LABEL | {"id": "zz"}], [], "found no prediction for zz"),
        ([LABEL], ["--probes"], 'found no row with "kind": "probe"'),
        ([LABEL | {"kind": "probe"}], [], "found nothing but probe rows"),
    ],
)
def test_files_that_do_not_belong_together_are_a_sentence(
    folder: Path, labels: list[dict[str, Any]], options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "labels.jsonl", *labels)
    assert scored(folder, *options) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "bad",
    [
        {"accepted_intents": "x"},
        {"must_mention": [[]]},
        {"must_not_mention": [3]},
        {"kind": "p"},
        {"ticket": 3},
        {"kind": ["row"]},
    ],
)
def test_bad_optional_fields_are_named_with_their_line(tmp_path: Path, bad: dict[str, Any]) -> None:
    path = write(tmp_path / "labels.jsonl", LABEL, LABEL | {"id": "b"} | bad)
    with pytest.raises(InputProblems) as caught:
        read_labels(path)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{path}:2: found ")
    assert f'in "{next(iter(bad))}", expected' in problem


ODD_ROW = '{"training": {"wall_clock_s": 1}, "predictions": [{"id": 3}]}'


@pytest.mark.parametrize("content", ["", "[]", '{"predictions": []}', ODD_ROW])
def test_a_file_that_is_no_result_is_a_problem(tmp_path: Path, content: str) -> None:
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(InputProblems, match=r"expected a result of run\.py"):
        read_result(tmp_path / "r.json")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[" * 100_000, "found no JSON"),
        ('{"training": {"wall_clock_s": NaN}, "predictions": []}', '"wall_clock_s", expected seconds from 0'),
        ('{"training": {"wall_clock_s": 1%s}, "predictions": []}' % ("0" * 400), '"wall_clock_s", expected seconds from 0'),
        ('{"training": {"wall_clock_s": -1}, "predictions": []}', '"wall_clock_s", expected seconds from 0'),
        (json.dumps(result(("a", "x", "c"), ("a", "y", "c"))), 'found the id "a" more than once'),
        (json.dumps(result(("a", "\ud800", "c"))), "1 predictions without id, prediction, predicted_intent as strings"),
    ],
)
def test_a_result_that_cannot_be_scored_is_a_problem(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(InputProblems) as caught:
        read_result(tmp_path / "r.json")
    (problem,) = caught.value.problems
    assert said in problem


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seed", "-1"], "--seed -1: found a number below 0"),
        (["--judge", "openai:m", "--judge-budget-usd", "nan"], "--judge-budget-usd"),
        (["--judge", "openai:m", "--judge-price", "1", "inf"], "--judge-price"),
    ],
)
def test_numbers_that_cannot_be_used_are_a_sentence(
    folder: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scored(folder, *options) == 2
    assert said in capsys.readouterr().err


def test_without_rapidfuzz_one_sentence_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rapidfuzz.distance", None)
    assert scored(folder) == 1
    assert "pip install -r requirements-dev.txt" in capsys.readouterr().err


def test_what_was_not_measured_and_how_quality_is_made_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scored(folder) == 0
    said = capsys.readouterr().out
    assert "not measured: probes; the total is the weighted mean of the others" in said
    assert "reply quality is our reading: half similarity" in said
    assert scored(folder, "--probes") == 0
    assert "not measured" not in capsys.readouterr().out


def test_probes_have_tables_of_their_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scored(folder, "--probes") == 0
    said = capsys.readouterr().out
    assert "rows: must-mention 1 of 1 groups" in said
    assert "probes: must-mention 0 of 0 groups" in said
    assert scored(folder, "--probes", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {kind: list(table) for kind, table in found["intents"].items()} == {"row": ["billing.seat"], "probe": ["api"]}
    assert (found["rows"][1]["ticket"], found["rows"][1]["ideal_reply"], found["rows"][1]["reply"]) == ("[b]?", "No.", "Yes.")


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    assert calibration_error(np.array([0.95, 0.95]), np.array([True, False])) == pytest.approx(0.45)
    assert calibration_error(np.array([1.0, 0.05]), np.array([True, False])) == pytest.approx(0.025)
