"""The short LoRA run: AdamW, a short warm-up, cosine decay, the loss on the completion only, averaged over a batch's tokens.

The loss of a batch is the mean over its supervised tokens, whatever the micro-batch and however many processes share its rows;
so where the gradient goes through the prompt neither changes what is learned, up to the noise of the adapter's type. Where it
does not, a row has a gradient in as many last tokens as the longest completion beside it, so a few tokens of its prompt depend
on its company. The batch with the longest row comes first: if memory runs out, it usually does at once.

The same seed gives the same adapter, byte for byte, on one machine: the order of rows comes from the seed and the number of
steps from the rows. A run that reaches the deadline ends early and says so. A loss or a weight that is not finite ends it, too:
the adapter goes back to the last weights that are known to give a finite loss.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from peft import PeftModel

from finetune.distributed import SINGLE_PROCESS, Processes
from finetune.memory import (
    MemoryPlan,
    OutOfMemory,
    batches_by_length,
    is_out_of_memory,
    memory_guard,
    memory_plans,
    release,
)
from finetune.prompt import Example
from retrieval.console import bar

BATCH = 4
WARM_UP = 0.1  # of the steps
MAX_GRADIENT_NORM = 1.0
LOSS_BATCH_TOKENS = 1024  # that go through the model together where losses are measured


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """What a LoRA run did."""

    steps: int  # optimiser steps that are in the adapter
    losses: tuple[float, ...]  # completion loss of each batch before its step, nats per token
    finished: bool  # False if it reached the deadline
    diverged: str  # what was not finite and when; empty if nothing was
    plan: MemoryPlan  # the memory plan that fitted
    memory_retries: int = 0  # how many plans did not


class NoAdapter(Exception):
    """Training came to nothing that may be kept: not finite, no row to learn from, or no time for a single step."""

    def __init__(self, reason: str, *, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.timed_out = timed_out


def train(
    model: PeftModel,
    epochs: Sequence[Sequence[Example]],
    *,
    learning_rate: float,
    seed: int,
    deadline: float = math.inf,
    label: str = "train",
    processes: Processes = SINGLE_PROCESS,
    plans: Sequence[MemoryPlan] = (),
    prompt_gradient: bool = True,
) -> TrainingRun:
    """Trains the active adapter.

    Args:
        model: the base with a fresh adapter.
        epochs: for each epoch its examples (the prompts may differ from epoch to epoch).
        learning_rate: at its peak.
        seed: orders the rows.
        deadline: `time.monotonic()` at which to stop.
        label: for the progress bar.
        processes: that share each batch.
        plans: memory plans in the order in which they are tried; those of the base on its device if empty.
        prompt_gradient: see `row_losses`; without it no plan may recompute.

    Raises:
        NoAdapter: training diverged, or the deadline was reached, before anything was learned.
        OutOfMemory: the longest row does not fit.
        ValueError: a row has no supervised token; its id is in the message.
    """
    _refuse_unsupervised([example for epoch in epochs for example in epoch])
    generators = (np.random.default_rng([seed, epoch]) for epoch in range(len(epochs)))
    batches = _longest_first(
        [batch for rows, generator in zip(epochs, generators, strict=True) for batch in _batches(rows, generator)]
    )
    with memory_guard("the training state of the adapter", processes):
        optimiser = _Optimiser(model, learning_rate, len(batches))
    plans = plans or memory_plans(model.device, model.dtype)
    gradients = _Gradients(model, plans, processes, prompt_gradient=prompt_gradient)
    model.train()
    try:
        losses, diverged = _take_steps(batches, optimiser, gradients, deadline, label)
        return _finished_run(optimiser, gradients, losses, diverged, planned=len(batches))
    finally:
        model.eval()
        if gradients.plan.recompute:  # it belongs to this training alone
            model.gradient_checkpointing_disable()


def _take_steps(
    batches: Sequence[Sequence[Example]], optimiser: "_Optimiser", gradients: "_Gradients", deadline: float, label: str
) -> tuple[list[float], str]:
    """The loss of each step, and what was not finite."""
    losses: list[float] = []
    for batch in bar(batches, label):
        if gradients.processes.any(time.monotonic() > deadline):
            break
        loss = gradients.of(batch)
        if not math.isfinite(loss):
            return losses, f"the loss of step {len(losses) + 1} is {loss}"
        losses.append(loss)
        with memory_guard("a step of the optimiser", gradients.processes):
            optimiser.step()
    return losses, "" if optimiser.finite() else f"a weight is not finite after step {len(losses)}"


def _finished_run(
    optimiser: "_Optimiser", gradients: "_Gradients", losses: list[float], diverged: str, *, planned: int
) -> TrainingRun:
    if diverged and len(losses) < 2:  # the proven weights are those before the last loss
        raise NoAdapter(diverged)
    if not losses:
        raise NoAdapter("the time budget was gone before the first step", timed_out=True)
    if diverged:
        optimiser.restore()
    return TrainingRun(
        steps=len(losses) - 1 if diverged else len(losses),
        losses=tuple(losses),
        finished=bool(diverged) or len(losses) == planned,
        diverged=diverged,
        plan=gradients.plan,
        memory_retries=gradients.memory_retries,
    )


class _Optimiser:
    """AdamW on the active adapter, and the way back to the last weights that are known to give a finite loss.

    The optimiser steps a copy of the weights in fp32, for a step is often smaller than the distance of two bf16 numbers (mixed
    precision, arXiv 1710.03740).
    """

    def __init__(self, model: PeftModel, learning_rate: float, steps: int) -> None:
        self._used = [weight for weight in model.parameters() if weight.requires_grad]
        self._weights = [weight.detach().float() for weight in self._used]  # the same tensors where they are fp32
        self._proven = [weight.clone() for weight in self._weights]
        self._adamw = torch.optim.AdamW(self._weights, lr=learning_rate, weight_decay=0.0)
        for weight in self._weights:  # AdamW makes its two moments at the first step: make them now, while nothing is lost
            self._adamw.state[weight] = {
                "step": torch.tensor(0.0),
                "exp_avg": torch.zeros_like(weight),
                "exp_avg_sq": torch.zeros_like(weight),
            }
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._adamw, lambda step: _warm_cosine(step, steps))

    def step(self) -> None:
        """One step of the copy in fp32 along the gradients of the adapter, which then gets the copy's weights."""
        torch._foreach_copy_(self._proven, self._weights)
        for weight, used in zip(self._weights, self._used, strict=True):
            weight.grad = None if used.grad is None else used.grad.float()
            used.grad = None
        torch.nn.utils.clip_grad_norm_(self._weights, MAX_GRADIENT_NORM)
        self._adamw.step()
        self._schedule.step()
        self._use(self._weights)

    def finite(self) -> bool:
        """Whether every weight is a number."""
        return all(bool(torch.isfinite(weight).all()) for weight in self._weights)

    def restore(self) -> None:
        """The end of a training: no step may follow."""
        self._use(self._proven)

    def _use(self, weights: Sequence[torch.Tensor]) -> None:
        torch._foreach_copy_([weight.detach() for weight in self._used], list(weights))


