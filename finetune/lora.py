"""The short LoRA run: the adapter learns how this desk phrases its replies.

All linear layers, rank 16, alpha 32, AdamW with a short warm-up and cosine decay, the loss on the completion only, averaged
over the tokens of a batch. Rows run one at a time and their gradients add up to a batch: on a CPU that is as fast as a
padded batch and needs a fraction of the memory.

The same seed gives the same adapter, byte for byte, on one machine: the seed is set before the adapter is made, the order
of rows comes from it, and the number of steps follows from the rows alone. A deadline that strikes ends training early and
is reported, because then the number of steps came from the clock.

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
from transformers import set_seed

from finetune.base_model import BaseModel
from finetune.prompt import Example
from retrieval.progress import bar

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
        steps: optimiser steps taken.
        losses: completion loss of each step before it was taken, nats per token.
        train_loss: mean loss of the last pass over the rows.
        finished: False if the deadline struck first.
    """

    steps: int
    losses: tuple[float, ...]
    train_loss: float
    finished: bool


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


@contextmanager
def passing_adapter(base: BaseModel, *, seed: int) -> Iterator[PeftModel]:
    """A fresh adapter for as long as the block lasts; afterwards the base is as it was."""
    adapted = attach(base, seed=seed)
    try:
        yield adapted
    finally:
        adapted.unload()


def tune(
    adapted: PeftModel,
    examples: Sequence[Sequence[Example]],
    *,
    rate: float,
    seed: int,
    deadline: float = math.inf,
    label: str = "tune",
) -> Tuning:
    """Trains the adapter.

    Args:
        adapted: the base with a fresh adapter.
        examples: for each epoch its rows (the prompts may differ from epoch to epoch).
        rate: peak learning rate.
        seed: orders the rows.
        deadline: `time.monotonic()` at which to stop.
        label: for the progress bar.

    Raises:
        NoAdapter: a loss is not finite.
        ValueError: a row has no supervised token; its id is in the message.
    """
    _refuse_unsupervised([example for epoch in examples for example in epoch])
    batches = [batch for epoch, rows in enumerate(examples) for batch in _batches(rows, np.random.default_rng([seed, epoch]))]
    weights = [p for p in adapted.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _warm_cosine(step, len(batches)))
    losses: list[float] = []
    adapted.train()
    for batch in bar(batches, label):
        if time.monotonic() > deadline:
            break
        losses.append(_backward(adapted, batch))
        if not math.isfinite(losses[-1]):
            raise NoAdapter(f"the loss of step {len(losses)} is {losses[-1]}")
        torch.nn.utils.clip_grad_norm_(weights, CLIP)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
    adapted.eval()
    if not all(bool(torch.isfinite(weight).all()) for weight in weights):
        raise NoAdapter("a weight of the adapter is not finite")
    last_pass = losses[-math.ceil(len(batches) / max(len(examples), 1)) :]
    return Tuning(len(losses), tuple(losses), float(np.mean(last_pass)) if losses else 0.0, len(losses) == len(batches))


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


def _backward(adapted: PeftModel, batch: Sequence[Example]) -> float:
    """Adds the gradients of a batch's mean loss per token; returns that loss."""
    tokens = sum(example.supervised for example in batch)
    total = 0.0
    for example in batch:
        loss = _summed_loss(adapted, example) / tokens
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total


def _summed_loss(model: torch.nn.Module, example: Example) -> torch.Tensor:
    ids = torch.tensor([example.ids], device=next(model.parameters()).device)  # (1, t)
    # Only the logits that predict supervised tokens: the vocabulary is the largest matrix of a small base.
    logits = model(input_ids=ids, logits_to_keep=example.supervised + 1).logits[0, :-1]  # (s, vocabulary)
    return torch.nn.functional.cross_entropy(logits.float(), ids[0, -example.supervised :], reduction="sum")


def completion_losses(model: torch.nn.Module, examples: Sequence[Example]) -> list[float]:
    """The completion loss of each row, nats per token, without gradients."""
    with torch.inference_mode():
        return [_summed_loss(model, example).item() / example.supervised for example in examples]
