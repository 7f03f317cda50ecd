"""make lock: resolves the requirements once, for all platforms, and writes two files with the hashes of all that is installed.

    requirements.lock        what every machine installs
    requirements-cuda.lock   what torch's CUDA build needs besides, and 4-bit loading

Two files, because pip cannot be told by a marker which build of torch it took: the CUDA build of the default index needs
gigabytes of libraries, the CPU build of other indexes none. Installed is with `--no-deps`, for pip would want the CUDA build's
libraries in the first file; `pip check` then says whether the second one is needed. Versions that are locked stay as they are
unless a requirement forbids them; `make lock LOCK_OPTIONS=--upgrade` takes the newest.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

SOURCES = ("requirements.txt", "requirements-gpu.txt")
LOCK, CUDA_LOCK = "requirements.lock", "requirements-cuda.lock"
CUDA_NAME = re.compile(r"(nvidia-[\w-]+|cuda-[\w-]+|triton|bitsandbytes)==")
BLOCK = re.compile(r"^\w", re.MULTILINE)  # where a package begins
# Files that the default index does not have, by the pin that they belong to: the CPU build of CPython 3.11 for Linux on x86_64.
FURTHER_HASHES = {"torch==2.13.0": "sha256:6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"}
HEAD = """\
# All that `make run` installs, on CPython 3.11 or later, with the hashes of every file of the default package index.
# Made by `make lock` out of requirements.txt; not to be edited.
#
#     pip install --no-deps --require-hashes -r requirements.lock
#     pip check || pip install --no-deps --require-hashes -r requirements-cuda.lock
#
# The second line is for torch's CUDA build, which the default index has for Linux: its libraries stand in the second file.
# Of the CPU builds on other indexes one is known here, the last hash of torch: 2.13.0+cpu of CPython 3.11 for Linux on x86_64.
# Whoever needs another one installs requirements.txt, whose pins are the same and which has no hashes.
"""
CUDA_HEAD = """\
# What torch's CUDA build needs besides requirements.lock, and bitsandbytes for 4-bit loading; made by `make lock`.
# Nothing in it is installed anywhere but on Linux, except bitsandbytes.
"""


class NoLock(Exception):
    """The files cannot be made; says why and what to do."""


def main(options: Sequence[str]) -> int:
    """Writes both files; `options` are further ones of `uv pip compile`."""
    try:
        lock, cuda = split(compiled(options))
    except NoLock as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    Path(LOCK).write_text(f"{HEAD}{lock}", encoding="utf-8")
    Path(CUDA_LOCK).write_text(f"{CUDA_HEAD}{cuda}", encoding="utf-8")
    return 0


def compiled(options: Sequence[str]) -> str:
    """All pins with their hashes, as uv resolves them.

    Raises:
        NoLock: uv finds no solution, or no index.
    """
    command = [sys.executable, "-m", "uv", "pip", "compile", "--universal", "--python-version", "3.11", "--generate-hashes"]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "requirements.lock"
        there = (Path(name) for name in (LOCK, CUDA_LOCK))
        output.write_text("".join(path.read_text(encoding="utf-8") for path in there if path.is_file()), encoding="utf-8")
        done = subprocess.run([*command, "--quiet", "--no-header", *options, *SOURCES, "--output-file", output], check=False)
        if done.returncode:
            raise NoLock("uv could not resolve the requirements: see above")
        return output.read_text(encoding="utf-8")


def split(pins: str) -> tuple[str, str]:
    """What every machine installs, with the further hashes; and what only the CUDA build needs.

    Raises:
        NoLock: a pin that further hashes belong to is gone.
    """
    starts = [match.start() for match in BLOCK.finditer(pins)]
    blocks = [pins[start:end] for start, end in zip(starts, [*starts[1:], len(pins)], strict=True)]
    lock = "".join(block for block in blocks if not CUDA_NAME.match(block))
    for pin, digest in FURTHER_HASHES.items():
        last = re.search(rf"^{re.escape(pin)} \\\n(?: +--hash=\S+ \\\n)* +--hash=\S+$", lock, re.MULTILINE)
        if not last:
            raise NoLock(
                f"found no {pin}, expected it: put the SHA-256 of the new CPU build (pip hash FILE) into tools/lock.py"
            )
        lock = f"{lock[: last.end()]} \\\n    --hash={digest}{lock[last.end() :]}"
    return lock, "".join(block for block in blocks if CUDA_NAME.match(block))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
