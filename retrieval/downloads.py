"""What all downloads have in common: room on the disk, a line about how far they are, an end in time.

A download runs in a child process, because a process can be ended and a thread cannot; how far it is, the disk says.
"""

import math
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from subprocess import Popen, TimeoutExpired

from retrieval.console import say
from retrieval.errors import Refused

MIB, GIB = 1 << 20, 1 << 30
SPARE = GIB  # bytes of disk that a download leaves free
MEASURE_S = 20.0  # from when on the rate of a download is believed
PATIENCE = 1.2  # times the time left that the rest may seem to take: rates increase
POLL_S = 0.1
SAY_EVERY_S = 5.0
END_S = 2.0  # for a child to remove its unfinished files


def check_disk(folder: Path, needed: int, *, cure: str) -> None:
    """Refuses a download of `needed` bytes into a folder (it need not exist yet) whose disk has no room for it.

    Raises:
        Refused: with what is free and what is needed.
    """
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    if (free := shutil.disk_usage(place).free) < needed + SPARE:
        raise Refused(f"found {free / GIB:.1f} GiB free in {place}, needed {(needed + SPARE) / GIB:.1f} GiB: {cure}")


def follow(
    child: "Popen[str] | Popen[bytes]",
    what: str,
    total: int,
    arrived: Callable[[], int],
    *,
    deadline: float,
    cure: str,
) -> None:
    """Waits until a download process ends, as long as it can be in time.

    Args:
        child: the process; what its end means is for the caller to say.
        what: is fetched, for the progress line.
        total: bytes that it will bring.
        arrived: bytes that have come so far.
        deadline: a `time.monotonic()`.
        cure: what to do where it is too slow.

    Raises:
        Refused: the deadline is there, or the rate says that it cannot be kept.
    """
    say(f"fetching {what}: {total / GIB:.2f} GiB")
    began = told = time.monotonic()
    while child.poll() is None:
        now = time.monotonic()
        done, spent = arrived(), now - began
        state = f"{done / GIB:.2f} of {total / GIB:.2f} GiB arrived, {done / max(spent, POLL_S) / MIB:.1f} MiB/s"
        if now >= deadline or hopeless(done, total, spent_s=spent, left_s=deadline - now):
            silent = f"nothing of {total / GIB:.2f} GiB arrived in {spent:.0f} s: check the network"
            raise Refused(f"{state}, too slow for the time budget; {cure}" if done > 0 else silent)
        if now - told > SAY_EVERY_S:
            say(f"  {state}")
            told = now
        time.sleep(POLL_S)


def hopeless(done: int, total: int, *, spent_s: float, left_s: float) -> bool:
    """Whether a download that brought `done` bytes in `spent_s` seconds cannot bring the rest in `left_s`."""
    rest = total - done  # not above 0 where no sizes are told: then only the deadline counts
    return spent_s >= MEASURE_S and rest * spent_s > done * PATIENCE * left_s


def held(paths: Iterable[Path]) -> int:
    """Bytes that files hold on the disk, unfinished ones included."""
    total = 0
    for path in paths:
        with suppress(OSError):  # renamed between the listing and the look
            found = path.stat()  # some file systems give a file its length before its bytes, some give it spare blocks
            total += min(found.st_size, found.st_blocks * 512)
    return total


def end(child: "Popen[str] | Popen[bytes]") -> None:
    """Ends a child that watches its stdin: by closing it, and by force where that is not enough."""
    try:
        child.communicate(timeout=END_S)  # closes its stdin
    except TimeoutExpired:
        child.kill()
        child.wait()


def seconds_left(deadline: float) -> float:
    """Seconds until a deadline, at least 0; infinite without one."""
    return math.inf if math.isinf(deadline) else max(0.0, deadline - time.monotonic())
