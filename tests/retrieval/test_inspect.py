import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import run
from retrieval import inspect
from tests.test_run import GOOD, ROOT, arguments, write

ROWS = [
    GOOD,
    GOOD | {"id": "b", "ticket": "rotate my api token", "intent": "api.token", "ideal_reply": "Press Rotate."},
    GOOD | {"id": "c", "ticket": "a guest cannot log in", "intent": "access.login", "ideal_reply": "Invite them again."},
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write(folder / "train.jsonl", *ROWS)
    write(folder / "val.jsonl", {"id": "v", "ticket": "guest seats?"}, {"id": "w", "ticket": "token <b>[red]leaked[/red]"})
    assert run.main(arguments(folder)) == 0
    return folder


def said(capsys: pytest.CaptureFixture[str], *options: object) -> list[dict[str, Any]]:
    assert inspect.main([*map(str, options), "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_finished_run_is_explained_as_the_run_explained_itself(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (finished / "weights" / "predictions.jsonl").read_text().splitlines()
    own = {"prediction", "source", "findings", "draft"}
    recorded = [{key: value for key, value in json.loads(line).items() if key not in own} for line in lines]
    assert said(capsys, "--weights", finished / "weights", "--val", finished / "val.jsonl") == recorded
    assert said(capsys, "--train", finished / "train.jsonl", "--val", finished / "val.jsonl") == recorded


def test_one_row_of_val_and_the_words_of_its_prompt(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = said(capsys, "--train", finished / "train.jsonl", "--val", finished / "val.jsonl", "--id", "v", "--prompt")
    assert found["id"] == "v"
    assert found["prompt"]["user"].endswith("Ticket:\nguest seats?")
    assert found["prompt"]["assistant"] == f"intent: {found['predicted_intent']}\nreply:"
    stored = [
        found["prompt"]["user"].index({row["id"]: row for row in ROWS}[name]["ideal_reply"]) for name in found["exemplars"]
    ]
    assert stored == sorted(stored, reverse=True), "best last"


def test_the_tables_show_what_a_ticket_says_and_do_not_obey_it(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ticket = "\x1b[2J token [red]leaked[/red] :smile:"
    assert inspect.main(["--weights", str(finished / "weights"), "--ticket", ticket, "--prompt"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b[2J" not in shown
    for piece in ("[red]leaked[/red] :smile:", "api.token", "neighbours x 6", "shared words", "--- assistant begins"):
        assert piece in shown


def test_typed_tickets_are_answered_one_by_one_until_an_empty_line(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("rotate the token\nguest seats\n\nnever read\n"))
    found = said(capsys, "--weights", finished / "weights")
    assert [row["ticket"] for row in found] == ["rotate the token", "guest seats"]


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_a_map_is_drawn_and_is_the_same_every_time(finished: Path, tmp_path: Path, kind: str, start: bytes) -> None:
    for name in ("a", "b"):
        paths = ["--weights", finished / "weights", "--val", finished / "val.jsonl", "--map", tmp_path / f"{name}.{kind}"]
        assert inspect.main([*map(str, paths)]) == 0
    first, second = ((tmp_path / f"{name}.{kind}").read_bytes() for name in "ab")
    assert first.startswith(start)
    if kind == "png":
        assert first == second


def test_without_matplotlib_a_sentence_says_what_to_install(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    options = ["--weights", str(finished / "weights"), "--ticket", "x", "--map", str(tmp_path / "m.png")]
    assert inspect.main(options) == 1
    assert "pip install -r requirements-dev.txt" in capsys.readouterr().err


def test_all_problems_are_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--weights", tmp_path / "none", "--ticket", " ", "--id", "x", "--map", "m.gif", "--encoder", "./none"]
    assert inspect.main([*map(str, options)]) == 2
    problems = capsys.readouterr().err
    for piece in (
        "run.json: cannot be read",
        "--ticket: found an empty text",
        "--id: found no --val",
        "--map m.gif",
        "--encoder",
    ):
        assert piece in problems


@pytest.mark.parametrize(("rows", "status"), [(1, 2), (3, 1)])
def test_a_folder_that_was_changed_by_hand_is_a_sentence(
    finished: Path, tmp_path: Path, rows: int, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("run.json", "train_set.jsonl", "train_set.safetensors"):
        (tmp_path / name).write_bytes((finished / "weights" / name).read_bytes())
    lines = (tmp_path / "train_set.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "train_set.jsonl").write_text("".join(lines[:rows]))
    if status == 1:
        (tmp_path / "train_set.safetensors").write_bytes(b"nonsense")
    assert inspect.main(["--weights", str(tmp_path), "--ticket", "x"]) == status
    assert "Traceback" not in capsys.readouterr().err


def test_an_unknown_id_is_named(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--weights", finished / "weights", "--val", finished / "val.jsonl", "--id", "nobody"]
    assert inspect.main([*map(str, options)]) == 2
    assert "--id nobody: found no such row" in capsys.readouterr().err


def test_no_language_model_is_loaded(finished: Path) -> None:
    options = ["--weights", str(finished / "weights"), "--ticket", "guest", "--prompt"]
    code = f"import sys; from retrieval import inspect; inspect.main({options!r}); "
    code += "print([name for name in sys.modules if name.startswith('finetune')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
