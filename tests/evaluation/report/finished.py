"""A finished run of the command, made without a model."""

import json
from pathlib import Path

import pytest

import run
from tests.fakes import HashEncoder
from tests.test_run import GOOD, arguments, write

EVIL = "<script>document.title = 'broken'</script><img src=x onerror=\"document.title='broken'\"> {{ 7 * 7 }} seats?"
ROWS = [
    GOOD | {"ideal_reply": "Guests need no seat </script><script>document.title = 'broken'</script>."},
    GOOD | {"id": "b", "ticket": "rotate my api token", "intent": "api.token", "ideal_reply": "Press Rotate."},
    GOOD | {"id": "c", "ticket": "a guest cannot log in", "intent": "access.login", "ideal_reply": "Invite them again."},
]


def finish_run(folder: Path) -> Path:
    """Runs the command on three rows and three tickets, and writes a label whose intent and facts the run misses."""
    write(folder / "train.jsonl", *ROWS)
    tickets = [("v", EVIL), ("w", "the token leaked"), ("x", "login fails")]
    write(folder / "val.jsonl", *({"id": name, "ticket": text} for name, text in tickets))
    label = {"id": "w", "intent": "billing.seat", "ideal_reply": "Press Revoke.", "must_mention": [["Revoke"]]}
    write(folder / "labels.jsonl", label)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("retrieval.encoder.load_encoder", lambda *_, **__: HashEncoder())
        assert run.main(arguments(folder)) == 0
    return folder


def options(folder: Path, output: Path, **changed: Path) -> list[str]:
    """The report's command line for that run."""
    chosen = {"weights": folder / "weights", "results": folder / "results.json", "output": output} | changed
    return [text for name, value in chosen.items() for text in (f"--{name}", str(value))]


def changed_record(folder: Path, target: Path, **changes: object) -> Path:
    """A copy of the run's weights folder with another record."""
    target.mkdir()
    for path in (folder / "weights").iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    record = json.loads((target / "run.json").read_text()) | changes
    (target / "run.json").write_text(json.dumps(record))
    return target