class _Gradients:
    """Adds up the gradients of a batch; takes the next memory plan, and stays with it, once memory has run out."""

    def __init__(self, model: PeftModel, plans: Sequence[MemoryPlan], processes: Processes, *, prompt_gradient: bool) -> None:
        self.processes = processes
        self._prompt_gradient = prompt_gradient
        self.memory_retries = 0
        self._model = model
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._plans = list(plans)
        self._use_plan()

    @property
    def plan(self) -> MemoryPlan:
        """The one in use."""
        return self._plans[0]

    def of(self, batch: Sequence[Example]) -> float:
        """Leaves the gradients of a batch in the weights; returns its loss, nats per supervised token.

        Raises:
            OutOfMemory: no plan fits.
        """
        while (loss := self._try(batch)) is None:
            self._next_plan(max(len(example.ids) for example in batch))
        return loss

    def _try(self, batch: Sequence[Example]) -> float | None:
        """The loss, or None if memory ran out in any process."""
        tokens, total, short = sum(example.supervised for example in batch), 0.0, False
        mine = self.processes.share(batch)
        try:
            for start in range(0, len(mine), self.plan.micro_batch):
                rows = mine[start : start + self.plan.micro_batch]
                loss = row_losses(self._model, rows, prompt_gradient=self._prompt_gradient).sum() / tokens
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.item()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            short = True
        if self.processes.any(short):
            return None
        for weight in self._weights:
            if weight.grad is None:  # this process had no row of the batch
                weight.grad = torch.zeros_like(weight)
        self.processes.sum_gradients([weight.grad for weight in self._weights if weight.grad is not None])
        return sum(self.processes.gather(total))

    def _next_plan(self, longest: int) -> None:
        self._model.zero_grad()
        release()
        if len(self._plans) == 1:
            raise OutOfMemory(f"training on a row of {longest} tokens does not fit into memory")
        del self._plans[0]
        self.memory_retries += 1
        self._use_plan()

    def _use_plan(self) -> None:
        if self.plan.recompute:
            self._model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def row_losses(model: torch.nn.Module, batch: Sequence[Example], *, prompt_gradient: bool = True) -> torch.Tensor:
    """(b,) the completion loss of each row, summed over its supervised tokens, in nats.

    Rows are padded on the left, where the mask and the position numbers take the padding out.

    Args:
        model: the base, or the base with its adapter.
        batch: rows with a supervised token each.
        prompt_gradient: whether the gradient goes back through the prompt, too. Without it the prompt's keys and values are
            computed as they are and taken as given, up to where the longest completion of `batch` would begin: the loss is the
            same, a step takes half of the time.
    """
    device = next(model.parameters()).device
    width, keep = max(len(example.ids) for example in batch), max(example.supervised for example in batch)
    ids = torch.tensor([[0] * (width - len(e.ids)) + list(e.ids) for e in batch], device=device)  # (b, width)
    given = 0 if prompt_gradient else width - keep - 1  # tokens before the first one with a gradient
    cache = _keys_and_values(model, ids[:, :given], _padding(batch, width, device, end=given)) if given else None
    # Only the logits that predict supervised tokens: the vocabulary is the largest matrix of a small base.
    options = _padding(batch, width, device, start=given) | {"past_key_values": cache, "logits_to_keep": keep + 1}
    logits = model(input_ids=ids[:, given:], **options).logits  # (b, keep + 1, v), uncut: that would copy them
    targets = torch.full(logits.shape[:2], -100, device=device)  # what follows the last token is not asked
    for row, example in enumerate(batch):
        targets[row, keep - example.supervised : keep] = ids[row, -example.supervised :]
    each = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    return each.view_as(targets).sum(dim=1)


