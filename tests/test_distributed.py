"""Several processes of one run: the real command, started as a launcher starts it, on the CPU with a tiny base."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import save_base
from tests.test_run import GOOD, ROOT, check_result, write

DIES = """
import os, sys, run, finetune.lora
if os.environ["RANK"] == "1":
    finetune.lora.torch.nn.utils.clip_grad_norm_ = lambda *_: os._exit(9)  # in the middle of training
sys.exit(run.main())
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [GOOD | {"id": f"t{i}", "intent": f"a.{i % 3}", "ticket": f"question {i} on {i % 3}"} for i in range(9)]
    write(tmp_path / "train.jsonl", *rows)
    write(tmp_path / "val.jsonl", *({"id": f"v{i}", "ticket": f"question on {i % 3}?"} for i in range(7)))
    save_base(tmp_path / "base")
    return tmp_path


def command(folder: Path, name: str) -> list[str]:
    paths = {"train": "train.jsonl", "val": "val.jsonl", "weights": name, "output": f"{name}.json", "base-model": "base"}
    return [text for option, place in paths.items() for text in (f"--{option}", str(folder / place))]


def both(folder: Path, name: str, program: list[str]) -> list[subprocess.Popen[str]]:
    """Two processes with the environment that a launcher gives them, and no launcher that would end one with the other."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    return [
        subprocess.Popen(
            [sys.executable, *program, *command(folder, name)],
            cwd=ROOT,
            env=os.environ | meeting | {"RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]


def trained(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / name / "run.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def test_two_processes_give_one_whole_result_with_the_intents_of_one(folder: Path) -> None:
    subprocess.run([sys.executable, "run.py", *command(folder, "one")], cwd=ROOT, check=True, capture_output=True)
    processes = both(folder, "two", ["run.py"])
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert said[1] == "", "the first process alone speaks"
    ids, intents = [f"v{i}" for i in range(7)], {"a.0", "a.1", "a.2"}
    one, two = (check_result(folder / f"{name}.json", ids, intents) for name in ("one", "two"))
    assert [row["predicted_intent"] for row in one["predictions"]] == [row["predicted_intent"] for row in two["predictions"]]
    assert two["training"]["steps"] == one["training"]["steps"] > 0
    assert two["training"]["val_loss"] == pytest.approx(one["training"]["val_loss"], rel=1e-3)
    assert trained(folder, "two")["losses"] == pytest.approx(trained(folder, "one")["losses"], rel=1e-3)
    assert (trained(folder, "one")["processes"], trained(folder, "two")["processes"]) == (1, 2)


def test_a_dead_worker_ends_the_run_with_an_error_and_no_result(folder: Path) -> None:
    first, second = both(folder, "two", ["-c", DIES])
    said = first.communicate(timeout=120)[1]
    assert (first.returncode, second.wait(timeout=120)) == (1, 9), said
    assert said.splitlines()[-1].startswith("error: another process of this run ended")
    assert "Traceback" not in said
    assert not (folder / "two.json").exists()


def test_bad_input_is_said_once(folder: Path) -> None:
    (folder / "val.jsonl").write_text("nonsense")
    processes = both(folder, "two", ["run.py"])
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [2, 2]
    assert "val.jsonl:1:" in said[0]
    assert said[1] == ""


@pytest.mark.parametrize(
    "launcher",
    [["torch.distributed.run", "--nproc-per-node=2"], ["accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]],
)
def test_the_launchers_start_it(folder: Path, launcher: list[str]) -> None:
    port = f"--master-port={free_port()}" if launcher[0].startswith("torch") else f"--main_process_port={free_port()}"
    program = [sys.executable, "-m", *launcher, port, str(ROOT / "run.py"), *command(folder, "two")]
    done = subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert trained(folder, "two")["processes"] == 2
    check_result(folder / "two.json", [f"v{i}" for i in range(7)], {"a.0", "a.1", "a.2"})
