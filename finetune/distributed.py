"""The processes of one run, when `accelerate launch` or `torchrun` starts several: how work is divided and results exchanged.

When a process dies, its connections close, and the next exchange of the others fails with `WorkerLost`. A process that does not
come or does not answer is waited for until the timeout.
"""

import atexit
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch

from retrieval.runtime import WorkerLost

K = TypeVar("K")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of its run; one process alone exchanges nothing."""

    index: int = 0  # its number; 0 speaks and writes
    count: int = 1  # how many there are
    local_index: int = 0  # its number on this machine

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """The items that this process works on; every item belongs to exactly one process."""
        return items[self.index :: self.count]

    def any(self, here: bool) -> bool:
        """Whether something is so in any of the processes; all get the same answer."""
        return any(self.gather(here))

    def gather(self, mine: T) -> list[T]:
        """One entry per process, in the order of their indexes."""
        if self.count == 1:
            return [mine]
        from accelerate.utils import gather_object

        return _exchange(lambda: gather_object([mine]))

    def first(self, mine: T) -> T:
        """What the first process found: where a last digit may decide, all go its way."""
        return self.gather(mine)[0]

    def merge(self, mine: Mapping[K, T]) -> dict[K, T]:
        """The entries of all processes."""
        return {key: value for part in self.gather(dict(mine)) for key, value in part.items()}

    def sum_gradients(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replaces each tensor by its sum over the processes, in one exchange."""
        if self.count == 1:
            return
        from accelerate.utils import reduce

        # `reduce` on a list would exchange once for each tensor; one machine may compute in bf16 and another in fp32.
        flat = torch.cat([tensor.flatten().float() for tensor in tensors])
        summed: torch.Tensor = _exchange(lambda: reduce(flat, reduction="sum"))
        for tensor, part in zip(tensors, torch.split(summed, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))


SINGLE_PROCESS = Processes()


def start_processes(*, timeout_s: float) -> Processes:
    """Connects to the other processes that a launcher started; without a launcher, this process is the only one.

    Args:
        timeout_s: how long the others may take to come, and later to answer.

    Raises:
        WorkerLost: the others did not come.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return SINGLE_PROCESS
    from accelerate import PartialState
    from accelerate.utils import patch_environment

    cuda = torch.cuda.is_available()
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"  # objects are exchanged on the CPU, gradients where they are
    # accelerate would change the number of threads on a CPU, and connects nobody on a GPU, where these variables are not set
    with patch_environment(omp_num_threads=torch.get_num_threads(), local_rank=os.environ.get("LOCAL_RANK", "0")):
        state = _exchange(lambda: PartialState(cpu=not cuda, backend=backend, timeout=timedelta(seconds=timeout_s)))
    atexit.register(state.destroy_process_group)  # else a thread of gloo may abort the process while it ends
    return Processes(state.process_index, state.num_processes, state.local_process_index)


def _exchange(operation: Callable[[], T]) -> T:
    try:
        return operation()
    except (RuntimeError, ValueError) as error:  # gloo raises plain RuntimeError, a missing address is a ValueError
        reason = str(error).strip().partition("\n")[0]
        raise WorkerLost(f"another process of this run ended or does not answer, no result was written ({reason})") from error
