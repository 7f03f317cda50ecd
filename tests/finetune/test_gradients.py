"""Memory and numbers that run out while training and writing."""

import math
from typing import Any

import pytest
import torch

from finetune import generate as generating
from finetune.distributed import SINGLE_PROCESS
from finetune.generate import generate
from finetune.gradients import Gradients, completion_losses, summed_loss
from finetune.lora import NoAdapter, attach, tune
from finetune.memory import CPU_FITS, GPU_FITS, Fit, OutOfMemory, fits_for, is_out_of_memory
from finetune.prompt import Example, prompt_writer
from tests.fakes import ROWS, base

SHORT_OF_MEMORY = (
    "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
)


def examples() -> list[Example]:
    tiny = base()
    return [prompt_writer(tiny.tokenizer, tiny.max_length).example(row, ROWS[: i % 3]) for i, row in enumerate(ROWS)]


def gradients_of(fit: Fit) -> tuple[float, list[torch.Tensor]]:
    tuned = attach(base(), seed=0)
    tuned.train()
    loss = Gradients(tuned, fits=[fit], processes=SINGLE_PROCESS).of(examples()[:4])
    return loss, [p.grad for p in tuned.parameters() if p.grad is not None]


@pytest.mark.parametrize("fit", [Fit(4), Fit(2)])
def test_the_micro_batch_changes_neither_loss_nor_gradients(fit: Fit) -> None:
    loss, gradients = gradients_of(Fit(1))
    other_loss, others = gradients_of(fit)
    assert other_loss == pytest.approx(loss, rel=1e-5)
    assert len(gradients) == len(others) > 0
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(gradients, others, strict=True))


def test_padded_rows_have_the_loss_they_have_alone() -> None:
    tiny, rows = base(), examples()[:3]
    assert len({len(row.ids) for row in rows}) == 3
    assert len({row.supervised for row in rows}) > 1
    alone = sum(summed_loss(tiny.model, [row]).item() for row in rows)
    assert summed_loss(tiny.model, rows).item() == pytest.approx(alone, rel=1e-5)


class ShortOfMemory:
    """Lets a model run out of memory as long as a micro-batch is above `most` rows, or activations are kept."""

    def __init__(self, model: torch.nn.Module, *, most: int, recompute: bool = False) -> None:
        self.kept = recompute
        self.tried: list[int] = []
        model.register_forward_pre_hook(lambda _, args, options: self.check(options, most), with_kwargs=True)
        model.gradient_checkpointing_enable = self.recompute  # type: ignore[assignment]

    def recompute(self, **_: Any) -> None:
        self.kept = False

    def check(self, options: dict[str, Any], most: int) -> None:
        rows = len(options["input_ids"])
        self.tried.append(rows)
        if rows > most or self.kept:
            raise RuntimeError(SHORT_OF_MEMORY)


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_batch() -> None:
    tuned = attach(base(), seed=0)
    short = ShortOfMemory(tuned, most=1)
    found = Gradients(tuned, fits=GPU_FITS, processes=SINGLE_PROCESS)
    loss = found.of(examples()[:4])
    assert short.tried == [4, 2, 1, 1, 1, 1]
    assert (found.fit, found.step_downs) == (Fit(1), 2)
    assert loss == pytest.approx(gradients_of(Fit(1))[0], rel=1e-5)


def test_after_single_rows_activations_are_recomputed() -> None:
    tuned = attach(base(), seed=0)
    ShortOfMemory(tuned, most=1, recompute=True)
    found = Gradients(tuned, fits=GPU_FITS, processes=SINGLE_PROCESS)
    found.of(examples()[:4])
    assert (found.fit, found.step_downs) == (Fit(1, recompute=True), 3)


