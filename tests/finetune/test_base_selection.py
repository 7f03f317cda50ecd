import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from finetune.base_model import BaseModel, load_candidate
from finetune.base_selection import EMBEDDED, LARGE, SMALL, BaseCandidate, candidates
from finetune.distributed import SINGLE_PROCESS
from finetune.fallback import fit_with_fallback
from finetune.fit import Deadlines
from finetune.lora import attach, tune
from finetune.memory import OutOfMemory
from finetune.prompt import prompt_writer
from retrieval.encoder import ModelUnavailable
from retrieval.intent_classifier import fit_classifier
from tests.fakes import ROWS, HashEncoder, base, save_base, tokenizer, train_set

NEVER = Deadlines(*[float("inf")] * 3)


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        (None, [(EMBEDDED, "fp32")]),
        (7.9, [(SMALL[0], "bf16"), (EMBEDDED, "fp32")]),
        (8.0, [(LARGE[0], "nf4"), (SMALL[0], "bf16"), (EMBEDDED, "fp32")]),
        (21.9, [(LARGE[0], "nf4"), (SMALL[0], "bf16"), (EMBEDDED, "fp32")]),
        (22.0, [(LARGE[0], "bf16"), (LARGE[0], "nf4"), (SMALL[0], "bf16"), (EMBEDDED, "fp32")]),
    ],
)
def test_free_memory_decides_where_auto_starts(free: float | None, expected: list[tuple[str, str]]) -> None:
    assert [(candidate.source, candidate.precision) for candidate in candidates("auto", free)] == expected


def test_hub_bases_are_pinned() -> None:
    assert all(len(candidate.revision or "") == 40 for candidate in candidates("auto", 80.0) if candidate.source != EMBEDDED)


def test_a_named_base_stays_the_base_and_on_a_gpu_may_be_quantised() -> None:
    assert candidates("a/b@main", None) == (BaseCandidate("a/b", "main", "fp32"),)
    assert candidates("a/b", 40.0) == (BaseCandidate("a/b", None, "bf16"), BaseCandidate("a/b", None, "nf4"))


def test_an_at_sign_in_a_folders_name_is_no_revision(tmp_path: Path) -> None:
    (tmp_path / "base@home").mkdir()
    assert candidates(str(tmp_path / "base@home"), None)[0].source == str(tmp_path / "base@home")


def auto_with(monkeypatch: pytest.MonkeyPatch, outcomes: dict[str, Exception | None]) -> list[str]:
    """Lets `auto` on a large GPU meet these outcomes, by precision and source; returns the list of what was tried."""
    tried: list[str] = []

    def loaded(candidate: BaseCandidate, *, deadline: float) -> BaseModel:
        tried.append(candidate.said)
        if error := outcomes.get(candidate.said):
            raise error
        return base()

    monkeypatch.setattr("finetune.fallback.load_candidate", loaded)
    monkeypatch.setattr("finetune.fallback.free_gib", lambda: 40.0)
    return tried


FULL, QUANTISED = f"{LARGE[0]} in bf16", f"{LARGE[0]} in nf4"


def test_auto_goes_down_with_the_reason_of_each_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    unavailable = {FULL: ModelUnavailable("no network"), QUANTISED: ModelUnavailable("no disk")}
    tried = auto_with(monkeypatch, dict(unavailable))
    classifier = fit_classifier(train_set(), with_names=True)
    found = fit_with_fallback("auto", classifier, HashEncoder(), seed=0, deadlines=NEVER, processes=SINGLE_PROCESS)
    assert tried == [FULL, QUANTISED, f"{SMALL[0]} in bf16"]
    assert found.reasons == ("no network", "no disk")
    assert found.base is not None
    assert not found.out_of_memory


def test_memory_that_runs_out_while_tuning_leads_down_a_rung_and_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    from finetune.fit import fine_tune

    auto_with(monkeypatch, {})
    calls: list[int] = []

    def short_once(*given: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise OutOfMemory("a row of 900 tokens does not fit into memory")
        return fine_tune(*given, **options)

    monkeypatch.setattr("finetune.fallback.fine_tune", short_once)
    found = fit_with_fallback(
        "auto", fit_classifier(train_set(), with_names=True), HashEncoder(), seed=0, deadlines=NEVER, processes=SINGLE_PROCESS
    )
    assert found.out_of_memory
    assert found.reasons == (f"{FULL} was left: a row of 900 tokens does not fit into memory",)


def test_under_the_last_rung_lies_retrieval_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = ModelUnavailable("gone")
    names = {candidate.said: gone for candidate in candidates("auto", 40.0)}
    auto_with(monkeypatch, dict(names))
    found = fit_with_fallback(
        "auto", fit_classifier(train_set(), with_names=True), HashEncoder(), seed=0, deadlines=NEVER, processes=SINGLE_PROCESS
    )
    assert (found.base, found.tuned) == (None, None)
    assert found.reasons[-1] == "retrieval alone: gone"


def test_a_named_base_that_cannot_be_loaded_is_an_error_and_one_without_memory_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    classifier = fit_classifier(train_set(), with_names=True)
    auto_with(monkeypatch, {"a/b in bf16": ModelUnavailable("x"), "a/b in nf4": ModelUnavailable("y")})
    with pytest.raises(ModelUnavailable, match="x; y"):
        fit_with_fallback("a/b", classifier, HashEncoder(), seed=0, deadlines=NEVER, processes=SINGLE_PROCESS)
    auto_with(monkeypatch, {})
    monkeypatch.setattr("finetune.fallback.fine_tune", _no_memory)
    found = fit_with_fallback("a/b", classifier, HashEncoder(), seed=0, deadlines=NEVER, processes=SINGLE_PROCESS)
    assert (found.base, found.out_of_memory) == (None, True)


def _no_memory(*_: Any, **__: Any) -> None:
    raise OutOfMemory("too small")


def test_quantisation_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelUnavailable, match="needs the package bitsandbytes"):
        load_candidate(BaseCandidate(str(tmp_path), None, "nf4"))


def test_a_base_in_nf4_is_smaller_trains_and_nears_the_full_one(tmp_path: Path) -> None:
    words = tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=128,  # quantisation works in blocks of 64
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    full, small = (load_candidate(BaseCandidate(str(tmp_path), None, precision)) for precision in ("fp32", "nf4"))
    assert small.model.get_memory_footprint() < 0.5 * full.model.get_memory_footprint()
    writer = prompt_writer(small.tokenizer, small.max_length)
    examples = [writer.example(row, ()) for row in ROWS]
    # On a CPU bitsandbytes repacks the weights once they are used to infer, and cannot train them any more: train first.
    tuning = tune(attach(small, seed=0), [examples] * 3, rate=1e-2, seed=0)
    assert tuning.losses[-1] < tuning.losses[0]
    assert tuning.losses[0] == pytest.approx(tune(attach(full, seed=0), [examples], rate=0.0, seed=0).losses[0], abs=0.1)


def test_a_checkpoint_in_pickles_is_refused(tmp_path: Path) -> None:
    save_base(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(base().model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelUnavailable, match="cannot be loaded"):
        load_candidate(BaseCandidate(str(tmp_path), None, "fp32"))
