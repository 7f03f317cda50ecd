"""One writer of a weights folder at a time, and no reader while it writes.

The lock is on the folder itself, so nothing is left in it, a folder that cannot be written can be read under it, and a process
that is killed gives it back. Where the file system or the operating system has no such locks, none is held.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl


@contextmanager
def locked_folder(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Holds the lock of a folder that is there, `shared` with others who only read; waits for whoever holds it otherwise."""
    if sys.platform == "win32":
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, kind: int) -> None:
    try:
        fcntl.flock(handle, kind)
    except OSError:  # a file system without locks
        return
