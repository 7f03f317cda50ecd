"""The lock files hold what requirements.txt pins, each with hashes; how they are made out of what uv finds."""

import re
import runpy
from pathlib import Path

import pytest

from tests.test_run import ROOT

SCRIPT = runpy.run_path(str(ROOT / ".ci" / "lock.py"))
CPU_BUILDS, SOURCES, NoLock, split = (SCRIPT[name] for name in ("CPU_BUILDS", "SOURCES", "NoLock", "split"))
LOCK, CPU_LOCK, CUDA_LOCK = (SCRIPT[name] for name in ("LOCK", "CPU_LOCK", "CUDA_LOCK"))
PIN = re.compile(r"^([\w.-]+)==([^\s;\\]+)", re.MULTILINE)
UV = """\
bitsandbytes==0.1 \\
    --hash=sha256:b0
    # via -r requirements-gpu.txt
nvidia-nccl-cu13==2.29.7 ; sys_platform == 'linux' \\
    --hash=sha256:c0
    # via torch
rich==15.0.0 \\
    --hash=sha256:d0
torch==VERSION \\
    --hash=sha256:e0 \\
    --hash=sha256:e1
    # via -r requirements.txt
"""


def pins(name: str) -> dict[str, str]:
    """Version by package, which has one name however it is spelled."""
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in PIN.findall((ROOT / name).read_text())}


@pytest.mark.parametrize("source", SOURCES)
def test_every_pin_of_the_requirements_stands_in_a_lock_file(source: str) -> None:
    locked = pins(LOCK) | pins(CUDA_LOCK)
    asked = pins(source)
    assert asked
    assert {name: locked.get(name) for name in asked} == asked, "run `make lock` after a change of the requirements"


def test_each_torch_file_has_the_torch_of_the_requirements_and_the_shared_one_has_none() -> None:
    version = pins("requirements.txt")["torch"]
    assert (pins(CPU_LOCK), pins(CUDA_LOCK)["torch"]) == ({"torch": f"{version}+cpu"}, version)
    assert pins(LOCK).keys().isdisjoint(pins(CUDA_LOCK))


@pytest.mark.parametrize("name", [LOCK, CPU_LOCK, CUDA_LOCK])
def test_every_locked_package_has_a_hash_and_no_index_is_named(name: str) -> None:
    text = (ROOT / name).read_text()
    blocks = re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]
    assert blocks
    assert all(PIN.match(block) and "\n    --hash=sha256:" in block for block in blocks)
    assert "://" not in text


def test_what_uv_found_is_split_and_the_cpu_build_added() -> None:
    version, digest = next(iter(CPU_BUILDS.items()))
    files = split(UV.replace("VERSION", version))
    assert PIN.findall(files[LOCK]) == [("rich", "15.0.0")]
    assert PIN.findall(files[CPU_LOCK]) == [("torch", f"{version}+cpu")]
    assert digest in files[CPU_LOCK]
    assert [name for name, _ in PIN.findall(files[CUDA_LOCK])] == ["bitsandbytes", "nvidia-nccl-cu13", "torch"]
    assert "--hash=sha256:e1\n    # via" in files[CUDA_LOCK]


def test_a_torch_whose_cpu_build_is_not_known_says_what_to_do() -> None:
    with pytest.raises(NoLock, match=r"found torch 99\.0, expected one whose CPU build is known: put the SHA-256"):
        split(UV.replace("VERSION", "99.0"))


def test_make_run_installs_from_all_lock_files() -> None:
    rule = (ROOT / "Makefile").read_text().partition("\n.venv/installed:")[2].partition("\n\n")[0]
    assert {LOCK, CPU_LOCK, CUDA_LOCK} <= set(rule.split())
    assert all(Path(ROOT / name).is_file() for name in (LOCK, CPU_LOCK, CUDA_LOCK))
