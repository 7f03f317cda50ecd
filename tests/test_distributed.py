"""Several processes of one run: started by the launchers or with a launcher's environment, on the CPU with a tiny base."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from retrieval.known_models import MINILM
from tests.fakes import save_base
from tests.test_run import GOOD, ROOT, check_result, write

EXCHANGES = """
import json, os, torch
from finetune.distributed import start_processes

os.environ.pop("OMP_NUM_THREADS", None)  # torchrun sets it; without it accelerate would choose the number of threads
torch.set_num_threads(3)
processes = start_processes(timeout_s=60)
gradients = [torch.full((2, 1), 1.0 + processes.index), torch.tensor(10.0)]
processes.sum_gradients(gradients)
found = {
    "share": processes.share("abcde"),
    "any": [processes.any(processes.index == 1), processes.any(False)],
    "merge": processes.merge({str(processes.index): processes.local_index}),
    "sum": [gradient.tolist() for gradient in gradients],
    "threads": torch.get_num_threads(),
}
everywhere = processes.gather(found)
if processes.index == 0:
    print(json.dumps(everywhere))
"""

DIES = """
import os, sys, run, torch
if os.environ["RANK"] == "1":
    torch.nn.utils.clip_grad_norm_ = lambda *_: os._exit(9)  # in the middle of training
sys.exit(run.main())
"""


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")  # a thread that waits in a loop slows a busy machine's run tenfold
    rows = [GOOD | {"id": f"t{i}", "intent": f"a.{i % 3}", "ticket": f"question {i} on {i % 3}"} for i in range(9)]
    write(tmp_path / "train.jsonl", *rows)
    write(tmp_path / "val.jsonl", *({"id": f"v{i}", "ticket": f"question on {i % 3}?"} for i in range(7)))
    save_base(tmp_path / "base")
    return tmp_path


def command(folder: Path, name: str) -> list[str]:
    paths = {"train": "train.jsonl", "val": "val.jsonl", "weights": name, "output": f"{name}.json", "base-model": "base"}
    given = [text for option, path in paths.items() for text in (f"--{option}", str(folder / path))]
    return [
        *given,
        "--encoder",
        MINILM.name,
    ]  # that is installed: with an empty cache the first run would also say that it fetches


def launched(*program: str) -> str:
    """What a program says on stderr when it ends well."""
    done = subprocess.run([sys.executable, *program], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def without_launcher(folder: Path, *program: str) -> tuple[list[int], list[str]]:
    """The exit status and the stderr of two processes; no launcher ends one of them with the other."""
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | common
    processes = [
        subprocess.Popen(
            [sys.executable, *program, *command(folder, "two")],
            cwd=ROOT,
            env=environment | {"RANK": index, "LOCAL_RANK": index},
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in ("0", "1")
    ]
    try:
        said = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], said


def test_two_processes_give_one_whole_result_with_the_intents_of_one(folder: Path) -> None:
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2", f"--main_process_port={free_port()}"]
    said = [launched("run.py", *command(folder, "one")), launched(*launcher, "run.py", *command(folder, "two"))]
    one_stages, two_stages = (re.findall(r"^\[ *\d+\.\d s\] (\w+)", text, re.MULTILINE) for text in said)
    assert two_stages == one_stages, "the first process alone speaks"
    ids, intents = [f"v{i}" for i in range(7)], {"a.0", "a.1", "a.2"}
    one, two = (check_result(folder / f"{name}.json", ids, intents) for name in ("one", "two"))
    assert [row["predicted_intent"] for row in one["predictions"]] == [row["predicted_intent"] for row in two["predictions"]]
    assert two["training"]["steps"] == one["training"]["steps"] > 0
    assert two["training"]["val_loss"] == pytest.approx(one["training"]["val_loss"], rel=1e-3)
    records: list[dict[str, Any]] = [json.loads((folder / name / "run.json").read_text()) for name in ("one", "two")]
    assert records[1]["losses"] == pytest.approx(records[0]["losses"], rel=1e-3)
    assert [record["processes"] for record in records] == [1, 2]


def test_torchrun_starts_processes_that_exchange_what_they_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "exchanges.py").write_text(EXCHANGES)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    found = json.loads(subprocess.check_output([*launcher, str(tmp_path / "exchanges.py")], text=True, timeout=200))
    same = {"any": [True, False], "merge": {"0": 0, "1": 1}, "sum": [[[3.0], [3.0]], 20.0], "threads": 3}
    assert found == [{"share": "ace", **same}, {"share": "bd", **same}]


def test_a_dead_worker_ends_the_run_with_an_error_and_no_result(folder: Path) -> None:
    statuses, said = without_launcher(folder, "-c", DIES)
    assert statuses == [1, 9], said
    assert said[0].splitlines()[-1].startswith("error: another process of this run ended")
    assert "Traceback" not in said[0]
    assert said[1] == "", "the first process alone speaks"
    assert not (folder / "two.json").exists()


def test_bad_input_is_said_once(folder: Path) -> None:
    (folder / "val.jsonl").write_text("nonsense")
    statuses, said = without_launcher(folder, "run.py")
    assert statuses == [2, 2]
    assert "val.jsonl:1:" in said[0]
    assert said[1] == ""
