"""The training loop: what it learns, and what it does when memory, numbers or time run out."""

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import PeftModel

from finetune.lora import attach
from finetune.memory import CPU_PLANS, GPU_PLANS, MemoryPlan, OutOfMemory
from finetune.prompt import Example
from finetune.training import NoAdapter, TrainingRun, completion_losses, row_losses, train
from tests.fakes import base
from tests.finetune.helpers import OUT_OF_MEMORY, base_in, examples, no_memory

EXAMPLES = examples(base(), exemplars=True)


def adapted() -> PeftModel:
    return attach(base(), seed=0)


def trained(model: PeftModel, *, epochs: int = 1, rate: float = 1e-2, **options: Any) -> TrainingRun:
    """A step is one call of the model, unless `plans` says otherwise."""
    return train(model, [EXAMPLES] * epochs, learning_rate=rate, seed=0, **{"plans": CPU_PLANS} | options)


def weights(model: PeftModel) -> list[torch.Tensor]:
    return [weight.detach().clone() for weight in model.parameters() if weight.requires_grad]


def test_training_lowers_the_loss_and_counts_its_steps() -> None:
    model = adapted()
    before = sum(completion_losses(model, EXAMPLES))
    run = trained(model, epochs=3)
    assert (run.steps, len(run.losses), run.finished, run.diverged) == (6, 6, True, "")
    assert (run.plan, run.memory_retries) == (CPU_PLANS[0], 0)
    assert sum(completion_losses(model, EXAMPLES)) < before
    assert not model.training


def test_steps_smaller_than_the_distance_of_two_bf16_numbers_add_up() -> None:
    moved = []
    for model in (adapted(), attach(base_in(torch.bfloat16), seed=0)):
        before = weights(model)
        trained(model, epochs=20, rate=1e-4, prompt_gradient=False)
        pairs = zip(weights(model), before, strict=True)
        moved.append(sum((new.float() - old.float()).abs().sum().item() for new, old in pairs))
    assert moved[1] == pytest.approx(moved[0], rel=0.1)


def test_only_the_completion_carries_the_loss() -> None:
    tiny, example = base(), EXAMPLES[1]
    ids = torch.tensor([example.ids])
    each = torch.nn.functional.cross_entropy(tiny.model(input_ids=ids).logits[0, :-1], ids[0, 1:], reduction="none")
    assert completion_losses(tiny.model, [example])[0] == pytest.approx(each[-example.supervised :].mean().item(), rel=1e-5)


def test_padded_rows_have_the_loss_they_have_alone() -> None:
    tiny, rows = base(), EXAMPLES[:3]
    assert len({len(row.ids) for row in rows}) == 3
    assert len({row.supervised for row in rows}) > 1
    alone = sum(row_losses(tiny.model, [row]).item() for row in rows)
    assert row_losses(tiny.model, rows).sum().item() == pytest.approx(alone, rel=1e-5)