def _keys_and_values(model: torch.nn.Module, ids: torch.Tensor, padding: dict[str, torch.Tensor]) -> Any:
    with torch.no_grad():
        return model(input_ids=ids, **padding, use_cache=True, logits_to_keep=1).past_key_values


def _padding(
    batch: Sequence[Example], width: int, device: torch.device, *, start: int = 0, end: int | None = None
) -> dict[str, torch.Tensor]:
    """Mask up to `end` and positions from `start` on of left-padded rows; nothing where no row is padded: it is faster so."""
    if all(len(example.ids) == width for example in batch):
        return {}
    mask = torch.tensor([[0] * (width - len(e.ids)) + [1] * len(e.ids) for e in batch], device=device)  # (b, width)
    return {"attention_mask": mask[:, :end], "position_ids": (mask.cumsum(1) - 1).clamp(min=0)[:, start:end]}


def completion_losses(model: torch.nn.Module, examples: Sequence[Example]) -> list[float]:
    """The completion loss of each row, nats per token, without gradients; rows of like length go through the model together.

    Raises:
        OutOfMemory: a row does not fit.
    """
    found = [0.0] * len(examples)
    with torch.inference_mode(), memory_guard("measuring a completion loss"):
        for batch in batches_by_length([len(example.ids) for example in examples], LOSS_BATCH_TOKENS):
            losses = row_losses(model, [examples[i] for i in batch])
            for i, loss in zip(batch, losses.tolist(), strict=True):
                found[i] = loss / examples[i].supervised
    return found


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
