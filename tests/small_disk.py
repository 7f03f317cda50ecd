"""Disks that are small or cannot be written, where the tests may mount one."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PAGE = 4096  # bytes, in which a tmpfs is counted


@contextmanager
def mounted(folder: Path, *, size: int) -> Iterator[Path]:
    """A small disk at a new folder; skips the test where none can be made."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("no permission to mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """A folder in which nothing can be written, not even by root."""
    if os.geteuid():
        folder.mkdir()
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
        return
    with mounted(folder, size=PAGE):
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        yield folder
