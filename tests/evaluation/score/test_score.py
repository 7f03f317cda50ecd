import json
import sys
from pathlib import Path
from typing import Any

import pytest

from evaluation.score.__main__ import main
from evaluation.score.labels import read_label_files, read_labels
from evaluation.score.results import differences, read_result
from retrieval.tickets import InputProblems
from tests.evaluation.samples import LABEL, result, use_hash_encoder
from tests.test_run import write

ODD_ROW = '{"training": {"wall_clock_s": 1}, "predictions": [{"id": 3}]}'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use_hash_encoder(monkeypatch, "evaluation.score.__main__")
    found = result(("a", "Guests need no seat.", "billing.seat"), ("p", "Yes.", "api"), ("x", "?", "api"))
    (tmp_path / "r.json").write_text(json.dumps(found))
    probe = {"id": "p", "intent": "api", "ideal_reply": "No.", "kind": "probe", "ticket": "[b]?"}
    write(tmp_path / "labels.jsonl", LABEL, probe)
    return tmp_path


def scored(folder: Path, *options: str) -> int:
    return main(["--results", str(folder / "r.json"), "--labels", str(folder / "labels.jsonl"), *options])


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


def test_the_json_holds_everything_and_nothing_else_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scored(folder, "--json", "--probes", "--second-run", str(folder / "r.json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert [part["name"] for part in found["parts"]] == ["intents", "replies", "probes", "efficiency", "total"]
    assert [row["id"] for row in found["rows"]] == ["a", "p"]
    assert (found["second_run"], found["judge"]) == ({}, None)
    assert found["notes"] == ["1 predictions have no label"]
    assert {kind: list(counts) for kind, counts in found["intents"].items()} == {"row": ["billing.seat"], "probe": ["api"]}
    assert (found["rows"][1]["ticket"], found["rows"][1]["ideal_reply"], found["rows"][1]["reply"]) == ("[b]?", "No.", "Yes.")


def test_without_probes_it_says_what_is_left_out_and_how_the_rest_is_scored(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scored(folder) == 0
    said = capsys.readouterr().out
    assert "1 probe rows are left out without --probes" in said
    assert "probes" not in said.split("total")[0]
    assert "not measured: probes; the total is the weighted mean of the others" in said
    assert "reply quality is our reading: half similarity" in said


def test_probes_have_tables_of_their_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scored(folder, "--probes", "--second-run", str(folder / "r.json")) == 0
    said = capsys.readouterr().out
    assert "not measured" not in said
    assert "the second run is the same" in said
    assert "rows: must-mention 1 of 1 groups" in said
    assert "probes: must-mention 0 of 0 groups" in said


def test_labels_of_several_files_are_scored_together(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.loads(line) for line in (folder / "labels.jsonl").read_text().splitlines()]
    files = [str(write(folder / f"{row['id']}.jsonl", row)) for row in rows]
    assert scored(folder, "--probes", "--json") == 0
    one_file = json.loads(capsys.readouterr().out)
    assert main(["--results", str(folder / "r.json"), "--labels", *files, "--probes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == one_file


def test_an_id_in_two_label_files_is_a_problem_that_names_both(tmp_path: Path) -> None:
    other = LABEL | {"id": "b"}
    names = {"one": [LABEL, other], "two": [LABEL | {"id": "c"}], "three": [other, LABEL]}
    files = [write(tmp_path / f"{name}.jsonl", *rows) for name, rows in names.items()]
    assert list(read_label_files(files[:2])) == ["a", "b", "c"]
    with pytest.raises(InputProblems) as caught:
        read_label_files([*files, tmp_path / "none.jsonl"])
    unreadable, shared = caught.value.problems
    assert "none.jsonl: cannot be read" in unreadable
    assert shared == f'{files[0]} and {files[2]}: found "b", "a" in both, expected every id in one label file'


def test_what_is_missing_is_said_with_the_label_files_and_not_as_a_list(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(write(folder / f"{name}.jsonl", LABEL | {"id": name})) for name in ("y", "z")]
    assert main(["--results", str(folder / "r.json"), "--labels", *files, "--probes"]) == 2
    said = capsys.readouterr().err
    assert f"found no prediction for y, z, expected one for every row of {files[0]}, {files[1]}\n" in said
    assert f'{files[0]}, {files[1]}: found no row with "kind": "probe"' in said


@pytest.mark.parametrize("kind", ["hard", "Probe", "", "train set 2"])
def test_any_kind_but_probe_is_an_ordinary_row(folder: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "labels.jsonl", LABEL | {"kind": kind})
    assert read_labels(folder / "labels.jsonl")["a"].kind == "row"
    assert scored(folder, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [part["n"] for part in found["parts"] if part["name"] == "intents"] == [1]
    assert list(found["intents"]) == ["row"]


def test_the_tables_show_failures_with_ticket_expected_and_got(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "labels.jsonl", LABEL | {"intent": "api", "must_mention": [["a seat", "one seat"]]})
    write(folder / "val.jsonl", {"id": "a", "ticket": "[red]seats?"})
    assert scored(folder, "--val", str(folder / "val.jsonl")) == 0
    said = capsys.readouterr().out
    for piece in ("[red]seats?", "expected api, got billing.seat", "a seat | one seat", "api taken for billing.seat, 1 times"):
        assert piece in said


def test_the_tickets_may_stand_in_a_csv_file_with_other_columns(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "labels.jsonl", LABEL | {"intent": "api"})
    (folder / "val.csv").write_text('body;id\n"two seats;\nplease";a\n')
    assert scored(folder, "--val", str(folder / "val.csv"), "--columns", "ticket=body") == 0
    assert "two seats; please" in capsys.readouterr().out
    assert scored(folder, "--val", str(folder / "val.csv"), "--columns", "text=body") == 2
    said = capsys.readouterr().err
    assert "--columns: found the field" in said
    assert 'val.csv:1: found no column "ticket"' in said


def test_all_problems_of_all_files_are_said_at_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "labels.jsonl", {"id": "a", "intent": "x"}, LABEL | {"id": "b", "kind": 3, "must_mention": ["flat"]})
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
        ([LABEL], ["--seed", "-1"], "--seed -1: found a number below 0"),
        ([LABEL], ["--judge", "openai:m", "--judge-budget-usd", "nan"], "--judge-budget-usd"),
        ([LABEL], ["--judge", "openai:m", "--judge-price", "1", "inf"], "--judge-price"),
    ],
)
def test_files_that_do_not_belong_together_and_numbers_without_use_are_a_sentence(
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
        {"kind": 3},
        {"kind": ["row"]},
        {"ticket": 3},
    ],
)
def test_bad_optional_fields_are_named_with_their_line(tmp_path: Path, bad: dict[str, Any]) -> None:
    path = write(tmp_path / "labels.jsonl", LABEL, LABEL | {"id": "b"} | bad)
    with pytest.raises(InputProblems) as caught:
        read_labels(path)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{path}:2: found ")
    assert f'in "{next(iter(bad))}", expected' in problem


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "found no JSON, expected a result of run.py"),
        ("[]", "found something else, expected a result of run.py"),
        ('{"predictions": []}', "found something else, expected a result of run.py"),
        (ODD_ROW, "1 predictions without id, prediction, predicted_intent as strings"),
        ("[" * 100_000, "found no JSON"),
        ('{"training": {"wall_clock_s": NaN}, "predictions": []}', '"wall_clock_s", expected seconds from 0'),
        ('{"training": {"wall_clock_s": 1%s}, "predictions": []}' % ("0" * 400), '"wall_clock_s", expected seconds from 0'),
        ('{"training": {"wall_clock_s": -1}, "predictions": []}', '"wall_clock_s", expected seconds from 0'),
        (json.dumps(result(("a", "x", "c"), ("a", "y", "c"))), 'found the id "a" more than once'),
        (json.dumps(result(("a", "\ud800", "c"))), "1 predictions without id, prediction, predicted_intent as strings"),
    ],
)
def test_a_file_that_cannot_be_scored_is_a_problem(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(InputProblems) as caught:
        read_result(tmp_path / "r.json")
    (problem,) = caught.value.problems
    assert said in problem


def test_without_rapidfuzz_one_sentence_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rapidfuzz.distance", None)
    assert scored(folder) == 1
    assert "pip install -r requirements-dev.txt" in capsys.readouterr().err
