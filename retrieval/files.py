"""Files: written so that a crash never leaves half of one, and known by their SHA-256."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An error of the block names this path: where a disk is full, Python's own names none."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def write_text(path: Path, text: str) -> None:
    """Writes beside the target and renames: the target is the old file or the new one, never a part.

    Raises:
        OSError: that names the target.
    """
    with naming(path):
        _write_beside(path, text)


def _write_beside(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=".unfinished-", delete=False) as file:
        unfinished = Path(file.name)
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
    try:
        use_default_permissions(unfinished)
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """One JSON object, indented; a number that is not finite is a bug and raises ValueError."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def write_jsonl(path: Path, values: Iterable[Any]) -> None:
    """One JSON object per line."""
    write_text(path, "".join(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n" for value in values))


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file in a folder that nobody looks into yet; an OSError names it."""
    with naming(path):
        path.write_bytes(data)


def write_by(library: Callable[[], object], path: Path) -> None:
    """Calls a library that writes below a path.

    Raises:
        OSError: it failed; safetensors and tokenizers raise errors of their own where a disk is full.
    """
    with naming(path):
        try:
            library()
        except OSError:
            raise
        except Exception as error:  # tokenizers raises Exception itself
            raise OSError(None, next(iter(str(error).strip().splitlines()), type(error).__name__)) from error


def use_default_permissions(path: Path) -> None:
    """Gives a file the permissions of any new file: temporary files, and those that safetensors writes, are private."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_sha256(folder: Path) -> str:
    """SHA-256 over names and contents of a folder's safetensors files, in hex."""
    whole = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        whole.update(f"{path.name}:{sha256(path)}\n".encode())
    return whole.hexdigest()


def lookup_problem(path: Path) -> str:
    """Why one cannot even ask whether a path exists (too long a name, no permission); empty if one can."""
    try:
        path.exists()
    except (OSError, ValueError) as error:
        return f"a path that cannot be looked up ({getattr(error, 'strerror', None) or error})"
    return ""