def test_recomputed_activations_give_the_same_gradients() -> None:
    tuned = attach(base(), seed=0)
    tuned.train()
    tuned.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    loss = Gradients(tuned, fits=[Fit(1, recompute=True)], processes=SINGLE_PROCESS).of(examples()[:4])
    plain_loss, plain = gradients_of(Fit(1))
    assert loss == pytest.approx(plain_loss)
    found = [p.grad for p in tuned.parameters() if p.grad is not None]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, plain, strict=True))


def test_when_nothing_is_small_enough_the_row_is_named_by_its_length() -> None:
    tuned = attach(base(), seed=0)
    ShortOfMemory(tuned, most=0)
    with pytest.raises(OutOfMemory, match=r"a row of \d+ tokens does not fit"):
        tune(tuned, [examples()], rate=1e-2, seed=0)


def test_another_error_is_not_taken_for_a_lack_of_memory() -> None:
    tuned = attach(base(), seed=0)
    tuned.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("shapes differ")))
    with pytest.raises(RuntimeError, match="shapes differ"):
        tune(tuned, [examples()], rate=1e-2, seed=0)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes differ"))


def test_a_cpu_starts_with_single_rows_and_a_gpu_with_whole_batches() -> None:
    assert fits_for(torch.device("cpu")) == CPU_FITS
    assert fits_for(torch.device("cuda")) == GPU_FITS


def test_the_batch_with_the_longest_row_comes_first() -> None:
    seen: list[int] = []
    tuned = attach(base(), seed=0)
    tuned.register_forward_pre_hook(lambda _, a, o: seen.append(o["input_ids"].shape[1]), with_kwargs=True)
    tune(tuned, [examples()] * 2, rate=1e-3, seed=0)
    assert max(seen[:4]) == max(len(example.ids) for example in examples())


def nan_at(tuned: torch.nn.Module, call: int) -> None:
    """Makes the logits of one forward pass NaN."""
    calls: list[int] = []

    def poison(_: Any, __: Any, found: Any) -> None:
        calls.append(1)
        if len(calls) == call:
            found.logits.data.fill_(math.nan)

    tuned.register_forward_hook(poison)


def test_a_loss_that_is_not_finite_falls_back_to_the_last_adapter_that_is_known_to_be_good() -> None:
    broken, whole = attach(base(), seed=0), attach(base(), seed=0)
    nan_at(broken, 9)  # batches of 4, 2, 4, 2 rows: the first row of the third
    found = tune(broken, [examples()] * 4, rate=1e-2, seed=0)
    assert found.diverged == "the loss of step 3 is nan"
    assert (found.steps, found.finished) == (1, True)
    assert all(bool(torch.isfinite(p).all()) for p in broken.parameters())
    losses = completion_losses(broken, examples())
    assert all(math.isfinite(loss) for loss in losses)
    assert losses != completion_losses(whole, examples()), "one step was learnt"


def test_a_loss_that_is_not_finite_at_once_keeps_no_adapter() -> None:
    tuned = attach(base(), seed=0)
    nan_at(tuned, 1)
    with pytest.raises(NoAdapter, match="the loss of step 1 is nan"):
        tune(tuned, [examples()], rate=1e-2, seed=0)


def test_out_of_memory_while_writing_halves_the_batch_and_every_prompt_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = base()
    writer = prompt_writer(tiny.tokenizer, tiny.max_length)
    prompts = [writer.prompt(f"v{i}", "why " * (i + 1), (), intent="a", max_new_tokens=4) for i in range(9)]
    real, sizes = generating._generate_batch, []

    def short(model: Any, base: Any, batch: Any, settings: Any) -> Any:
        sizes.append(len(batch))
        if len(batch) > 2 or batch[0].row_id == "v8":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(model, base, batch, settings)

    monkeypatch.setattr(generating, "_generate_batch", short)
    found = generate(tiny.model, tiny, prompts, end_id=writer.end_id, max_new_tokens=4)
    assert sizes == [8, 4, 2, 2, 2, 2, 1, 1][: len(sizes)]
    assert set(found.written) == {f"v{i}" for i in range(8)}
    assert found.too_large == ("v8",)
    assert found.step_downs > 2
