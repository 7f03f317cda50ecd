"""make lock: resolves the requirements once, for all platforms, and writes the files with the hashes of all that is installed.

    requirements.lock        all but torch
    requirements-cpu.lock    torch's CPU build, which the default package index does not have for Linux
    requirements-cuda.lock   torch as the default index has it, the libraries that its CUDA build needs, 4-bit loading

No marker tells pip which build of torch it will take, and in one file with both it takes the default index's whatever else is
at hand. So `make run` asks for the CPU build, which fails at once where there is none, and then for the other. It installs with
`--no-deps`: the files are complete, which `pip check` confirms. A locked version stays unless a requirement forbids it;
`make lock LOCK_OPTIONS=--upgrade` takes the newest.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

SOURCES = ("requirements.txt", "requirements-gpu.txt")
LOCK, CPU_LOCK, CUDA_LOCK = "requirements.lock", "requirements-cpu.lock", "requirements-cuda.lock"
TORCH_NAME = re.compile(r"(torch|nvidia-[\w-]+|cuda-[\w-]+|triton|bitsandbytes)==")
BLOCK = re.compile(r"^\w", re.MULTILINE)  # where a package begins
# The file torch-VERSION+cpu-cp311-cp311-manylinux_2_28_x86_64.whl, by torch's version.
CPU_BUILDS = {"2.13.0": "sha256:6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"}
HEAD = """\
# All that `make run` installs but torch, for CPython 3.11 or later on any platform, with the hashes of every file of the
# default package index. Made by `make lock` out of requirements.txt; not to be edited.
#
#     pip install --no-deps --require-hashes -r requirements.lock
#     pip install --no-deps --require-hashes -r requirements-cpu.lock || pip install ... -r requirements-cuda.lock
#
# What falls short: of torch's CPU builds only that of CPython 3.11 for Linux on x86_64 is known, so any other machine gets the
# build of the default index, for Linux with gigabytes of CUDA libraries. To take another build, install requirements.txt, which
# has the same pins and no hashes.
"""
CPU_HEAD = """\
# torch's CPU build for CPython 3.11 on Linux x86_64, where pip finds it (--extra-index-url, --find-links); made by `make lock`.
"""
CUDA_HEAD = """\
# torch as the default index has it, on Linux with what its CUDA build needs, and bitsandbytes for 4-bit loading; made by
# `make lock`.
"""


class NoLock(Exception):
    """The files cannot be made; says why and what to do."""


def main(options: Sequence[str]) -> int:
    """Writes the files; `options` are further ones of `uv pip compile`."""
    try:
        files = split(compiled(options))
    except NoLock as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, text in files.items():
        Path(name).write_text(text, encoding="utf-8")
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


def split(pins: str) -> dict[str, str]:
    """The text of each file, by its name.

    Raises:
        NoLock: the CPU build of this version of torch is not known.
    """
    starts = [match.start() for match in BLOCK.finditer(pins)]
    blocks = [pins[start:end] for start, end in zip(starts, [*starts[1:], len(pins)], strict=True)]
    version = next(re.findall(r"torch==([\w.]+)", block)[0] for block in blocks if block.startswith("torch=="))
    if version not in CPU_BUILDS:
        cure = "put the SHA-256 of its file for CPython 3.11 on Linux x86_64 (pip hash FILE) into .ci/lock.py"
        raise NoLock(f"found torch {version}, expected one whose CPU build is known: {cure}")
    return {
        LOCK: HEAD + "".join(block for block in blocks if not TORCH_NAME.match(block)),
        CPU_LOCK: f"{CPU_HEAD}torch=={version}+cpu \\\n    --hash={CPU_BUILDS[version]}\n",
        CUDA_LOCK: CUDA_HEAD + "".join(block for block in blocks if TORCH_NAME.match(block)),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
