import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evaluation.submission import sandbox as module
from evaluation.submission.check import Submission, checked_submission
from evaluation.submission.hidden_labels import Hidden
from evaluation.submission.sandbox import SANDBOXES, Ended, Task, closing_words, make_environment, run_in
from tests.evaluation.submission.zips import make, program, sample

NOTHING = Hidden(frozenset(), frozenset())


def submission(folder: Path, files: dict[str, str]) -> Submission:
    return checked_submission(make(folder / "made.zip", files), NOTHING)


def ran(folder: Path, name: str, *, changes: str = "", limit_s: float = 60.0) -> Ended:
    sample(folder)
    files = {f"repo/{path}": text for path, text in program(changes).items()}
    task = Task(folder / "train.jsonl", folder / "val.jsonl", Path(sys.executable), limit_s)
    return run_in(SANDBOXES[name], submission(folder, files), task, folder / name, folder / "cache")


def record_of(ended: Ended) -> dict[str, Any]:
    assert ended.status == 0, ended.said
    found: dict[str, Any] = json.loads((ended.weights / "run.json").read_text())
    return found


def test_the_program_runs_alone_in_its_folder_with_four_flags_and_no_label_near(tmp_path: Path) -> None:
    record = record_of(ran(tmp_path, "nothing"))
    assert record["folder"] == str(tmp_path / "nothing" / "program" / "repo")
    assert record["files"] == ["README.md", "run.py"]
    assert record["near"] == ["train.jsonl", "val.jsonl"]
    assert record["words"][0] == "run.py"
    assert record["words"][1::2] == ["--train", "--val", "--weights", "--output"]
    assert record["outside"] == 1, "packages of the user's own folder are not seen"


def test_the_environment_holds_what_the_task_gives_and_nothing_of_the_caller_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PYTHONPATH", "HF_TOKEN", "OPENAI_API_KEY", "PIP_FIND_LINKS", "https_proxy"):
        monkeypatch.setenv(name, "the caller's")
    closed, folder = record_of(ran(tmp_path, "nothing"))["environment"], tmp_path / "nothing"
    assert "the caller's" not in closed.values()
    assert (closed["HOME"], closed["XDG_CACHE_HOME"]) == (str(folder / "home"), str(tmp_path / "cache"))
    assert (closed["OPENAI_API_KEY"], closed["OPENAI_BASE_URL"]) == ("dummy", "http://127.0.0.1:9/v1")
    assert (closed["PIP_NO_INDEX"], closed["PIP_CONFIG_FILE"], closed["HF_HUB_OFFLINE"]) == ("1", os.devnull, "1")
    open_one = record_of(ran(tmp_path, "registry"))["environment"]
    assert (open_one["PIP_FIND_LINKS"], open_one["https_proxy"]) == ("the caller's", "the caller's")
    assert not {"PIP_NO_INDEX", "PYTHONPATH", "HF_TOKEN"} & set(open_one)
    assert open_one["HF_HUB_OFFLINE"] == "1", "it is the package index that is proven"


@pytest.mark.skipif(not closing_words(), reason="the system gives no network namespace")
def test_a_closed_sandbox_reaches_not_even_this_machine(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        tried = f"""
import socket
try:
    socket.create_connection(("127.0.0.1", {port}), timeout=5).close()
    record["reached"] = True
except OSError:
    record["reached"] = False
"""
        found = {name: ran(tmp_path, name, changes=tried) for name in ("registry", "nothing", "warm")}
    assert {name: record_of(ended)["reached"] for name, ended in found.items()} == {
        "registry": True,
        "nothing": False,
        "warm": False,
    }
    assert {name: ended.closed for name, ended in found.items()} == {"registry": False, "nothing": True, "warm": True}


def test_without_a_namespace_the_settings_close_it_and_that_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "closing_words", lambda: ())
    ended = ran(tmp_path, "nothing")
    assert ended.closed is False
    assert record_of(ended)["environment"]["PIP_NO_INDEX"] == "1"


def test_a_system_without_the_command_gives_no_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert closing_words() == ()


def test_a_run_that_fails_leaves_its_status_and_its_last_line(tmp_path: Path) -> None:
    ended = ran(tmp_path, "nothing", changes="print('first'); sys.exit('no such model\\n\\n')")
    assert (ended.status, ended.last_line) == (1, "no such model")
    silent = ran(tmp_path, "registry", changes="sys.exit(3)")
    assert (silent.status, silent.last_line) == (3, "it said nothing")


def test_a_run_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    ended = ran(tmp_path, "nothing", changes="import select; select.select([], [], [])", limit_s=0.5)
    assert (ended.status, ended.results.exists()) == (None, False)
    assert 0.5 <= ended.seconds < 30


def test_the_new_environment_has_the_requirements_of_the_zip_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[str], Path]] = []

    def run(words: list[str], *, cwd: Path, **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append((words, cwd))
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    files = {f"repo/{name}": text for name, text in program().items()} | {"repo/requirements.txt": "a==1\n"}
    python, problem = make_environment(submission(tmp_path, files), tmp_path)
    assert (python, problem) == (tmp_path / "venv" / "bin" / "python", "")
    (made, _), (installed, where) = asked
    assert made == [sys.executable, "-m", "venv", str(tmp_path / "venv")]
    assert installed == [str(python), "-m", "pip", "install", "--quiet", "--no-input", "--requirement", "requirements.txt"]
    assert (where / "requirements.txt").read_text() == "a==1\n"


def test_requirements_that_cannot_be_installed_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    files = program() | {"requirements.txt": "no-such-package==1\n"}
    _, problem = make_environment(submission(tmp_path, files), tmp_path)
    assert problem.startswith("requirements.txt: cannot be installed (ERROR: Could not find a version that satisfies")
