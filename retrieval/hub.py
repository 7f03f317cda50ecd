"""Gets a model from a hub onto this machine: safetensors weights (or one GGUF file) and small files, no pickles and no code.

The download runs in a child process (`python -m retrieval.hub SOURCE REVISION LAYOUT`). Beware: a folder in the hub cache
proves nothing, since a download that was cut leaves one too.
"""

import json
import os
import select
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, NoReturn

import httpx2
from huggingface_hub import DryRunFileInfo, constants, errors, is_offline_mode, snapshot_download, try_to_load_from_cache

from retrieval.checkpoint_files import WEIGHTS, Layout
from retrieval.downloads import MIB, check_disk, end, follow, held, seconds_left
from retrieval.errors import Refused

LIST_S = 20.0  # for the list of files, with looking up names and connecting to several addresses
AT_ONCE = 2  # files; more share the line, and fewer of them are whole when the time is up

REASONS: tuple[tuple[type[Exception], str], ...] = (  # the first that fits
    (errors.GatedRepoError, "its weights are gated: accept the terms on its page at the hub and set HF_TOKEN"),
    (errors.RevisionNotFoundError, "there is no such revision: name a branch, a tag or a commit of it"),
    (errors.RepositoryNotFoundError, "the hub has no such repository, or it is private: check the name, or set HF_TOKEN"),
    (errors.HfHubHTTPError, "the hub answers HTTP {status}: {advice}"),
    (httpx2.HTTPError, "the hub cannot be reached ({error}): check the network, or name a local folder"),
    (json.JSONDecodeError, "something that is no model hub answers: check HF_ENDPOINT and the network's login page"),
    (OSError, "the download failed ({error}): run it again, and see that HF_HOME is a folder that can be written"),
)
ADVICE = {401: "set an HF_TOKEN that may read it", 403: "set an HF_TOKEN that may read it", 404: "check HF_ENDPOINT"}


def download(source: str, revision: str | None, layout: Layout, *, deadline: float) -> Path:
    """The local folder of a hub repository, downloaded now if it is not whole in the local hub cache.

    Without a `revision` it is the newest, or the newest that was downloaded; `deadline` is a `time.monotonic()`.

    Raises:
        Refused: it cannot be had here, or not in time.
    """
    try:
        if (folder := cached(source, revision, layout)) is None:
            with _child(source, revision, layout) as child:
                _follow(child, source, revision, _start(child, layout, deadline), deadline)
            folder = cached(source, revision, layout)
    except (errors.HFValidationError, OSError) as error:  # OSError: an unreadable cache, no process to be had
        raise Refused(str(error)) from error
    if folder is None:
        raise Refused("its index names files that it does not have, or has as pickles only: name another")
    return folder


def cached(source: str, revision: str | None, layout: Layout) -> Path | None:
    """The folder of a model that is whole in the local hub cache; asks no network."""
    for entry in layout.entries:
        found = try_to_load_from_cache(source, entry, revision=revision)
        if isinstance(found, str) and layout.is_whole(folder := Path(found).parent):  # else None, or a mark that there is none
            return folder
    return None


@contextmanager
def _child(source: str, revision: str | None, layout: Layout) -> Iterator[Popen[str]]:
    """A process that talks to the hub; leaving the context ends it, by an interrupt too."""
    if is_offline_mode():
        raise Refused("it is not whole in the local hub cache, and HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set: unset it")
    words = [sys.executable, "-P", "-m", "retrieval.hub", source, revision or "", json.dumps(asdict(layout))]
    paths = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
    # Quiet, since a pipe that is not read until the end could fill up.
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_VERBOSITY": "error"}
    environment = {**os.environ, **quiet, "PYTHONPATH": paths}
    # A session of its own: Ctrl-C reaches it as a closed stdin, so it removes its files and shows no traceback.
    child = Popen(words, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment, text=True, start_new_session=True)
    try:
        yield child
    finally:
        end(child)


def _start(child: Popen[str], layout: Layout, deadline: float) -> int:
    """Lets the child download what is a model and fits on the disk; returns how many bytes that is."""
    assert child.stdin
    assert child.stdout
    if not select.select([child.stdout], [], [], min(seconds_left(deadline), LIST_S))[0]:
        raise Refused("the hub did not answer in the time there was: check the network, or name a local folder")
    if not (line := child.stdout.readline()):
        raise _failure(child)
    names, missing = json.loads(line)
    if lack := layout.lack(names):
        raise Refused(f"found no {lack} in the repository, expected a model in safetensors: name another")
    check_disk(Path(constants.HF_HUB_CACHE), missing, cure="make room, or set HF_HOME to a folder on a larger disk")
    print(file=child.stdin, flush=True)
    return int(missing)


