"""The gradients of a batch: within the memory there is, by all processes of the run together.

The loss of a batch is the mean over its supervised tokens, whatever the micro-batch and however many processes share its
rows; so neither changes what is learnt, up to float noise. Rows of one micro-batch are padded on the left, where the mask and
the position numbers take the padding out.

What it does not know: the optimiser.
"""

from collections.abc import Sequence

import torch

from finetune.distributed import Processes
from finetune.memory import Fit, OutOfMemory, is_out_of_memory, release
from finetune.prompt import Example


class Gradients:
    """Adds up gradients; works smaller, and goes on so, once memory has run out."""

    def __init__(self, model: torch.nn.Module, *, fits: Sequence[Fit], processes: Processes) -> None:
        """`fits`: the ways of working, in the order in which they are tried."""
        self._model = model
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._fits = list(fits)
        self._team = processes
        self.step_downs = 0

    @property
    def fit(self) -> Fit:
        """The present way of working."""
        return self._fits[0]

    def of(self, batch: Sequence[Example]) -> float:
        """Leaves the gradients of a batch in the weights; returns its loss, nats per supervised token.

        Raises:
            OutOfMemory: not even the smallest way of working fits.
        """
        while (loss := self._tried(batch)) is None:
            self._work_smaller(max(len(example.ids) for example in batch))
        return loss

    def _tried(self, batch: Sequence[Example]) -> float | None:
        """The loss, or None if memory ran out in any process."""
        tokens, total, short = sum(example.supervised for example in batch), 0.0, False
        mine = self._team.share(batch)
        try:
            for start in range(0, len(mine), self.fit.micro_batch):
                loss = summed_loss(self._model, mine[start : start + self.fit.micro_batch]) / tokens
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.item()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            short = True
        if self._team.agrees(short):
            return None
        for weight in self._weights:
            if weight.grad is None:  # this process had no row of the batch
                weight.grad = torch.zeros_like(weight)
        self._team.sum_up([weight.grad for weight in self._weights if weight.grad is not None])
        return sum(self._team.gathered(total))

    def _work_smaller(self, longest: int) -> None:
        self._model.zero_grad()
        release()
        if len(self._fits) == 1:
            raise OutOfMemory(f"a row of {longest} tokens does not fit into memory")
        del self._fits[0]
        self.step_downs += 1
        if self.fit.recompute:
            self._model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})  # type: ignore[operator]


def summed_loss(model: torch.nn.Module, batch: Sequence[Example]) -> torch.Tensor:
    """The completion loss of rows, summed over their supervised tokens, in nats."""
    device = next(model.parameters()).device
    width, keep = max(len(example.ids) for example in batch), max(example.supervised for example in batch)
    ids = torch.tensor([[0] * (width - len(e.ids)) + list(e.ids) for e in batch], device=device)  # (b, width)
    # Only the logits that predict supervised tokens: the vocabulary is the largest matrix of a small base.
    logits = model(input_ids=ids, **_padding(batch, width, device), logits_to_keep=keep + 1).logits[:, :-1]  # (b, keep, v)
    targets = ids[:, -keep:].clone()
    for row, example in enumerate(batch):
        targets[row, : keep - example.supervised] = -100
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="sum")


def _padding(batch: Sequence[Example], width: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Mask and positions of left-padded rows; nothing where no row is padded, for that is the faster way."""
    if all(len(example.ids) == width for example in batch):
        return {}
    mask = torch.tensor([[0] * (width - len(e.ids)) + [1] * len(e.ids) for e in batch], device=device)  # (b, width)
    return {"attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def completion_losses(model: torch.nn.Module, examples: Sequence[Example]) -> list[float]:
    """The completion loss of each row, nats per token, without gradients."""
    with torch.inference_mode():
        return [summed_loss(model, [example]).item() / example.supervised for example in examples]
