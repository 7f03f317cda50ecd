"""Gets a checkpoint from a model hub onto this machine: safetensors weights and small files, no pickles and no code.

The download runs in a child process (`python -m retrieval.model_files SOURCE REVISION`), because a process can be ended and a
thread cannot. Beware: a folder in the hub cache proves nothing, since a download that was cut leaves one too.
"""

import json
import math
import os
import select
import shutil
import sys
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired
from typing import Any, NoReturn

import httpx2
from huggingface_hub import DryRunFileInfo, constants, errors, is_offline_mode, snapshot_download, try_to_load_from_cache

from retrieval.console import TELL_EVERY_S, say
from retrieval.encoder import ModelUnavailable

MIB, GIB = 1 << 20, 1 << 30
SPARE = GIB  # bytes of disk that a download leaves free
LIST_S = 20.0  # for the list of files, with looking up names and connecting to several addresses
MEASURE_S = 20.0  # from when on the rate of a download is believed
PATIENCE = 1.2  # times the time left that the rest may seem to take: rates increase
POLL_S = 0.1
END_S = 2.0  # for the child to remove its unfinished files
AT_ONCE = 2  # files; more share the line, and fewer of them are whole when the time is up

WEIGHTS, INDEX, SHARDS = "model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
CONFIGS = ("config.json", "generation_config.json", "tokenizer*.json", "special_tokens_map.json", "added_tokens.json")
PATTERNS = [WEIGHTS, INDEX, SHARDS, *TOKENIZERS, *CONFIGS, "merges.txt", "chat_template*.json", "chat_template*.jinja"]

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


class _Refused(Exception):
    """A checkpoint cannot be had; the message is the half of a sentence that says why and what to do."""


def download(source: str, revision: str | None, *, deadline: float = math.inf) -> Path:
    """The local folder of a hub checkpoint, downloaded now if it is not in the local hub cache.

    Without a `revision` it is the newest, or the newest that was downloaded; `deadline` is a `time.monotonic()`.

    Raises:
        ModelUnavailable: it cannot be had here, or not in time; one sentence says why and what to do.
    """
    name = f"{source}@{revision}" if revision else source
    try:
        if (folder := cached(source, revision)) is None:
            with _child(source, revision) as child:
                _follow(child, source, revision, _start(child, deadline), deadline)
            folder = cached(source, revision)
    except (_Refused, errors.HFValidationError, OSError) as error:  # OSError: an unreadable cache, no process to be had
        raise ModelUnavailable(f"{name} cannot be fetched: {error}") from error
    if folder is None:
        raise ModelUnavailable(f"{name} cannot be used: its index names files that it does not have: name another checkpoint")
    return folder


def cached(source: str, revision: str | None) -> Path | None:
    """The folder of a checkpoint that is whole in the local hub cache; asks no network."""
    config = try_to_load_from_cache(source, "config.json", revision=revision)
    if not isinstance(config, str):  # None, or a mark that the repository is known to have none
        return None
    folder = Path(config).parent
    names = {path.name for path in folder.iterdir() if path.is_file()}  # a link to a file that is gone is none
    if _lack(names):
        return None
    try:
        shards = () if WEIGHTS in names else json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
    except (ValueError, KeyError):
        return None
    return folder if names.issuperset(shards) else None


def _lack(names: Collection[str]) -> str:
    """What a repository or folder with these files lacks to be a checkpoint; empty if nothing."""
    if "config.json" not in names:
        return "config.json"
    if WEIGHTS not in names and INDEX not in names:
        return "weights in safetensors"
    return "" if any(name in names for name in TOKENIZERS) else "tokenizer"


@contextmanager
def _child(source: str, revision: str | None) -> Iterator[Popen[str]]:
    """A process that talks to the hub; leaving the context ends it, by an interrupt too."""
    if is_offline_mode():
        raise _Refused("it is not whole in the local hub cache, and HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set: unset it")
    words = [sys.executable, "-P", "-m", "retrieval.model_files", source, revision or ""]
    paths = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
    # Quiet, since a pipe that is not read until the end could fill up.
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_VERBOSITY": "error"}
    environment = {**os.environ, **quiet, "PYTHONPATH": paths}
    # A session of its own: Ctrl-C reaches it as a closed stdin, so it removes its files and shows no traceback.
    child = Popen(words, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment, text=True, start_new_session=True)
    try:
        yield child
    finally:
        try:
            child.communicate(timeout=END_S)  # closes its stdin
        except TimeoutExpired:
            child.kill()
            child.wait()


