"""Our cache of models: an entry is whole or not there, and one run at a time makes it.

An entry is made in a folder `unfinished-NAME-...` beside its place and renamed when it is whole. Runs that want the same entry
wait for each other at a lock file; whoever holds it also removes what killed runs left.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from retrieval.console import say
from retrieval.downloads import seconds_left
from retrieval.errors import Refused

MODEL = "model"  # in an unfinished folder, what becomes the entry


def cache_folder() -> Path:
    """Where fetched and converted models are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thirty-tickets"


@contextmanager
def locked(name: str, *, deadline: float) -> Iterator[None]:
    """Holds the lock of an entry; waits for another run that holds it, until the deadline.

    Raises:
        Refused: the other run takes too long, or the cache folder cannot be written.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{name}.lock")
        _acquire(lock, name, deadline)
    except Timeout as error:
        raise Refused(f"another run is still making {folder / name}: wait for it, or allow more time") from error
    except (OSError, NotImplementedError) as error:  # the second: a file system without locks
        reason = getattr(error, "strerror", None) or error
        raise Refused(f"the cache folder {folder} cannot be written ({reason}): set XDG_CACHE_HOME to one that can") from error
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock, name: str, deadline: float) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"waiting for another run that fetches or converts {name}")
        lock.acquire(timeout=seconds_left(deadline))


@contextmanager
def new_entry(name: str) -> Iterator[Path]:
    """A folder to work in, whose subfolder `MODEL` becomes the entry when the block ends without an error; needs the lock.

    Whatever else is in the folder goes, by an interrupt too.
    """
    for left in cache_folder().glob(f"unfinished-{name}-*"):  # of killed runs: nobody else works under this lock
        shutil.rmtree(left, ignore_errors=True)
    work = Path(tempfile.mkdtemp(dir=cache_folder(), prefix=f"unfinished-{name}-"))
    try:
        yield work
        (work / MODEL).rename(cache_folder() / name)  # atomic: an entry under its name is whole
    finally:
        shutil.rmtree(work, ignore_errors=True)


def discard(name: str) -> None:
    """Removes an entry; needs the lock. It loses its name first, so that half of it is never found."""
    work = Path(tempfile.mkdtemp(dir=cache_folder(), prefix=f"unfinished-{name}-"))
    (cache_folder() / name).rename(work / MODEL)
    shutil.rmtree(work, ignore_errors=True)