def gradients(model: PeftModel, rows: Sequence[Example], **options: bool) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss, and the gradient of each weight of the adapter."""
    model.zero_grad()
    loss = row_losses(model, rows, **options).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item(), {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def with_noise(model: PeftModel) -> PeftModel:
    """Every weight of the adapter away from zero: `lora_B` is zero at first, and then `lora_A` has no gradient."""
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.05, generator=generator)
    return model


def test_without_the_prompts_gradient_the_loss_is_the_same_for_padded_rows_too() -> None:
    model = with_noise(adapted())
    for rows in (EXAMPLES[:1], EXAMPLES[:3]):
        expected, _ = gradients(model, rows)
        assert gradients(model, rows, prompt_gradient=False)[0] == pytest.approx(expected, rel=1e-5)


def test_without_the_prompts_gradient_its_keys_and_values_are_taken_as_given() -> None:
    model = with_noise(adapted())
    _, whole = gradients(model, EXAMPLES[:1])
    _, cut = gradients(model, EXAMPLES[:1], prompt_gradient=False)
    assert set(whole) == set(cut)
    for name, gradient in cut.items():
        assert gradient.abs().sum() > 0
        if "layers.0" in name and ("k_proj" in name or "v_proj" in name):
            assert not torch.allclose(gradient, whole[name], rtol=1e-2), "the prompt's part of the gradient is missing"


def test_training_without_the_prompts_gradient_lowers_the_loss() -> None:
    model = adapted()
    before = sum(completion_losses(model, EXAMPLES))
    trained(model, epochs=3, prompt_gradient=False)
    assert sum(completion_losses(model, EXAMPLES)) < before


@pytest.mark.parametrize("most", [1, 700, 10_000])
def test_losses_keep_the_order_of_their_rows_however_many_go_together(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapted()
    alone = [completion_losses(model, [example])[0] for example in EXAMPLES]
    monkeypatch.setattr("finetune.training.LOSS_BATCH_TOKENS", most)
    assert completion_losses(model, EXAMPLES) == pytest.approx(alone, rel=1e-5)


def test_the_loss_of_a_step_is_the_mean_over_the_supervised_tokens_of_its_batch() -> None:
    model = adapted()
    losses = completion_losses(model, EXAMPLES[:4])
    tokens = [example.supervised for example in EXAMPLES[:4]]
    run = train(model, [EXAMPLES[:4]], learning_rate=0.0, seed=0)
    expected = sum(loss * count for loss, count in zip(losses, tokens, strict=True)) / sum(tokens)
    assert run.losses == pytest.approx((expected,), rel=1e-5)


def test_the_batch_with_the_longest_row_comes_first() -> None:
    model, lengths = adapted(), list[int]()
    model.register_forward_pre_hook(lambda _, given, options: lengths.append(options["input_ids"].shape[1]), with_kwargs=True)
    train(model, [EXAMPLES] * 2, learning_rate=1e-3, seed=8)  # which puts it into the second batch
    assert max(lengths[:4]) == max(len(example.ids) for example in EXAMPLES)


@pytest.mark.parametrize("plan", [MemoryPlan(4), MemoryPlan(2), MemoryPlan(1, recompute=True)])
def test_the_memory_plan_changes_neither_losses_nor_what_is_learned(plan: MemoryPlan) -> None:
    one, other = adapted(), adapted()
    plain, run = (trained(model, rate=1e-3, plans=[use]) for model, use in ((one, MemoryPlan(1)), (other, plan)))
    assert run.losses == pytest.approx(plain.losses, rel=1e-5)
    assert run.plan == plan
    # Adam's first steps go by the sign of a gradient, so float noise around 0 may turn a few of them.
    near = [torch.isclose(a, b, atol=1e-4).float().mean() for a, b in zip(weights(one), weights(other), strict=True)]
    assert min(near) > 0.99


def memory_for(model: PeftModel, *, rows: int, recompute: bool = False) -> list[int]:
    """Lets memory suffice for so many rows at a time, or only for recomputed activations; returns the sizes that were tried."""
    tried: list[int] = []

    def check(_: Any, __: Any, options: dict[str, Any]) -> None:
        tried.append(len(options["input_ids"]))
        if tried[-1] > rows or (recompute and not model.base_model.model.model.gradient_checkpointing):
            raise RuntimeError(OUT_OF_MEMORY)

    model.register_forward_pre_hook(check, with_kwargs=True)
    return tried


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_batch() -> None:
    model, plain = adapted(), adapted()
    tried = memory_for(model, rows=1)
    run = trained(model, plans=GPU_PLANS)
    assert tried == [4, 2, 1, 1, 1, 1, 1, 1]
    assert (run.plan, run.memory_retries) == (MemoryPlan(1), 2)
    assert run.losses == pytest.approx(trained(plain).losses, rel=1e-5)


def test_after_single_rows_activations_are_recomputed_and_afterwards_they_are_kept_again() -> None:
    model = adapted()
    memory_for(model, rows=1, recompute=True)
    run = trained(model, plans=GPU_PLANS)
    assert (run.plan, run.memory_retries, run.finished) == (MemoryPlan(1, recompute=True), 3, True)
    assert not any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def test_memory_that_runs_out_in_the_middle_of_a_batch_counts_no_row_twice() -> None:
    model, plain, calls, plans = adapted(), adapted(), list[int](), (MemoryPlan(1), MemoryPlan(1, recompute=True))

    def check(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError(OUT_OF_MEMORY)

    model.register_forward_pre_hook(check)
    run, expected = trained(model, plans=plans), trained(plain)
    assert run.losses == pytest.approx(expected.losses, rel=1e-5)
    assert run.memory_retries == 1


def test_when_nothing_is_small_enough_the_row_is_named_by_its_length_and_activations_are_kept_again() -> None:
    model = adapted()
    memory_for(model, rows=0)
    with pytest.raises(OutOfMemory, match=r"a row of \d+ tokens does not fit"):
        trained(model)
    assert not model.training
    assert not any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def test_memory_that_runs_out_for_the_optimisers_state_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapted()
    monkeypatch.setattr(torch, "zeros_like", no_memory)
    with pytest.raises(OutOfMemory, match="the training state of the adapter does not fit"):
        trained(model)


@pytest.mark.parametrize("place", ["torch.nn.utils.clip_grad_norm_", "torch.optim.AdamW.step"])
def test_memory_that_runs_out_in_the_optimisers_step_is_one_sentence(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapted()
    monkeypatch.setattr(place, no_memory)
    with pytest.raises(OutOfMemory):
        trained(model)


def test_another_error_is_not_taken_for_a_lack_of_memory() -> None:
    model = adapted()
    model.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("shapes differ")))
    for work in (lambda: trained(model), lambda: completion_losses(model, EXAMPLES)):
        with pytest.raises(RuntimeError, match="shapes differ"):
            work()


def test_memory_that_runs_out_for_a_loss_is_one_sentence() -> None:
    model = adapted()
    memory_for(model, rows=0)
    with pytest.raises(OutOfMemory, match="measuring a completion loss does not fit"):
        completion_losses(model, EXAMPLES)


def nan_at(model: PeftModel, call: int) -> None:
    """Makes the logits of one forward pass NaN."""
    calls: list[int] = []

    def poison(_: Any, __: Any, found: Any) -> None:
        calls.append(1)
        if len(calls) == call:
            found.logits.data.fill_(math.nan)

    model.register_forward_hook(poison)


def clock(*times: float) -> Callable[[], float]:
    """A clock that is read once a step."""
    left = list(times)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_a_loss_that_is_not_finite_falls_back_to_the_last_adapter_known_to_be_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken, one_step = adapted(), adapted()
    nan_at(broken, 3)
    run = trained(broken, epochs=4)
    assert run.diverged == "the loss of step 3 is nan"
    assert (run.steps, run.finished) == (1, True)
    monkeypatch.setattr("finetune.training.time", SimpleNamespace(monotonic=clock(1.0, 9.0)))
    assert trained(one_step, epochs=4, deadline=5.0).steps == 1
    assert all(torch.equal(a, b) for a, b in zip(weights(broken), weights(one_step), strict=True))


def test_a_loss_that_is_not_finite_at_once_keeps_no_adapter() -> None:
    model = adapted()
    nan_at(model, 1)
    with pytest.raises(NoAdapter, match="the loss of step 1 is nan"):
        trained(model)


def test_trap_2_weights_that_are_not_finite_are_never_kept() -> None:
    with pytest.raises(NoAdapter, match=r"^(the loss of step 2 is|a weight is not finite)"):
        trained(adapted(), rate=math.inf)


def test_trap_2_a_row_without_supervised_tokens_is_named() -> None:
    with pytest.raises(ValueError, match="without supervised tokens: lost"):
        train(adapted(), [[Example("lost", (1, 2, 3), 0)]], learning_rate=1e-2, seed=0)


def test_trap_15_the_number_of_steps_follows_from_the_rows_and_a_deadline_that_cuts_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("finetune.training.time", SimpleNamespace(monotonic=clock(1.0, 2.0, 9.0)))
    run = trained(adapted(), epochs=2, deadline=5.0)
    assert (run.steps, len(run.losses), run.finished) == (2, 2, False)
    with pytest.raises(NoAdapter, match="before the first step") as caught:
        trained(adapted(), deadline=5.0)
    assert caught.value.timed_out
    assert trained(adapted(), epochs=2, deadline=10.0).steps == 4
