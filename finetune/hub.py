"""The part of a fetch that talks to a model hub. It runs in a process of its own: a process can be ended, a thread cannot.

    python -m finetune.hub list SOURCE REVISION         prints the files as JSON: [[name, size, name in the cache], ...]
    python -m finetune.hub get SOURCE REVISION CACHE    puts the checkpoint into the cache

An empty REVISION is the newest. What the hub refuses is one sentence on stdout and the status REFUSED. The process ends when
its stdin is closed, so also when the run that started it was killed, and takes its unfinished files along: huggingface_hub 2
gives each a name of its own and never looks at them again. Whole files stay and are not fetched twice.

What it does not know: how much time or disk there is.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import httpx2
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from finetune.snapshot import small, weights

REFUSED = 3
ANSWER_S = 10.0  # how long the hub may stay silent
PIECE = 1 << 20  # bytes after which a file is seen to grow; huggingface_hub's 10 MiB hide a slow line for too long
AT_ONCE = 2  # weight files; xet fills the line with one, and few at once means that some are whole when the time is up

REASONS: tuple[tuple[type[Exception], str], ...] = (  # the first that fits
    (GatedRepoError, "its weights are gated: accept the terms on its page at the hub and set HF_TOKEN"),
    (RevisionNotFoundError, "there is no such revision: name a branch, a tag or a commit of it"),
    (RepositoryNotFoundError, "the hub has no such repository, or it is private: check the name, or set HF_TOKEN"),
    (HfHubHTTPError, "the hub answers HTTP {status}: {advice}"),
    (httpx2.HTTPError, "the hub cannot be reached ({error}): check the network, or name a local folder"),
    (json.JSONDecodeError, "something that is no model hub answers: check HF_ENDPOINT and the network's login page"),
    (OSError, "the download failed ({error}): run it again, and see that HF_HOME is a folder that can be written"),
)
ADVICE = {401: "set an HF_TOKEN that may read it", 403: "set an HF_TOKEN that may read it", 404: "check HF_ENDPOINT"}

File = tuple[str, int, str]


def listed(source: str, revision: str | None) -> list[File]:
    """Every file of the repository: its name, its bytes, its name among the cache's blobs."""
    found = HfApi().model_info(source, revision=revision, files_metadata=True, timeout=ANSWER_S)
    files = found.siblings or []
    return [(file.rfilename, file.size or 0, (file.lfs.sha256 if file.lfs else file.blob_id) or "") for file in files]


def get(source: str, revision: str | None, cache: str) -> None:
    """Puts the wanted files into the cache, the weights last."""
    constants.DOWNLOAD_CHUNK_SIZE = PIECE
    names = [name for name, _, _ in listed(source, revision)]
    folder = snapshot_download(source, revision=revision, cache_dir=cache, allow_patterns=small(names))
    commit = Path(folder).name  # a branch may move between the two
    snapshot_download(source, revision=commit, cache_dir=cache, allow_patterns=weights(names), max_workers=AT_ONCE)


def reason(error: Exception) -> str:
    """What went wrong and what to do, the second half of a sentence."""
    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        return reason(error.__cause__)  # huggingface_hub's wrapping of whatever went wrong on the way
    for kind, text in REASONS:
        if isinstance(error, kind):
            status = error.response.status_code if isinstance(error, HfHubHTTPError) else 0
            return text.format(status=status, advice=ADVICE.get(status, "try again later"), error=_first_line(error))
    return _first_line(error)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _unfinished() -> Iterator[Path]:
    """The partial files that this process has open, where the system tells (Linux)."""
    for link in Path("/proc/self/fd").glob("*"):
        try:
            path = Path(os.readlink(link))
        except OSError:  # closed while we looked
            continue
        if path.suffix == ".incomplete":
            yield path


def _end_with_stdin() -> NoReturn:
    os.read(0, 1)  # nobody writes: it returns at the end
    for _ in range(5):  # the other threads go on meanwhile and may open the next file
        for path in _unfinished():
            path.unlink(missing_ok=True)
        time.sleep(0.02)
    os._exit(1)  # at once, whatever the other threads wait for


def main(words: list[str]) -> int:
    """Does what the words say; the status of the process."""
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    what, source, revision, *rest = words
    tasks: dict[str, Callable[[], object]] = {
        "list": lambda: listed(source, revision or None),
        "get": lambda: get(source, revision or None, rest[0]),
    }
    try:
        print(json.dumps(tasks[what]()))
    except (httpx2.HTTPError, OSError, HFValidationError, json.JSONDecodeError) as error:
        print(reason(error))
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
