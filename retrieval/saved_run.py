"""A finished run in its weights folder: found whole and unchanged, of this version, before anything of it is loaded.

Every file that the record lists is hashed, but for those that a user may change (the adapter's card). What is loaded afterwards
is JSON, safetensors and FAISS's own format, of the names that a run writes, so a record cannot lead out of the folder; encoder
and base are loaded as the options of the same values would be, and must have the digests that the record gives.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from retrieval import __version__
from retrieval.encoder import SentenceEncoder, encoder_problems, load_encoder
from retrieval.errors import ModelUnavailable
from retrieval.exemplars import EXEMPLARS
from retrieval.files import sha256
from retrieval.folder_lock import locked_folder
from retrieval.run_files import (
    CLASSIFIER,
    FORMAT,
    INDEX,
    NEXT,
    PROGRAM,
    RECORD,
    ROWS,
    RUN_FILES,
    VECTORS,
    YIELDING,
    finish_moving,
    listed_files,
    read_record,
)
from retrieval.tickets import InputProblems

NEEDED = (ROWS, VECTORS, INDEX, CLASSIFIER)
EXPECTED = "expected the folder of a finished run; run.py with --train makes one"


@dataclass(frozen=True, slots=True)
class SavedRun:
    """A weights folder that was found whole, and what its record says about retrieval."""

    folder: Path
    record: Mapping[str, Any]  # what run.json holds
    encoder: str  # the value of --encoder that loads the run's encoder
    encoder_name: str  # what the run called it
    encoder_digest: str  # of its weights
    lm_weight: float  # of the LM intent scores
    exemplars: int  # most of them in a prompt


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """No run changes the folder while the block lasts; what one that was cut off had begun is finished first.

    Raises:
        OSError: there is no such folder, or what was begun cannot be finished.
    """
    while True:
        if os.path.lexists(folder / NEXT):
            with locked_folder(folder):
                finish_moving(folder)
        with locked_folder(folder, shared=True):
            if not os.path.lexists(folder / NEXT):  # else a run came in between and was cut off
                yield
                return


def find_run(folder: Path) -> tuple[SavedRun | None, list[str]]:
    """The run in a weights folder, and a sentence for every problem; None if there is one."""
    run, problems = None, list[str]()
    with collected(folder, problems), reading(folder):
        run = checked_run(folder)
    return run, problems


@contextmanager
def collected(folder: Path, problems: list[str]) -> Iterator[None]:
    """What is wrong with the run in a folder ends the block and joins the problems, a sentence each."""
    try:
        yield
    except InputProblems as error:
        problems += error.problems
    except OSError as error:
        problems.append(f"{error.filename or folder}: cannot be read ({error.strerror or error}), {EXPECTED}")


def checked_run(folder: Path) -> SavedRun:
    """The run in a weights folder that nobody changes meanwhile (`reading`).

    Raises:
        InputProblems: it is not whole, or not of this version.
        OSError: a file cannot be read.
    """
    record = read_record(folder)
    if problems := _record_problems(folder, record) or _file_problems(folder, record):
        raise InputProblems(problems)
    try:
        return _saved_run(folder, record)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        problem = f"{folder / RECORD}: found something else, expected the record of a finished run"
        raise InputProblems([problem]) from error


@contextmanager
def unchanged(run: SavedRun) -> Iterator[None]:
    """No run changes the folder while the block lasts, and none has since it was checked.

    Raises:
        InputProblems: it is not whole any more.
        ModelUnavailable: another run has taken the place of this one.
    """
    with reading(run.folder):
        if checked_run(run.folder).record != run.record:
            raise ModelUnavailable(f"the run in {run.folder} was replaced meanwhile: ask again")
        yield


def load_encoder_of(run: SavedRun, choice: str | None = None, *, deadline: float = inf) -> SentenceEncoder:
    """The encoder that made the vectors of a run.

    Args:
        run: whose.
        choice: another value of --encoder that leads to the same weights.
        deadline: the `time.monotonic()` at which a download ends.

    Raises:
        ModelUnavailable: it cannot be had or loaded here, or it has other weights.
    """
    wanted = choice or run.encoder
    if problems := encoder_problems(wanted):
        raise ModelUnavailable(f"the encoder of the run in {run.folder} is gone: {problems[0]}")
    found = load_encoder(wanted, deadline=deadline)
    if found.files.digest != run.encoder_digest:
        expected = f"the one of the run in {run.folder}: {run.encoder_name}, {run.encoder_digest}"
        raise ModelUnavailable(f"the encoder {found.name} has the digest {found.files.digest}, expected {expected}")
    return found


def _record_problems(folder: Path, record: Mapping[str, Any]) -> list[str]:
    if record.get("program") != PROGRAM:
        return [f"{folder / RECORD}: found no record of {PROGRAM}, {EXPECTED}"]
    numbers = record.get("versions")
    version = numbers.get(PROGRAM) if isinstance(numbers, dict) else None
    if (version, record.get("format")) != (__version__, FORMAT):
        found = f"the run of version {version}, format {record.get('format')}"
        expected = f"expected version {__version__}, format {FORMAT}: train again with this version"
        return [f"{folder}: found {found}, {expected}"]
    return []


def _file_problems(folder: Path, record: dict[str, Any]) -> list[str]:
    """One sentence that names every file which is missing or has another content."""
    listed, given = listed_files(record), record.get("sha256")
    if strange := [str(name) for name in (given if isinstance(given, dict) else ()) if name not in RUN_FILES]:
        return [f"{folder / RECORD}: found {', '.join(strange)} among the files of the run, expected names that a run writes"]
    needed = dict.fromkeys(NEEDED) | {name: digest for name, digest in listed.items() if name not in YIELDING}
    missing = [name for name in needed if not (folder / name).is_file()]
    changed = [name for name, digest in needed.items() if name not in missing and sha256(folder / name) != digest]
    states = [f"{' and '.join(names)} {state}" for names, state in ((missing, "missing"), (changed, "changed")) if names]
    return [f"{folder}: found {', '.join(states)}, expected the files as the run left them: train again"] if states else []


def _saved_run(folder: Path, record: Mapping[str, Any]) -> SavedRun:
    encoder = record["encoder"]
    return SavedRun(
        folder=folder,
        record=record,
        encoder=str(encoder["choice"]),
        encoder_name=str(encoder["name"]),
        encoder_digest=str(encoder["digest"]),
        lm_weight=float(record["lm_scores"]["weight"]) if "lm_scores" in record else 0.0,
        exemplars=int(record["replies"]["exemplars"]) if "replies" in record else EXEMPLARS,
    )
