import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.audit import tables
from evaluation.audit.__main__ import main
from evaluation.audit.findings import HEADS, Finding, ShownRow
from tests.evaluation.samples import use_hash_encoder
from tests.fakes import ROWS
from tests.test_run import ROOT, write

TRAIN = [{"id": r.id, "ticket": r.text, "intent": r.intent, "ideal_reply": r.ideal_reply} for r in ROWS]
JANE = {"id": "j", "ticket": "I am jane@acme.example", "intent": "api.token", "ideal_reply": "We wrote to jane@acme.example."}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use_hash_encoder(monkeypatch, "evaluation.audit.__main__")
    write(tmp_path / "train.jsonl", *TRAIN, JANE)
    write(tmp_path / "val.jsonl", {"id": "v", "ticket": "[b]guests[/b] \x1b[31mred?"})
    return tmp_path


def found(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, list[dict[str, str]]]:
    assert main(["--train", str(folder / "train.jsonl"), "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_json_holds_all_findings_and_the_same_rows_give_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = found(folder, capsys, "--val", str(folder / "val.jsonl"))
    assert (first["rows"], first["intents"], first["tickets"]) == (7, 3, 1)
    assert {"personal data"} <= {one["kind"] for one in first["findings"]} <= set(HEADS)
    assert first == found(folder, capsys, "--val", str(folder / "val.jsonl"))


def test_personal_data_are_reported_and_not_spelt_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (finding,) = [one for one in found(folder, capsys)["findings"] if one["kind"] == "personal data"]
    assert "(e-mail address; its ticket holds it too)" in finding["what"]
    assert finding["rows"][0]["note"] == "e-mail address ja…le"
    assert finding["rows"][0]["reply"] == "We wrote to [e-mail address]."


def test_the_tables_show_user_text_as_it_is_without_its_control_characters(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = (ShownRow("r", "[i]x[/i]", "a note", "[b]bold[/b] \x1b[31mred", "a reply"),)
    monkeypatch.setattr(tables, "MAX_SHOWN", 1)
    tables.print_findings([Finding("few rows", "what \x1b[2J", "do it", rows)] * 2, counts="7 rows")
    out = capsys.readouterr().out
    assert all(text in out for text in ("[i]x[/i]", "[b]bold[/b]", "a note", "a reply", "do it", "and 1 more"))
    assert "\x1b[31m" not in out
    assert "\x1b[2J" not in out


def test_columns_have_other_names_in_a_csv_file_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (folder / "train.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "body", "label", "ideal_reply"])
        writer.writerows(row.values() for row in TRAIN)
    options = ["--train", str(folder / "train.csv"), "--json", "--columns", "ticket=body,intent=label"]
    assert main(options) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == len(TRAIN)


def test_all_problems_are_reported_at_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "bad.jsonl", {"id": "a", "ticket": ""})
    options = ["--train", str(folder / "bad.jsonl"), "--val", str(folder / "none.jsonl"), "--columns", "x=y"]
    assert main(options) == 2
    err = capsys.readouterr().err
    assert '--columns: found the field "x"' in err
    assert 'bad.jsonl:1: found an empty "ticket"' in err
    assert "none.jsonl: cannot be read" in err


@pytest.mark.parametrize("count", [1, 2])
def test_very_few_rows_are_audited_too(folder: Path, capsys: pytest.CaptureFixture[str], count: int) -> None:
    write(folder / "train.jsonl", *TRAIN[:count])
    kinds = [one["kind"] for one in found(folder, capsys, "--val", str(folder / "val.jsonl"))["findings"]]
    assert ("few rows" in kinds) == (count == 1)


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; from evaluation.audit.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'sklearn', 'cleanlab'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)