def _failure(child: Popen[str]) -> Refused:
    """The last line of what the child complained about: its reason, or the error that ended it."""
    complaint = child.communicate()[1].strip().rpartition("\n")[2]
    return Refused(complaint or f"its download ended with status {child.returncode}")


def _follow(child: Popen[str], source: str, revision: str | None, missing: int, deadline: float) -> None:
    """Waits for the child as long as it can be in time. The disk tells the same for HTTP and xet."""
    blobs = Path(constants.HF_HUB_CACHE) / f"models--{source.replace('/', '--')}" / "blobs"
    before = held(blobs.glob("*"))
    command = f"hf download {source}" + (f" --revision {revision}" if revision else "")
    cure = f"fetch it before the run with `{command}`, or allow more time (files that are whole are kept)"
    follow(child, source, missing, lambda: held(blobs.glob("*")) - before, deadline=deadline, cure=cure)
    if child.returncode:
        raise _failure(child)


def main() -> None:
    """The child: prints what is missing, and after a line on stdin downloads it; a refusal is one sentence on stderr."""
    source, revision, words = sys.argv[1:]
    layout = Layout(**{key: tuple(value) for key, value in json.loads(words).items()})
    allowed = threading.Event()
    threading.Thread(target=_obey_stdin, args=(allowed,), daemon=True).start()
    constants.DOWNLOAD_CHUNK_SIZE = MIB  # after which a file is seen to grow; the default 10 hide a slow line for too long
    try:
        files = listed(source, revision or None, layout)
        names = [file.filename for file in files]
        print(json.dumps([names, sum(file.file_size or 0 for file in files if file.will_download)]), flush=True)
        allowed.wait()
        # Small files first: where the weights are whole, nothing that changes what the model says is missing.
        weights = [name for name in names if name.endswith((".safetensors", ".gguf"))]
        for group in filter(None, ([name for name in names if name not in weights], weights)):
            snapshot_download(source, revision=files[0].commit_hash, allow_patterns=group, max_workers=AT_ONCE)
    except (httpx2.HTTPError, json.JSONDecodeError, OSError) as error:
        sys.exit(reason(error))


def listed(source: str, revision: str | None, layout: Layout) -> list[DryRunFileInfo]:
    """The wanted files of a repository; no shards where one file has all weights, as transformers does it."""
    # The hub's `*` matches a slash, ours does not; each file that is listed in vain costs a request.
    ignored = None if any("/" in pattern for pattern in layout.patterns) else "*/*"
    allowed = list(layout.patterns)
    found = snapshot_download(source, revision=revision, allow_patterns=allowed, ignore_patterns=ignored, dry_run=True)
    files = [file for file in found if layout.wants(file.filename)]
    single = any(file.filename == WEIGHTS for file in files)
    return [file for file in files if not single or file.filename == WEIGHTS or not file.filename.startswith("model")]


def reason(error: BaseException) -> str:
    """What went wrong and what to do, the second half of a sentence."""
    if isinstance(error, errors.LocalEntryNotFoundError | errors.DryRunError) and error.__cause__:
        return reason(error.__cause__)  # huggingface_hub's wrapping of whatever went wrong on the way
    line = str(error).strip().partition("\n")[0] or type(error).__name__
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else 0
    text = next(text for kind, text in REASONS if isinstance(error, kind))
    return text.format(status=status, advice=ADVICE.get(status, "try again later"), error=line)


def _obey_stdin(allowed: threading.Event) -> NoReturn:
    """Allows the download at a line on stdin; when stdin closes, removes the unfinished files and ends the process."""
    unfinished: list[Path] = []  # huggingface_hub 2 gives each a name of its own and never looks at it again

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]).endswith(".incomplete"):
            if not allowed.is_set():
                raise OSError("the download is being ended")
            unfinished.append(Path(arguments[0]))

    sys.addaudithook(note)
    if os.read(0, 1):
        allowed.set()
        os.read(0, 1)
    allowed.clear()
    for _ in range(3):  # another thread may stand between its note and the file
        for path in unfinished:
            with suppress(OSError):  # it is whole by now, or gone
                path.unlink()
        time.sleep(0.02)
    os._exit(1)  # at once, whatever the other threads wait for


if __name__ == "__main__":
    main()
