"""Gets a checkpoint from a model hub onto this machine, within the time and the disk there is.

A checkpoint that lies whole in the local hub cache is taken from there and no network is asked. Else a child process (`hub`)
lists the files, then fetches them; it is ended at the deadline, and sooner if the measured rate shows that it cannot make it,
since whoever falls back to a smaller base needs the time that is left. How far a download is, the disk says: it is the one
thing that plain HTTP and xet have in common.

What it does not know: which base is wanted and what is done without it, what the hub's answers look like.
"""

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants, is_offline_mode
from huggingface_hub.errors import HFValidationError

from finetune.child import Refused, running
from finetune.snapshot import cached, lacks, small, weights
from retrieval.console import TELL_EVERY_S, say
from retrieval.encoder import ModelUnavailable

GIB = 1 << 30
SPARE = GIB  # bytes of disk that a download leaves free
LIST_S = 20.0  # for the list of files, with looking up names and connecting to several addresses
MEASURE_S = 20.0  # from when on the rate of a download is believed
PATIENCE = 1.2  # times the time left that the rest may seem to take: rates increase
POLL_S = 0.2


def fetch(source: str, revision: str | None, *, deadline: float) -> Path:
    """The local folder of a hub checkpoint, downloaded now if it is not there.

    Args:
        source: the hub id.
        revision: a branch, a tag or a commit; None is the newest, or the newest that was fetched.
        deadline: `time.monotonic()` at which to give up.

    Raises:
        ModelUnavailable: it cannot be had here, or not in time; one sentence says why and what to do.
    """
    wanted = Wanted(source, revision)
    try:
        if (folder := cached(source, revision)) is None:
            _fetch(wanted, deadline)
            folder = cached(source, revision)
    except (Refused, HFValidationError, OSError) as error:  # OSError: a cache that cannot be read, no process to be had
        raise ModelUnavailable(f"{wanted} cannot be fetched: {error}") from error
    if folder is None:
        raise ModelUnavailable(f"{wanted} cannot be used: its index names files that it does not have: name another checkpoint")
    return folder


@dataclass(frozen=True, slots=True)
class Wanted:
    """A checkpoint on a hub."""

    source: str
    revision: str | None

    @property
    def blobs(self) -> Path:
        """Where the cache keeps the contents of its files."""
        return Path(constants.HF_HUB_CACHE).absolute() / f"models--{self.source.replace('/', '--')}" / "blobs"

    def __str__(self) -> str:
        return f"{self.source}@{self.revision}" if self.revision else self.source


def _fetch(wanted: Wanted, deadline: float) -> None:
    if is_offline_mode():
        raise Refused("it is not whole in the local hub cache, and HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set: unset it")
    missing = _missing(wanted, _listed(wanted, deadline))
    _check_disk(wanted, missing)
    _download(wanted, missing, deadline)


def _listed(wanted: Wanted, deadline: float) -> list[tuple[str, int, str]]:
    """The repository's files, as `hub.listed` tells them."""
    with running("list", wanted.source, wanted.revision) as child:
        if not child.ended(min(deadline, time.monotonic() + LIST_S)):
            raise Refused("the hub did not answer in the time there was: check the network, or name a local folder")
        files: list[tuple[str, int, str]] = json.loads(child.result())
    return files


def _missing(wanted: Wanted, files: list[tuple[str, int, str]]) -> int:
    """How many bytes are to be fetched."""
    sizes = {name: 0 if (wanted.blobs / blob).is_file() else size for name, size, blob in files}
    if lack := lacks(sizes):
        raise Refused(f"found no {lack} in the repository, expected a checkpoint in safetensors: name another")
    return sum(sizes[name] for name in (*small(sizes), *weights(sizes)))


def _check_disk(wanted: Wanted, missing: int) -> None:
    place = next(folder for folder in wanted.blobs.parents if folder.is_dir())
    free = shutil.disk_usage(place).free
    if free < missing + SPARE:
        needed = f"found {free / GIB:.1f} GiB free in {place}, needed {(missing + SPARE) / GIB:.1f} GiB"
        raise Refused(f"{needed}: make max_new_tokens, or set HF_HOME to a folder on a larger disk")


def _download(wanted: Wanted, missing: int, deadline: float) -> None:
    """Fetches what is missing, as long as there is hope."""
    say(f"fetching {wanted}: {missing / GIB:.2f} GiB")
    before, began = _held(wanted.blobs), time.monotonic()
    told = began
    with running("get", wanted.source, wanted.revision, str(wanted.blobs.parents[1])) as child:
        while not child.ended(min(deadline, time.monotonic() + POLL_S)):
            now = time.monotonic()
            state = Progress(_held(wanted.blobs) - before, missing, now - began)
            if now >= deadline or state.hopeless(deadline - now):
                raise Refused(_out_of_time(wanted, state))
            if now - told > TELL_EVERY_S:
                say(f"  {state}")
                told = now
        child.result()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a download is: bytes there, bytes in all, seconds so far."""

    done: int
    total: int
    spent_s: float

    def hopeless(self, left_s: float) -> bool:
        """Whether the measured rate cannot finish in `left_s` seconds."""
        rest = self.total - self.done  # not above 0 where the hub tells no sizes: then only the deadline counts
        return self.spent_s >= MEASURE_S and rest * self.spent_s > self.done * PATIENCE * left_s

    def __str__(self) -> str:
        rate = self.done / self.spent_s / (1 << 20)
        return f"{self.done / GIB:.2f} of {self.total / GIB:.2f} GiB arrived, {rate:.1f} MiB/s"


def _out_of_time(wanted: Wanted, state: Progress) -> str:
    pinned = f" --revision {wanted.revision}" if wanted.revision else ""
    cure = f"fetch it before the run with `hf download {wanted.source}{pinned}`, or allow more time"
    return f"{state}, too slow for the time budget; {cure} (files that are whole are kept for a second run)"


def _held(blobs: Path) -> int:
    """Bytes that the cache holds of a repository, unfinished files included."""
    held = 0
    for path in blobs.glob("*"):
        try:
            found = path.stat()
        except OSError:  # renamed between the listing and the look
            continue
        held += min(found.st_size, found.st_blocks * 512)  # a file may be given its length before its bytes
    return held
