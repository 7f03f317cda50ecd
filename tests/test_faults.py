"""Faults that befall a run, provoked for real: it ends with a whole result or one sentence, and nothing is lost.

The runs are forked by `tests.fault_server`; what they leave is looked at by the commands that a user would use.
"""

import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from retrieval import inspect
from retrieval.files import sha256
from retrieval.known_models import MINILM
from tests.fakes import HashEncoder
from tests.fault_server import Ended, Job, Runs, serving
from tests.retrieval.hub_stub import serving as serving_hub
from tests.test_run import GOOD, ROOT, arguments, check_result, write

STAGES = ("read ", "start the libraries", "embed and index", "measure", "embed the tickets", "classify", "look for", "write ")
NEW, OLD = "Guests need no seat.", "Every guest pays."
ROWS = [GOOD | {"id": f"t{i}", "intent": f"a.{i % 3}", "ticket": f"question {i} on {i % 3}"} for i in range(6)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    home = tmp_path_factory.mktemp("home")
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "PIP_INDEX_URL": "http://127.0.0.1:9", "PIP_CONFIG_FILE": os.devnull}
    with serving(HF_HOME=str(home / "hf"), XDG_CACHE_HOME=str(home / "cache"), PIP_FIND_LINKS="", **nowhere) as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Input of two train sets that differ in what the replies say."""
    write(tmp_path / "train.jsonl", *ROWS)
    write(tmp_path / "old.jsonl", *(row | {"ideal_reply": OLD} for row in ROWS))
    write(tmp_path / "val.jsonl", {"id": "v", "ticket": "question on 1?"}, {"id": "w", "ticket": "question on 2?"})
    return tmp_path


@pytest.fixture(autouse=True)
def hash_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect, "load_encoder", lambda *_, **__: HashEncoder())


def job(folder: Path, **options: object) -> Job:
    return Job(tuple(arguments(folder, **options)))


def old_run(runs: Runs, folder: Path) -> None:
    """A finished run of the other train set in the same folder."""
    assert runs.run(job(folder, train=folder / "old.jsonl")).status == 0


def answers(path: Path) -> Any:
    """What a result says, without its times; it is whole or not there."""
    if not path.exists():
        return None
    found = check_result(path, ["v", "w"], {"a.0", "a.1", "a.2"})["predictions"]
    return [(row["id"], row["predicted_intent"], row["prediction"]) for row in found]


def reply_of(weights: Path) -> str:
    """What the run in a weights folder says to a ticket; empty if the folder is refused, which takes sentences."""
    said, printed = io.StringIO(), io.StringIO()
    with redirect_stderr(said), redirect_stdout(printed):
        status = inspect.main(["--weights", str(weights), "--ticket", "question on 1?", "--prompt", "--json"])
    if status:
        assert status in (1, 2)
        assert said.getvalue()
        return ""
    user = json.loads(printed.getvalue())["prompt"]["user"]
    (reply,) = {NEW, OLD} & set(re.findall("reply: (.+)", user)), 
    assert len(reply) == 1, "rows of one run"
    return reply.pop()
