"""The processor: its cores, its name, what it multiplies quickly; without Linux's files nothing special is assumed."""

import math
import os
import platform
import re
from functools import cache
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
CGROUP = Path("/sys/fs/cgroup")  # where Linux shows a container its limits
BF16_UNITS = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16"}  # flag -> what it is called


def usable_cores(folder: Path = CGROUP) -> int:
    """The cores that this process may use, at most its container's quota (cgroup v2, `--cpus`), which is rounded up."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
    except OSError:
        return allowed
    return allowed if quota == "max" else max(1, min(allowed, math.ceil(int(quota) / int(period))))


def described() -> str:
    """The processor's name, and what multiplies bf16 in it: runs on another one may differ in generated replies."""
    name = re.search(r"^model name\s*:\s*(.+)", _text(), re.MULTILINE)
    units = [unit for flag, unit in BF16_UNITS.items() if flag in _words()]
    return (name[1] if name else platform.machine()) + (f" with {units[0]}" if units else "")


def has_bf16() -> bool:
    """Whether the processor multiplies bf16 itself, by AMX or AVX-512; else fp32 is faster (EXPERIMENTS.md, section 10)."""
    return not _words().isdisjoint(BF16_UNITS)


def prefers_onednn() -> bool:
    """Whether oneDNN multiplies fp32 faster than MKL, which torch takes: MKL does not use AVX-512 on AMD's processors.

    The encoder takes half of the time with it (EXPERIMENTS.md, section 10).
    """
    return {"AuthenticAMD", "avx512f"} <= _words()


def _words() -> set[str]:
    """All words there: the vendor and the flags are among them."""
    return set(_text().split())


@cache
def _text() -> str:
    return CPU_INFO.read_text(encoding="utf-8", errors="replace") if CPU_INFO.is_file() else ""
