"""Memory that runs out, wherever it does: the result is complete, or the next candidate is called for."""

import platform
import sys
from collections.abc import Callable
from functools import cache
from math import inf, isfinite
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from peft.tuners.lora import LoraLayer
from transformers import DynamicCache, LlamaForCausalLM

from finetune import memory
from finetune.fit import FineTuned
from finetune.lora import FINAL
from finetune.memory import (
    CPU_PLANS,
    FP32_PLANS,
    GPU_PLANS,
    MemoryPlan,
    OutOfMemory,
    is_out_of_memory,
    memory_guard,
    memory_plans,
    release,
)
from tests.fakes import base
from tests.finetune.helpers import (
    FEW,
    OUT_OF_MEMORY,
    Loss,
    assert_final_adapter_alone,
    change_loss,
    fine_tune_few,
    gate_of,
    no_memory,
    undisturbed,
)

Patch = pytest.MonkeyPatch


@pytest.mark.parametrize(("limit", "free"), [("max", inf), (str(6 * 2**30), 4.5)])
def test_the_limit_of_a_container_counts_and_its_page_cache_is_free(limit: str, free: float, tmp_path: Path) -> None:
    for name, text in (("max", limit), ("current", str(2 * 2**30)), ("stat", f"anon 7\ninactive_file {2**29}")):
        (tmp_path / f"memory.{name}").write_text(f"{text}\n")
    assert memory._below_limit_gib(tmp_path) == free
    assert memory._below_limit_gib(tmp_path / "nothing") == inf


def test_the_errors_of_the_allocators_are_told_from_others() -> None:
    for error in (torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError(OUT_OF_MEMORY)):
        assert is_out_of_memory(error)
        with pytest.raises(OutOfMemory, match="it does not fit into memory"), memory_guard("it"):
            raise error
    with pytest.raises(RuntimeError, match="shapes differ"), memory_guard("it"):
        raise RuntimeError("shapes differ")


@pytest.mark.parametrize(
    "message",
    ["CUDA error: out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"],
)
def test_the_errors_of_cuda_and_cublas_are_told_from_others(message: str) -> None:
    assert is_out_of_memory(RuntimeError(message))


def test_training_starts_with_whole_batches_and_a_cpu_never_recomputes_for_prompts_have_no_gradient_there() -> None:
    assert memory_plans(torch.device("cpu"), torch.bfloat16) == CPU_PLANS
    assert memory_plans(torch.device("cpu"), torch.float32) == FP32_PLANS == CPU_PLANS[1:]
    assert memory_plans(torch.device("cuda"), torch.float32) == GPU_PLANS
    assert CPU_PLANS[0] == GPU_PLANS[0] == MemoryPlan(4)
    assert not any(plan.recompute for plan in CPU_PLANS)


def in_training(name: str) -> Callable[[Patch], None]:
    """Wherever this adapter is trained."""

    def loss(real: Loss, model: Any, batch: Any) -> torch.Tensor:
        return no_memory() if torch.is_grad_enabled() and model.active_adapter == name else real(model, batch)

    return lambda patch: change_loss(patch, loss)


def in_losses(name: str, row_id: str) -> Callable[[Patch], None]:
    """Where the loss of this row is measured through this adapter."""

    def loss(real: Loss, model: Any, batch: Any) -> torch.Tensor:
        here = not torch.is_grad_enabled() and model.active_adapter == name and row_id in {example.row_id for example in batch}
        return no_memory() if here else real(model, batch)

    return lambda patch: change_loss(patch, loss)


def in_call(owner: Any, name: str, number: int) -> Callable[[Patch], None]:
    """In one call of a function."""

    def use(patch: Patch) -> None:
        real, calls = getattr(owner, name), list[int]()

        def called(*given: Any, **options: Any) -> Any:
            calls.append(1)
            return no_memory() if len(calls) == number else real(*given, **options)

        patch.setattr(owner, name, called)

    return use


def in_attaching_a_fold(patch: Patch) -> None:
    real, layers = LoraLayer.update_layer, list[str]()

    def update(layer: LoraLayer, name: str, *given: Any, **options: Any) -> None:
        layers.append(name)
        return no_memory() if layers.count("fold0") == 4 and name == "fold0" else real(layer, name, *given, **options)

    patch.setattr(LoraLayer, "update_layer", update)


FINAL_ADAPTER: dict[str, Callable[[Patch], None]] = {
    "attach": lambda patch: patch.setattr("finetune.lora.get_peft_model", no_memory),
    "optimiser": in_call(torch.optim, "AdamW", 1),
    "train": in_training(FINAL),
    "step": in_call(torch.nn.utils, "clip_grad_norm_", 1),
}
LATER: dict[str, Callable[[Patch], None]] = {
    "forgetting check": in_losses(FINAL, "sentence 3"),
    "attach fold": in_attaching_a_fold,
    "optimiser of fold": in_call(torch.optim, "AdamW", 2),
    "train fold": in_training("fold0"),
    "step of fold": in_call(torch.nn.utils, "clip_grad_norm_", 2),
    "losses of fold": in_losses("fold0", FEW[0].id),
    "LM intent scores": lambda patch: patch.setattr(DynamicCache, "batch_repeat_interleave", no_memory),
    "generation": lambda patch: patch.setattr(LlamaForCausalLM, "generate", no_memory),
    "final losses": in_losses(FINAL, FEW[1].id),
}


