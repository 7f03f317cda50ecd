"""What the processor multiplies quickly, from /proc/cpuinfo; where there is none (not Linux), nothing special is assumed."""

from functools import cache
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")


def has_bf16() -> bool:
    """Whether the processor multiplies bf16 itself, by AMX or AVX-512; else fp32 is faster (EXPERIMENTS.md, section 10)."""
    return not {"amx_bf16", "avx512_bf16"}.isdisjoint(_words())


def prefers_onednn() -> bool:
    """Whether oneDNN multiplies fp32 faster than MKL, which torch takes: MKL does not use AVX-512 on AMD's processors.

    On two cores of a Zen 5 MKL reaches 200 and oneDNN 450 · 10⁹ operations a second (EXPERIMENTS.md, section 10).
    """
    return {"AuthenticAMD", "avx512f"} <= _words()


@cache
def _words() -> frozenset[str]:
    """All words there: the vendor and the flags are among them."""
    return frozenset(CPU_INFO.read_text(encoding="utf-8", errors="replace").split() if CPU_INFO.is_file() else ())
