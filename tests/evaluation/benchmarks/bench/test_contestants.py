import json
import sys
from pathlib import Path

import pytest

from evaluation.benchmarks.bench.contestants import (
    CONTESTANTS,
    ENVIRONMENT,
    PARTS,
    ROOT,
    RUN,
    SETFIT,
    TRL,
    ContestantFailed,
    command,
    read_outcome,
    run_outcome,
    run_process,
)
from evaluation.benchmarks.bench.task import Outcome

OUTCOME = {"setup_s": 1.0, "step_s": None, "reply_s": None, "ticket_s": 0.5, "intents": {"v": "a"}, "replies": None}


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_the_command_lines_start_files_that_are_there_with_options_that_run_py_has() -> None:
    words = command(RUN, Path("w"), base_model="./b", encoder="auto")
    options = ["--train", "w/train.jsonl", "--val", "w/val.jsonl", "--weights", "w/weights", "--output", "w/results.json"]
    assert words == [sys.executable, "run.py", *options, "--base-model", "./b", "--encoder", "auto"]
    assert (ROOT / "run.py").is_file()
    for name in (PARTS, TRL, SETFIT):
        _, option, module, task = command(name, Path("w"), base_model="b", encoder="e")
        assert (option, task) == ("-m", "w/task.pickle")
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file()
    assert CONTESTANTS == (RUN, PARTS, TRL, SETFIT)


def test_time_output_and_environment_of_a_process_are_its_own() -> None:
    code = "import os, time; time.sleep(.6); print(os.getcwd(), *(os.environ[key] for key in {}))"
    finished = run_process("x", python(code.format(tuple(ENVIRONMENT))))
    assert finished.output.split() == [str(ROOT), *ENVIRONMENT.values()]
    assert 0.6 <= finished.wall_s < 30


def test_the_memory_of_a_child_counts() -> None:
    child = "import time; held = bytearray(300 * 2**20); time.sleep(1)"
    alone = run_process("x", python("import time; time.sleep(.5)"))
    both = run_process("x", python(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"))
    assert 0 < alone.peak_gib < 0.2
    assert 0.28 < both.peak_gib - alone.peak_gib < 0.5


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; print('first\\nat last\\n', file=sys.stderr); sys.exit(3)", "TRL ended with status 3: at last"),
        ("import sys; sys.exit(1)", "TRL ended with status 1: it said nothing"),
        ("import no_such_package", "TRL ended with status 1: ModuleNotFoundError: No module named 'no_such_package'"),
    ],
)
def test_a_failure_is_a_sentence_with_the_last_line(code: str, said: str) -> None:
    with pytest.raises(ContestantFailed) as caught:
        run_process("TRL", python(code))
    assert str(caught.value) == said


def test_an_outcome_is_the_last_line_whatever_a_library_has_printed() -> None:
    assert read_outcome("x", f"{{'loss': 1}}\n{json.dumps(OUTCOME)}\n") == Outcome(**OUTCOME)


@pytest.mark.parametrize("output", ["", "\n", "done", "[1]", "3", '{"setup_s": 1.0}', json.dumps(OUTCOME | {"more": 1})])
def test_no_outcome_is_a_sentence(output: str) -> None:
    with pytest.raises(ContestantFailed, match="SetFit: found no outcome on the last line of its output, expected a JSON"):
        read_outcome("SetFit", output)


def test_the_outcome_of_a_run_comes_from_its_files(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    seconds = {"read": 0.5, "start": 4.0, "index": 2.0, "fine-tune": 90.0, "embed": 1.0, "answer": 3.0, "write": 7.0}
    (tmp_path / "weights" / "run.json").write_text(json.dumps({"seconds": seconds}))
    rows = [{"id": i, "prediction": f"reply {i}", "predicted_intent": f"intent.{i}"} for i in "ab"]
    (tmp_path / "results.json").write_text(json.dumps({"predictions": rows}))
    found = run_outcome(tmp_path)
    assert (found.setup_s, found.step_s, found.reply_s, found.ticket_s) == (6.5, None, None, 2.0)
    assert found.intents == {"a": "intent.a", "b": "intent.b"}
    assert found.replies == {"a": "reply a", "b": "reply b"}
