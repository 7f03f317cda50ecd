"""When memory runs out: how to see it, and in which order to need less.

    halve the micro-batch (the batch stays)  ->  keep fewer activations  ->  a smaller base (`descent`)

The first two give the same gradients up to float noise. On a GPU torch raises an error of its own; on a CPU the allocator's
error is a plain RuntimeError, and where the system kills the process instead nothing can be done from within.

What it does not know: what is computed.
"""

import gc
from dataclasses import dataclass

import torch


class OutOfMemory(Exception):
    """Even the smallest way of working does not fit; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A way of working.

    Attributes:
        micro_batch: rows that go through the model together.
        recompute: whether activations are computed again in the backward pass instead of being kept.
    """

    micro_batch: int
    recompute: bool = False

    def __str__(self) -> str:
        return f"{self.micro_batch} rows at a time{', activations recomputed' if self.recompute else ''}"


# On a CPU single rows are as fast as padded batches.
CPU_FITS = (Fit(1), Fit(1, recompute=True))
GPU_FITS = (Fit(4), Fit(2), Fit(1), Fit(1, recompute=True))


def fits_for(device: torch.device) -> tuple[Fit, ...]:
    """The ways of working on a device, the fastest first."""
    return GPU_FITS if device.type == "cuda" else CPU_FITS


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is short."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def release() -> None:
    """Gives back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
