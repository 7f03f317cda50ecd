import os
import platform
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval import cpu

Describe = Callable[[str, str], None]


@pytest.fixture
def describe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Describe:
    """Makes the processor one of this vendor with these flags."""

    def described(vendor: str, flags: str) -> None:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        cores = (f"vendor_id\t: {vendor}\nmodel name\t: {vendor} 9\nflags\t\t: fpu {own}\n" for own in (flags, ""))
        path.write_text("\n".join(cores))
        monkeypatch.setattr(cpu, "CPU_INFO", path)
        monkeypatch.setattr(cpu, "_text", cpu._text.__wrapped__)

    return described


@pytest.mark.parametrize(
    ("flags", "expected"), [("avx512f fma", False), ("avx512f avx512_bf16", True), ("avx512f amx_bf16", True)]
)
def test_the_processor_says_whether_it_multiplies_bf16(flags: str, expected: bool, describe: Describe) -> None:
    describe("GenuineIntel", flags)
    assert cpu.has_bf16() == expected


@pytest.mark.parametrize(
    ("vendor", "flags", "expected"),
    [("AuthenticAMD", "avx2 avx512f", True), ("AuthenticAMD", "avx2", False), ("GenuineIntel", "avx512f amx_bf16", False)],
)
def test_onednn_multiplies_fp32_on_an_amd_processor_with_avx512(
    vendor: str, flags: str, expected: bool, describe: Describe
) -> None:
    describe(vendor, flags)
    assert cpu.prefers_onednn() == expected


def test_where_no_file_describes_the_processor_nothing_is_assumed(describe: Describe, tmp_path: Path) -> None:
    describe("AuthenticAMD", "avx512f avx512_bf16")
    cpu.CPU_INFO.unlink()
    assert (cpu.has_bf16(), cpu.prefers_onednn()) == (False, False)
    assert cpu.described() == platform.machine()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("avx2", "Some 9"), ("avx512_bf16", "Some 9 with AVX512-BF16"), ("avx512_bf16 amx_bf16", "Some 9 with AMX")],
)
def test_the_processor_is_described_by_its_name_and_what_multiplies_bf16(flags: str, expected: str, describe: Describe) -> None:
    describe("Some", flags)
    assert cpu.described() == expected


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("1600000 100000", 8)],
)
def test_the_cores_are_those_that_the_quota_of_a_container_pays_for(
    quota: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert cpu.usable_cores(tmp_path) == expected
    assert cpu.usable_cores(tmp_path / "nothing") == 8, "no container"