def _start(child: Popen[str], deadline: float) -> int:
    """Lets the child download what is a checkpoint and fits on the disk; returns how many bytes that is."""
    assert child.stdin
    assert child.stdout
    if not select.select([child.stdout], [], [], max(0.0, min(deadline - time.monotonic(), LIST_S)))[0]:
        raise _Refused("the hub did not answer in the time there was: check the network, or name a local folder")
    if not (line := child.stdout.readline()):
        raise _failure(child)
    names, missing = json.loads(line)
    if lack := _lack(names):
        raise _Refused(f"found no {lack} in the repository, expected a checkpoint in safetensors: name another")
    cache = Path(constants.HF_HUB_CACHE).absolute()
    place = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    if (free := shutil.disk_usage(place).free) < missing + SPARE:
        needed = f"found {free / GIB:.1f} GiB free in {place}, needed {(missing + SPARE) / GIB:.1f} GiB"
        raise _Refused(f"{needed}: make room, or set HF_HOME to a folder on a larger disk")
    print(file=child.stdin, flush=True)
    return int(missing)


def _failure(child: Popen[str]) -> _Refused:
    """The last line of what the child complained about: its reason, or the error that ended it."""
    complaint = child.communicate()[1].strip().rpartition("\n")[2]
    return _Refused(complaint or f"its download ended with status {child.returncode}")


def _follow(child: Popen[str], source: str, revision: str | None, missing: int, deadline: float) -> None:
    """Waits for the child as long as it can be in time. How far it is, the disk says: it is the same for HTTP and xet."""
    say(f"fetching {source}: {missing / GIB:.2f} GiB")
    before, began = _held(source), time.monotonic()
    told = began
    while child.poll() is None:
        now = time.monotonic()
        done, spent = _held(source) - before, now - began
        state = f"{done / GIB:.2f} of {missing / GIB:.2f} GiB arrived, {done / spent / MIB:.1f} MiB/s"
        if now >= deadline or hopeless(done, missing, spent_s=spent, left_s=deadline - now):
            command = f"hf download {source}" + (f" --revision {revision}" if revision else "")
            cure = f"fetch it before the run with `{command}`, or allow more time (files that are whole are kept)"
            raise _Refused(f"{state}, too slow for the time budget; {cure}")
        if now - told > TELL_EVERY_S:
            say(f"  {state}")
            told = now
        time.sleep(POLL_S)
    if child.returncode:
        raise _failure(child)


def hopeless(done: int, total: int, *, spent_s: float, left_s: float) -> bool:
    """Whether a download that brought `done` bytes in `spent_s` seconds cannot bring the rest in `left_s`."""
    rest = total - done  # not above 0 where the hub tells no sizes: then only the deadline counts
    return spent_s >= MEASURE_S and rest * spent_s > done * PATIENCE * left_s


def _held(source: str) -> int:
    """Bytes that the cache holds of a repository, unfinished files included."""
    held = 0
    for path in Path(constants.HF_HUB_CACHE).glob(f"models--{source.replace('/', '--')}/blobs/*"):
        with suppress(OSError):  # renamed between the listing and the look
            found = path.stat()  # some file systems give a file its length before its bytes, some give it spare blocks
            held += min(found.st_size, found.st_blocks * 512)
    return held


def main() -> None:
    """The child: prints what is missing, and after a line on stdin downloads it; a refusal is one sentence on stderr."""
    source, revision = sys.argv[1:]
    allowed = threading.Event()
    threading.Thread(target=_obey_stdin, args=(allowed,), daemon=True).start()
    constants.DOWNLOAD_CHUNK_SIZE = MIB  # after which a file is seen to grow; the default 10 hide a slow line for too long
    try:
        files = listed(source, revision or None)
        names = [file.filename for file in files]
        print(json.dumps([names, sum(file.file_size or 0 for file in files if file.will_download)]), flush=True)
        allowed.wait()
        snapshot_download(source, revision=files[0].commit_hash, allow_patterns=names, max_workers=AT_ONCE)
    except (httpx2.HTTPError, json.JSONDecodeError, OSError) as error:
        sys.exit(reason(error))


def listed(source: str, revision: str | None) -> list[DryRunFileInfo]:
    """The wanted files of a repository, none in folders; no shards where one file has all weights, as transformers does it."""
    files = snapshot_download(source, revision=revision, allow_patterns=PATTERNS, ignore_patterns="*/*", dry_run=True)
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
