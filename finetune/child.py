"""Runs `finetune.hub` as a child process and ends it, done or not.

The child ends itself when its stdin is closed, and so it does when this process is killed; what does not react is killed.

What it does not know: what the child is asked for, and for how long it may take.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from finetune.hub import REFUSED

END_S = 2.0  # for a child to take its unfinished files away


class Refused(Exception):
    """A checkpoint cannot be had; the message is the half of a sentence that says why and what to do."""


@dataclass(frozen=True, slots=True)
class Child:
    """A running `finetune.hub`."""

    process: subprocess.Popen[bytes]
    out: IO[bytes]
    err: IO[bytes]

    def ended(self, until: float) -> bool:
        """Waits for its end, until `time.monotonic()` is `until` at the latest."""
        try:
            self.process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True

    def result(self) -> str:
        """What it printed.

        Raises:
            Refused: it did not succeed.
        """
        said, complaint, status = _text(self.out), _text(self.err), self.process.returncode
        if status == 0:
            return said
        raise Refused(
            said if status == REFUSED else complaint.rpartition("\n")[2] or f"its download ended with status {status}"
        )


@contextmanager
def running(task: str, source: str, revision: str | None, *more: str) -> Iterator[Child]:
    """A child at work; leaving the context ends it, by an interrupt too."""
    words = [sys.executable, "-P", "-m", "finetune.hub", task, source, revision or "", *more]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:  # a pipe that nobody reads could fill up
        # A session of its own: of Ctrl-C it hears through the closed stdin, and no traceback of its own is shown.
        process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=out, stderr=err, env=_environment(), start_new_session=True
        )
        child = Child(process, out, err)
        try:
            yield child
        finally:
            _end(child)


def _environment() -> dict[str, str]:
    """This process's, from wherever it was started; without telemetry, which costs a request and tells nobody anything here."""
    root = str(Path(__file__).parents[1])
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": paths, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def _end(child: Child) -> None:
    if child.process.stdin:
        child.process.stdin.close()
    if not child.ended(time.monotonic() + END_S):
        child.process.kill()
        child.process.wait()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace").strip()
