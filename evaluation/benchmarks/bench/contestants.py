"""The contestants: each runs in a process of its own, whose time and memory are taken from outside."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from evaluation.benchmarks.bench.task import Outcome

ROOT = Path(__file__).parents[3]
SAMPLE_S = 0.25  # between two looks at the memory
# The same for all: threads sleep while they wait, nothing is asked of a network (the models are there).
ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}
ENVIRONMENT |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

RUN, PARTS, TRL, SETFIT = "run.py", "its LoRA and generation", "TRL and generate", "SetFit"
MODULES = {PARTS: "own_parts", TRL: "trl_lora", SETFIT: "setfit_intents"}
CONTESTANTS = (RUN, *MODULES)
PACKAGES = {TRL: "trl", SETFIT: "setfit"}  # what they need beside requirements.txt


class ContestantFailed(Exception):
    """A contestant's process came to nothing; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that ended well."""

    output: str  # what it wrote to stdout
    wall_s: float  # from its start to its end
    peak_gib: float  # most resident memory, its children's included


def run_contestant(name: str, folder: Path, *, base_model: str, encoder: str) -> tuple[Finished, Outcome]:
    """Runs one on the task of a folder (`prepare`); its settings are the values of --base-model and --encoder.

    Raises:
        ContestantFailed: it ended with an error or without an outcome.
    """
    finished = run_process(name, command(name, folder, base_model=base_model, encoder=encoder))
    return finished, run_outcome(folder) if name == RUN else read_outcome(name, finished.output)


def command(name: str, folder: Path, *, base_model: str, encoder: str) -> list[str]:
    """The words of its command line, to be started in `ROOT`."""
    if name != RUN:
        return [sys.executable, "-m", f"evaluation.benchmarks.bench.{MODULES[name]}", str(folder / "task.pickle")]
    paths = {"train": "train.jsonl", "val": "val.jsonl", "weights": "weights", "output": "results.json"}
    options = {key: str(folder / path) for key, path in paths.items()} | {"base-model": base_model, "encoder": encoder}
    return [sys.executable, "run.py", *(word for key, value in options.items() for word in (f"--{key}", value))]


def run_process(name: str, words: Sequence[str]) -> Finished:
    """Runs a command to its end and watches its memory.

    Raises:
        ContestantFailed: its status is not 0; the last line that it wrote to stderr is in the message.
    """
    began, peak = time.monotonic(), 0.0
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(words, cwd=ROOT, env=os.environ | ENVIRONMENT, stdout=output, stderr=errors) as process:
            while process.poll() is None:
                peak = max(peak, resident_gib(process.pid))
                with suppress(subprocess.TimeoutExpired):
                    process.wait(SAMPLE_S)
        wall_s = time.monotonic() - began
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            last = next((line.strip() for line in reversed(errors.readlines()) if line.strip()), "it said nothing")
            raise ContestantFailed(f"{name} ended with status {process.returncode}: {last}")
        return Finished(output.read(), wall_s, peak)


def resident_gib(pid: int) -> float:
    """Resident memory of a process and its children, 0 for one that has ended."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return float(sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))) / 2**30
    return 0.0


def read_outcome(name: str, output: str) -> Outcome:
    """The outcome on the last line of a contestant's output; libraries may have printed before it.

    Raises:
        ContestantFailed: it is none.
    """
    try:
        return Outcome(**json.loads(output.strip().splitlines()[-1]))
    except (IndexError, ValueError, TypeError) as error:
        raise ContestantFailed(f"{name}: found no outcome on the last line of its output, expected a JSON object") from error


def run_outcome(folder: Path) -> Outcome:
    """The outcome of run.py, from the files that it wrote; its setup ends before fine-tuning, which loads the base."""
    seconds = json.loads((folder / "weights" / "run.json").read_text(encoding="utf-8"))["seconds"]
    rows = json.loads((folder / "results.json").read_text(encoding="utf-8"))["predictions"]
    return Outcome(
        setup_s=sum(seconds.get(stage, 0.0) for stage in ("read", "start", "index")),
        step_s=None,
        reply_s=None,
        ticket_s=(seconds["embed"] + seconds["answer"]) / len(rows),
        intents={row["id"]: row["predicted_intent"] for row in rows},
        replies={row["id"]: row["prediction"] for row in rows},
    )
