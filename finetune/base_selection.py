"""Which bases a machine can carry, best first: the candidates that `auto`, or a base that was named, goes down.

    CUDA, >= 22 GiB free   Qwen2.5-7B-Instruct in bf16
    CUDA, 8 to 22 GiB      the same in 4-bit NF4
    CUDA, < 8 GiB          Qwen2.5-1.5B-Instruct in bf16
    no GPU                 the embedded SmolLM2-135M-Instruct

The free memory that the device reports decides, not its name: another program may hold half of a large card. Every candidate
below
the first stays in reach: a base that cannot be fetched, loaded or trained here makes max_new_tokens for the next. A named
base stays the
base; on a GPU where bf16 does not fit it is tried in NF4.

What it does not know: whether a candidate holds (`base_model`, `descent`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Precision = Literal["fp32", "bf16", "nf4"]

EMBEDDED = "embedded"
FULL_GIB, QUANTISED_GIB = 22.0, 8.0


@dataclass(frozen=True, slots=True)
class BaseCandidate:
    """A base in a precision.

    Attributes:
        source: `EMBEDDED`, a hub id, a folder or a GGUF file.
        revision: commit of a hub id, if one is pinned.
        precision: of its frozen weights.
    """

    source: str
    revision: str | None
    precision: Precision

    @property
    def said(self) -> str:
        """For messages."""
        return f"{self.source} in {self.precision}"


LARGE = ("Qwen/Qwen2.5-7B-Instruct", "a09a35458c702b33eeacc393d103063234e8bc28")
SMALL = ("Qwen/Qwen2.5-1.5B-Instruct", "989aa7980e4cf806f80c7fef2b1adb7bc71aa306")


def candidates(choice: str, free_gib: float | None) -> tuple[BaseCandidate, ...]:
    """The candidates for a value of --base-model.

    Args:
        choice: auto, or a base.
        free_gib: free memory of the GPU, None without one.
    """
    if choice == "auto":
        return _automatic(free_gib)
    source, _, revision = (choice, "", "") if Path(choice).exists() else choice.partition("@")
    precisions: tuple[Precision, ...] = ("fp32",) if free_gib is None else ("bf16", "nf4")
    return tuple(BaseCandidate(source, revision or None, precision) for precision in precisions)


def _automatic(free_gib: float | None) -> tuple[BaseCandidate, ...]:
    last = BaseCandidate(
        EMBEDDED, None, "fp32"
    )  # small enough for fp32 anywhere, and its answers are then nearly the same anywhere
    if free_gib is None:
        return (last,)
    found: tuple[BaseCandidate, ...] = (BaseCandidate(*SMALL, "bf16"), last)
    if free_gib >= QUANTISED_GIB:
        found = (BaseCandidate(*LARGE, "nf4"), *found)
    return (BaseCandidate(*LARGE, "bf16"), *found) if free_gib >= FULL_GIB else found
