"""Runs of the command in processes of their own that meet a fault: killed, stopped for a while, without room for a file.

`python -m tests.fault_server` loads the libraries once and forks for each run, so that one takes a third of a second and not
seven. What happens to a run happens to a real process: SIGKILL, SIGXFSZ, EFBIG. The encoder hashes words.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "shutil.rmtree"}
POLL_S = 0.005


@dataclass(frozen=True, slots=True)
class Job:
    """A run and what befalls it.

    Attributes:
        arguments: of the command.
        watched: the folder whose changes are counted.
        at_line: it is ended as soon as this text stands on stderr.
        at_change: it is ended before this change of the watched folder; counted from 1.
        signal: by which it is ended, or stopped.
        file_bytes: no file can become longer.
        ends_at_limit: whether a longer file kills the process in the middle of the write; else the write fails.
        environment: changed for this run.
        real_encoder: whether the encoder of --encoder is loaded.
    """

    arguments: tuple[str, ...]
    watched: str = ""
    at_line: str = ""
    at_change: int = 0
    signal: int = signal.SIGKILL
    file_bytes: int = -1
    ends_at_limit: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    real_encoder: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended."""

    status: int  # negative: the signal that ended it
    said: str  # on stderr
    changes: int  # of the watched folder, if it got to its end


class Runs:
    """The client: asks the server for runs."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(self, job: Job) -> Ended:
        """One run."""
        return self._ask(job)[0]

    def at_once(self, first: Job, second: Job) -> list[Ended]:
        """The first is stopped by its signal, the second begins, the first goes on when that has ended or takes long."""
        return self._ask(first, second)

    def _ask(self, *jobs: Job) -> list[Ended]:
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps([asdict(job) for job in jobs]), file=self._process.stdin, flush=True)
        return [Ended(**ended) for ended in json.loads(self._process.stdout.readline())]


@contextmanager
def serving(**environment: str) -> Iterator[Runs]:
    """The server, with these variables set before the libraries are loaded."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fault_server"],
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Runs(process)
    finally:
        process.communicate()  # it ends with its stdin


def main() -> None:
    """The server."""
    preload()
    for line in sys.stdin:
        jobs = [Job(**job | {"arguments": tuple(job["arguments"])}) for job in json.loads(line)]
        print(json.dumps(_ends(jobs)), flush=True)


def preload() -> None:
    """All that a run without language model imports."""
    for name in ("faiss", "torch", "sentence_transformers", "sklearn.linear_model", "run", "tests.fakes"):
        import_module(name)


def _ends(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    first = Process(jobs[0])
    if len(jobs) == 1:
        return [first.end()]
    first.wait_for_stop()
    second = Process(jobs[1])
    second.wait(seconds=1.0)
    os.kill(first.pid, signal.SIGCONT)
    return [first.end(), second.end()]


class Process:
    """A forked run; what it says fits into a pipe, which no limit on files reaches."""

    def __init__(self, job: Job) -> None:
        (self._said, said), (self._changes, changes) = os.pipe(), os.pipe()
        self._status: int | None = None
        self.pid = os.fork()
        if not self.pid:
            os._exit(_child(job, said, changes))
        os.close(said)
        os.close(changes)

    def wait_for_stop(self) -> None:
        """Until it stops, or ends."""
        status = os.waitpid(self.pid, os.WUNTRACED)[1]
        self._status = None if os.WIFSTOPPED(status) else status

    def wait(self, *, seconds: float) -> None:
        """Until it ends, but not longer."""
        limit = time.monotonic() + seconds
        while self._status is None and time.monotonic() < limit:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if pid else None
            time.sleep(POLL_S)

    def end(self) -> dict[str, Any]:
        """Its end."""
        self.wait(seconds=60)
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)
            self._status = os.waitpid(self.pid, 0)[1]
        said, changes = (Path(f"/dev/fd/{pipe}").read_text(errors="replace") for pipe in (self._said, self._changes))
        os.close(self._said)
        os.close(self._changes)
        return {"status": os.waitstatus_to_exitcode(self._status), "said": said, "changes": int(changes or 0)}


def _child(job: Job, stderr: int, changes: int) -> int:
    os.dup2(stderr, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.environ.update(job.environment)
    changed = _count_changes(job)
    sys.stderr = Watched(job)  # type: ignore[assignment]
    try:
        status = _run(job)
    except SystemExit as ended:
        status = int(ended.code or 0)
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
        status = 1
    os.write(changes, str(changed()).encode())
    return status


def _run(job: Job) -> int:
    import retrieval.encoder
    import run
    from tests.fakes import HashEncoder

    if not job.real_encoder:
        retrieval.encoder.load_encoder = lambda *_, **__: HashEncoder()  # type: ignore[assignment,return-value]
    if job.file_bytes >= 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if job.ends_at_limit else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (job.file_bytes, job.file_bytes))
    return run.main(job.arguments)


class Watched:
    """stderr; ends the process at a line."""

    def __init__(self, job: Job) -> None:
        self._job, self._file = job, sys.__stderr__

    def write(self, text: str) -> int:
        assert self._file
        self._file.write(text)
        self._file.flush()
        if self._job.at_line and self._job.at_line in text:
            os.kill(os.getpid(), self._job.signal)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _count_changes(job: Job) -> Callable[[], int]:
    count = 0

    def see(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (opened or event in WRITES) and job.watched and os.fsdecode(str(arguments[0])).startswith(job.watched):
            count += 1
            if count == job.at_change:
                os.kill(os.getpid(), job.signal)

    sys.addaudithook(see)
    return lambda: count


if __name__ == "__main__":
    main()