@cache
def outcome(place: str) -> FineTuned | Exception:
    with Patch.context() as patch:
        (FINAL_ADAPTER | LATER)[place](patch)
        try:
            return fine_tune_few()
        except Exception as error:
            return error


def result_of(place: str) -> FineTuned:
    found = outcome(place)
    assert isinstance(found, FineTuned), repr(found)
    return found


@pytest.mark.parametrize("place", FINAL_ADAPTER)
def test_without_memory_for_the_final_adapter_the_next_candidate_is_called_for(place: str) -> None:
    found = outcome(place)
    assert isinstance(found, OutOfMemory), repr(found)
    assert "does not fit into memory" in str(found)


@pytest.mark.parametrize("place", LATER)
def test_memory_that_runs_out_later_leaves_a_complete_result_and_the_same_final_adapter(place: str) -> None:
    tuned = result_of(place)
    assert_final_adapter_alone(tuned, same_as=undisturbed())
    assert [gate.name for gate in tuned.gates] == ["LM intent scores", "adapter scale", "replies"]
    assert tuned.lm_weight == (0.0 if place == "LM intent scores" else undisturbed().lm_weight)
    assert not tuned.generates
    assert tuned.losses is None or (isfinite(tuned.losses.seen) and isfinite(tuned.losses.unseen))


@pytest.mark.parametrize("place", LATER)
def test_memory_that_ran_out_anywhere_is_counted_and_a_warning_says_so(place: str) -> None:
    tuned = result_of(place)
    assert tuned.memory_retries > 0
    assert any("memory" in warning for warning in tuned.warnings)


@pytest.mark.parametrize("place", [place for place in LATER if "fold" in place])
def test_after_a_fold_without_memory_stored_replies_are_given(place: str) -> None:
    tuned = result_of(place)
    assert not tuned.generates
    assert any(warning.startswith("fold 1 of 2 was not judged: ") for warning in tuned.warnings)


def test_losses_are_a_pair_or_none() -> None:
    assert result_of("final losses").losses is None
    assert result_of("forgetting check").losses is None
    assert result_of("generation").losses == undisturbed().losses


def test_a_forgetting_check_without_memory_leaves_the_adapter_as_trained_and_nothing_uses_it() -> None:
    tuned = result_of("forgetting check")
    assert tuned.scale == 1.0
    assert not gate_of(tuned, "adapter scale").passed
    for name in ("adapter scale", "replies"):
        assert "untested" in gate_of(tuned, name).reason
        assert "memory" in gate_of(tuned, name).reason


def test_folds_start_with_the_memory_plan_of_the_final_adapter_and_recomputation_ends_with_each_training(
    monkeypatch: Patch,
) -> None:
    tiny, used = base(), set[tuple[str, MemoryPlan]]()
    for module in ("judging", "training"):
        monkeypatch.setattr(f"finetune.{module}.memory_plans", lambda *_: GPU_PLANS)

    def loss(real: Loss, model: Any, batch: Any) -> torch.Tensor:
        recompute = tiny.model.model.gradient_checkpointing
        if torch.is_grad_enabled() and not recompute:
            no_memory()
        if torch.is_grad_enabled():
            used.add((model.active_adapter, MemoryPlan(len(batch), recompute)))
        else:
            assert not recompute, "it belongs to training"
        return real(model, batch)

    change_loss(monkeypatch, loss)
    tuned = fine_tune_few(tiny)
    assert tuned.run is not None
    assert tuned.run.plan == MemoryPlan(1, recompute=True)
    assert used == {(name, tuned.run.plan) for name in (FINAL, "fold0", "fold1")}
    assert not tiny.model.model.gradient_checkpointing
    assert (tuned.run.memory_retries, tuned.memory_retries) == (3, 3), "the folds did not try again what had not fitted"
    assert "1 rows at a time, activations recomputed" in tuned.warnings[0]


@pytest.mark.skipif(sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="glibc keeps freed memory")
def test_freed_memory_goes_back_to_the_system() -> None:
    resident = psutil.Process().memory_info
    blocks = [torch.ones(2**14) for _ in range(4000)]  # 64 KiB each, 250 MiB together
    kept = blocks[::100]  # among them, so that the heap cannot shrink from its end
    del blocks
    before = resident().rss
    release()
    assert before - resident().rss > 100 * 2**20
    assert len(kept) == 40
