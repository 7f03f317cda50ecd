"""When memory runs out: how to see it, and in which order to need less.

    halve the micro-batch (the batch stays)  ->  keep fewer activations  ->  a smaller base (`base_selection`)

The second gives the same gradients up to float noise, and so does the first where the gradient goes through the prompt
(`training`). On a GPU torch raises an error of its own; on a CPU the allocator's
error is a plain RuntimeError, and where the system kills the process instead nothing can be done from within.
"""

import ctypes
import gc
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from finetune.distributed import SINGLE_PROCESS, Processes
from retrieval.cpu import CGROUP
from retrieval.errors import says_out_of_memory


class OutOfMemory(Exception):
    """Something does not fit into memory; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """How much memory training may use."""

    micro_batch: int  # rows that go through the model together
    recompute: bool = False  # whether activations are computed again in the backward pass instead of being kept

    def __str__(self) -> str:
        return f"{self.micro_batch} rows at a time{', activations recomputed' if self.recompute else ''}"


CPU_PLANS = (MemoryPlan(4), MemoryPlan(2), MemoryPlan(1))  # prompts have no gradient there, so little is kept
FP32_PLANS = CPU_PLANS[1:]  # two rows at a time are as fast there and need less: EXPERIMENTS.md, section 10
GPU_PLANS = (MemoryPlan(4), MemoryPlan(2), MemoryPlan(1), MemoryPlan(1, recompute=True))


def memory_plans(device: torch.device, weights: torch.dtype) -> tuple[MemoryPlan, ...]:
    """The plans for a device and the type of the base's weights, the fastest first."""
    if device.type == "cuda":
        return GPU_PLANS
    return FP32_PLANS if weights == torch.float32 else CPU_PLANS


def batches_by_length(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Indices of rows, shortest first, so many at a time that no batch has more than `most` tokens with its padding.

    A single longer row is a batch of its own.
    """
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batch and (len(batch) + 1) * lengths[i] > most:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is short."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or says_out_of_memory(error)


@contextmanager
def memory_guard(what: str, processes: Processes = SINGLE_PROCESS) -> Iterator[None]:
    """Turns an error of the allocator into one sentence; call `release` once the exception is handled.

    With several processes all of them get the error if one has it, or the others would wait for it in their next exchange.

    Raises:
        OutOfMemory: `what` does not fit, here or in another process.
    """
    short = False
    try:
        yield
    except OutOfMemory:
        short = True
    except (RuntimeError, MemoryError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        short = True
    if processes.any(short):
        raise OutOfMemory(f"{what} does not fit into memory")


def release() -> None:
    """Gives back what nothing refers to any more, to the GPU and to the system.

    glibc keeps freed blocks of up to 32 MiB; a training leaves half a GiB of them, on top of which the next one would stand.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None:  # musl has none
        trim(0)


def free_gpu_gib() -> float | None:
    """Free memory of the GPU that this process uses, in GiB; None without one."""
    return torch.cuda.mem_get_info()[0] / 2**30 if torch.cuda.is_available() else None


def free_gib() -> float:
    """Free memory where a base would be loaded, in GiB: of the GPU if there is one, else of the machine or the container."""
    gpu = free_gpu_gib()
    return free_machine_gib() if gpu is None else gpu


def free_machine_gib() -> float:
    """Free memory of the machine or the container, in GiB, whether there is a GPU or not."""
    available: int = psutil.virtual_memory().available
    return min(available / 2**30, _below_limit_gib())


def _below_limit_gib(folder: Path = CGROUP) -> float:
    """What the limit of a container (cgroup v2) leaves, in GiB; files in the page cache make room. Infinite without a limit."""
    try:
        limit, used = ((folder / f"memory.{name}").read_text(encoding="ascii").strip() for name in ("max", "current"))
        stat = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
    except OSError:  # no cgroup v2
        return math.inf
    return math.inf if limit == "max" else (int(limit) - int(used) + int(stat.get("inactive_file", 0))) / 2**30
