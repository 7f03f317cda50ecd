"""The processes of one run, when `accelerate launch` or `torchrun` starts several: who does what, and how they stay together.

Every process reads the input and intent_scores on it (that costs seconds); the rows of a training batch, the judged rows and
the new
tickets are shared out, and what comes of them is brought together, so that all processes know the same and decide the same.
The first process alone speaks and writes.

A process that dies closes its connections: the others' next exchange fails and becomes `WorkerLost`, one sentence, no hang. One
that lives and does not answer is waited for as long as the run may take.

What it does not know: what is exchanged.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from retrieval.runtime import RANK, WorkerLost

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of its run.

    Attributes:
        rank: its number; 0 speaks and writes.
        size: how many there are.
        local_rank: its number on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """The items that this process works on; every item belongs to one process."""
        return items[self.rank :: self.size]

    def agrees(self, here: bool) -> bool:
        """Whether something is so in any of the processes; each gets the same answer."""
        return any(self.gathered(here))

    def gathered(self, mine: T) -> list[T]:
        """What each process has, in the order of their ranks."""
        if self.size == 1:
            return [mine]
        found: list[Any] = [None] * self.size
        _together(lambda: dist.all_gather_object(found, mine))
        return found

    def merged(self, mine: Mapping[str, T]) -> dict[str, T]:
        """The entries of all processes."""
        return {key: value for part in self.gathered(dict(mine)) for key, value in part.items()}

    def sum_up(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replaces each tensor by its sum over the processes, all of them in one exchange."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        _together(lambda: dist.all_reduce(flat))
        for tensor, summed in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
            tensor.copy_(summed.view_as(tensor))


SINGLE_PROCESS = Processes()


def join(*, patience_s: float) -> Processes:
    """Meets the other processes that a launcher started; without one, this process is alone.

    Args:
        patience_s: how long an exchange may take before the other side counts as lost.

    Raises:
        WorkerLost: the others did not come.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return SINGLE_PROCESS
    local = int(os.environ.get("LOCAL_RANK", "0"))
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"
    _together(lambda: dist.init_process_group(backend, timeout=timedelta(seconds=patience_s)))
    return Processes(RANK, size, local)


def _together(exchange: Callable[[], object]) -> None:
    try:
        exchange()
    except (RuntimeError, ValueError) as error:  # gloo raises plain RuntimeError, a missing address is a ValueError
        reason = str(error).strip().partition("\n")[0]
        raise WorkerLost(f"another process of this run ended or does not answer, no result was written ({reason})") from error
