"""Runs the program of a submission as the task does: unpacked into an empty folder, four flags, a clean environment.

What the machine offers differs by sandbox: a package index and an empty cache, nothing at all, or a warm cache and no network.
A network is cut by a network namespace of its own where the system lets us make one (`unshare`), and always by the settings of
pip and of the hub's client.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from evaluation.submission.check import Submission
from retrieval.tickets import printable

Name = Literal["registry", "nothing", "warm"]

# Of the caller's environment: where programs and devices are, and for a sandbox with a package index how pip reaches it.
SYSTEM = ("PATH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES")
INDEX = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")  # in either case
NO_REMOTE = {"OPENAI_API_KEY": "dummy", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}  # the discard port: nobody answers
NO_HUB = {"HF_HUB_OFFLINE": "1"}
NO_INDEX = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What the machine offers to a run."""

    name: Name
    offers: str  # in words
    index: bool  # whether pip reaches a package index
    warm: bool  # whether the cache holds the models of an earlier run


SANDBOXES: dict[str, Sandbox] = {
    "registry": Sandbox("registry", "a package index and an empty cache", index=True, warm=False),
    "nothing": Sandbox("nothing", "no network and an empty cache", index=False, warm=False),
    "warm": Sandbox("warm", "no network and a warm cache", index=False, warm=True),
}


@dataclass(frozen=True, slots=True)
class Task:
    """What every sandbox is given."""

    train: Path
    val: Path
    python: Path  # has the submission's requirements
    limit_s: float  # of a run


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that has ended, or was ended."""

    status: int | None  # None: the time was over
    seconds: float
    said: str  # all that it printed
    weights: Path
    results: Path
    closed: bool  # whether it had a network namespace of its own

    @property
    def last_line(self) -> str:
        """For a message."""
        return next((printable(line.strip()) for line in reversed(self.said.splitlines()) if line.strip()), "it said nothing")


def run_in(sandbox: Sandbox, submission: Submission, task: Task, folder: Path, cache: Path) -> Ended:
    """Unpacks the submission into a new folder and runs it there on copies of train and val: no label is near.

    Args:
        sandbox: what the machine offers.
        submission: keeps to the rules.
        task: what is to be done.
        folder: for all files of the run; is made.
        cache: for XDG_CACHE_HOME; an empty folder, or that of an earlier run.
    """
    for name in ("input", "home", "tmp"):
        (folder / name).mkdir(parents=True)
    train, val = (folder / "input" / f"{name}{path.suffix}" for name, path in (("train", task.train), ("val", task.val)))
    shutil.copy(task.train, train)
    shutil.copy(task.val, val)
    ended = Ended(None, task.limit_s, "", folder / "weights", folder / "results.json", closed=False)
    flags = ["--train", train, "--val", val, "--weights", ended.weights, "--output", ended.results]
    closing = () if sandbox.index else closing_words()
    words = [*closing, str(task.python), "run.py", *map(str, flags)]
    program, variables = submission.unpack(folder / "program"), environment(sandbox, folder, cache)
    began = time.monotonic()
    status = _status(words, folder / "log", limit_s=task.limit_s, cwd=program, env=variables)
    seconds, said = time.monotonic() - began, (folder / "log").read_text(encoding="utf-8", errors="replace")
    return replace(ended, status=status, seconds=seconds, said=said, closed=bool(closing))


def _status(words: Sequence[str], log: Path, *, limit_s: float, cwd: Path, env: Mapping[str, str]) -> int | None:
    """The exit status of a command, None where the time was over; what it prints goes into a file."""
    with log.open("wb") as file:
        started = partial(subprocess.run, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False)
        try:
            return started(words, cwd=cwd, env=env, timeout=limit_s).returncode
        except subprocess.TimeoutExpired:
            return None


def environment(sandbox: Sandbox, folder: Path, cache: Path) -> dict[str, str]:
    """The variables of a run: of the caller's only what names programs, devices and, with an index, the way to it."""
    own = {"HOME": folder / "home", "TMPDIR": folder / "tmp", "XDG_CACHE_HOME": cache, "HF_HOME": cache / "huggingface"}
    found = {key: os.environ[key] for key in SYSTEM if key in os.environ} | {key: str(path) for key, path in own.items()}
    found |= {"LANG": "C.UTF-8", "PYTHONNOUSERSITE": "1"} | NO_REMOTE | NO_HUB
    if not sandbox.index:
        return found | NO_INDEX
    settings = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")  # where pip looks for the user's own
    return found | _way_to_the_index() | {"XDG_CONFIG_HOME": settings}


def _way_to_the_index() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key.startswith("PIP_") or key in INDEX or key.lower() in PROXIES}


def closing_words() -> tuple[str, ...]:
    """What stands before a command that must not reach any network; empty where the system gives us no namespace."""
    for words in (("unshare", "--net"), ("unshare", "--map-current-user", "--net")):
        if shutil.which(words[0]) and subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
            return words
    return ()


def make_environment(submission: Submission, folder: Path) -> tuple[Path, str]:
    """A virtual environment with the submission's requirements.txt alone: its Python, and why it could not be made, if so."""
    program = submission.unpack(folder / "program")
    python = folder / "venv" / "bin" / "python"
    commands = [[sys.executable, "-m", "venv", str(folder / "venv")]]
    if (program / "requirements.txt").is_file():
        commands.append([str(python), "-m", "pip", "install", "--quiet", "--no-input", "--requirement", "requirements.txt"])
    for words in commands:
        done = subprocess.run(words, cwd=program, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = next((line for line in (done.stdout + done.stderr).splitlines() if line.startswith("ERROR")), "no reason")
            return python, f"requirements.txt: cannot be installed ({printable(reason)}), expected packages that pip finds"
    return python, ""
