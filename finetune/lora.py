"""The short LoRA run: the adapter learns how this train_set phrases its replies.

All linear layers, rank 16, alpha 32, AdamW with a short warm-up and cosine decay, the loss on the completion only, averaged
over the tokens of a batch. The batch with the longest row comes first, so that memory runs out at once or not at all.

The same seed gives the same adapter, byte for byte, on one machine: the seed is set before the adapter is made, the order
of rows comes from it, and the number of steps follows from the rows alone. A deadline that strikes ends training early and
is reported, because then the number of steps came from the clock. A loss or a weight that is not finite ends it, too: the
adapter goes back to the last weights that are known to give a finite loss.

What it does not know: what is in a prompt, and whether the adapter is any good (`gates`).
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import set_seed

from finetune.base_model import BaseModel
from finetune.distributed import SINGLE_PROCESS, Processes
from finetune.gradients import Gradients
from finetune.memory import Fit, fits_for
from finetune.prompt import Example
from retrieval.console import bar

RANK = 16
ALPHA = 32
BATCH = 4
EPOCHS = 2
WARM_UP = 0.1  # of the steps
CLIP = 1.0


@dataclass(frozen=True, slots=True)
class Tuning:
    """What a LoRA run did.

    Attributes:
        steps: optimiser steps that are in the adapter.
        losses: completion loss of each step before it was taken, nats per token.
        train_loss: mean loss of the last pass over the rows.
        finished: False if the deadline struck first.
        diverged: what was not finite and when; empty if nothing.
        fit: the way of working that fitted into memory.
        step_downs: how many ways did not.
    """

    steps: int
    losses: tuple[float, ...]
    train_loss: float
    finished: bool
    diverged: str = ""
    fit: Fit = Fit(1)  # noqa: RUF009, a frozen value
    step_downs: int = 0


class NoAdapter(Exception):
    """Training came to nothing that may be kept: not finite, no row to learn from, or no time for a single step."""

    def __init__(self, reason: str, *, out_of_time: bool = False) -> None:
        super().__init__(reason)
        self.out_of_time = out_of_time


def learning_rate(base: BaseModel) -> float:
    """2e-4 for a large base, 1e-3 for a small one: the design's figures, the second measured there with the 135M base."""
    return 2e-4 if base.large else 1e-3


def attach(base: BaseModel, *, seed: int) -> PeftModel:
    """Puts a fresh adapter on the base; the seed is set first, so `lora_A` is the same every time."""
    set_seed(seed)
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(base.model, config)


def set_scale(tuned: PeftModel, scale: float) -> None:
    """Lets the adapter count for so much of what it learnt; 0 is the base."""
    for module in tuned.modules():
        if isinstance(module, LoraLayer):
            module.set_scale("default", scale)


@contextmanager
def temporary_adapter(base: BaseModel, *, seed: int) -> Iterator[PeftModel]:
    """A fresh adapter for as long as the block lasts; afterwards the base is as it was."""
    tuned = attach(base, seed=seed)
    try:
        yield tuned
    finally:
        tuned.unload()


def tune(
    tuned: PeftModel,
    examples: Sequence[Sequence[Example]],
    *,
    rate: float,
    seed: int,
    deadline: float = math.inf,
    label: str = "tune",
    processes: Processes = SINGLE_PROCESS,
) -> Tuning:
    """Trains the adapter.

    Args:
        tuned: the base with a fresh adapter.
        examples: for each epoch its rows (the prompts may differ from epoch to epoch).
        rate: peak learning rate.
        seed: orders the rows.
        deadline: `time.monotonic()` at which to stop.
        label: for the progress bar.
        processes: the processes that share each batch.

    Raises:
        NoAdapter: training diverged before anything was learnt.
        OutOfMemory: the longest row does not fit.
        ValueError: a row has no supervised token; its id is in the message.
    """
    _refuse_unsupervised([example for epoch in examples for example in epoch])
    batches = _longest_first(
        [batch for epoch, rows in enumerate(examples) for batch in _batches(rows, np.random.default_rng([seed, epoch]))]
    )
    steps = _Steps(tuned, rate=rate, planned=len(batches), processes=processes)
    tuned.train()
    for batch in bar(batches, label):
        if processes.agrees(time.monotonic() > deadline) or not steps.take(batch):
            break
    tuned.eval()
    kept = steps.kept()
    last_pass = steps.losses[-math.ceil(len(batches) / max(len(examples), 1)) :]
    return Tuning(
        steps=kept,
        losses=tuple(steps.losses),
        train_loss=float(np.mean(last_pass)) if last_pass else 0.0,
        finished=bool(steps.diverged) or len(steps.losses) == len(batches),
        diverged=steps.diverged,
        fit=steps.gradients.fit,
        step_downs=steps.gradients.step_downs,
    )


class _Steps:
    """The optimiser's steps, and the way back to the last weights that are known to give a finite loss."""

    def __init__(self, tuned: PeftModel, *, rate: float, planned: int, processes: Processes) -> None:
        self.gradients = Gradients(tuned, fits=fits_for(tuned.device), processes=processes)
        self.losses: list[float] = []
        self.diverged = ""
        self._weights = [weight for weight in tuned.parameters() if weight.requires_grad]
        self._proven = [weight.detach().clone() for weight in self._weights]
        self._optimiser = torch.optim.AdamW(self._weights, lr=rate, weight_decay=0.0)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimiser, lambda step: _warm_cosine(step, planned))

    def take(self, batch: Sequence[Example]) -> bool:
        """One step; False if the loss before it is not finite."""
        loss = self.gradients.of(batch)
        if not math.isfinite(loss):
            self.diverged = f"the loss of step {len(self.losses) + 1} is {loss}"
            return False
        self.losses.append(loss)
        torch._foreach_copy_(self._proven, [weight.detach() for weight in self._weights])
        torch.nn.utils.clip_grad_norm_(self._weights, CLIP)
        self._optimiser.step()
        self._schedule.step()
        self._optimiser.zero_grad()
        return True

    def kept(self) -> int:
        """How many steps are in the adapter, after going back where something is not finite.

        Raises:
            NoAdapter: nothing was learnt by then.
        """
        if not self.diverged and not all(bool(torch.isfinite(weight).all()) for weight in self._weights):
            self.diverged = f"a weight is not finite after step {len(self.losses)}"
        if not self.diverged:
            return len(self.losses)
        if len(self.losses) < 2:  # the proven weights are those before the last loss
            raise NoAdapter(self.diverged)
        torch._foreach_copy_([weight.detach() for weight in self._weights], self._proven)
        return len(self.losses) - 1


def _longest_first(batches: list[list[Example]]) -> list[list[Example]]:
    """The batches in their order, but the one with the longest row in front."""
    if not batches:
        return batches
    widest = max(range(len(batches)), key=lambda i: (max(len(example.ids) for example in batches[i]), -i))
    return [batches[widest], *batches[:widest], *batches[widest + 1 :]]


def _refuse_unsupervised(examples: Sequence[Example]) -> None:
    empty = [example.row_id for example in examples if not 0 < example.supervised < len(example.ids)]
    if empty:
        raise ValueError(f"rows without supervised tokens: {', '.join(empty)}")


def _batches(rows: Sequence[Example], generator: np.random.Generator) -> list[list[Example]]:
    order = generator.permutation(len(rows))
    return [[rows[i] for i in order[start : start + BATCH]] for start in range(0, len(rows), BATCH)]


def _warm_cosine(step: int, steps: int) -> float:
    warm = max(1, round(WARM_UP * steps))
    return (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
