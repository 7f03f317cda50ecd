"""Train, measure, decide: what fine_tune gives when all is well, and when numbers or time run out."""

from dataclasses import replace
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer
from transformers import LlamaForCausalLM

from finetune import lora
from finetune.distributed import SINGLE_PROCESS
from finetune.fit import (
    MAX_TRAINING_ROWS,
    MAX_TRAINING_ROWS_GPU,
    Deadlines,
    make_setup,
    training_rows,
    with_lm_scores,
)
from finetune.gates import lm_scores_gate_untested
from retrieval.encoder import humanised
from retrieval.intent_classifier import fit_classifier
from retrieval.taxonomy import Taxonomy
from tests.fakes import ROWS, base, row, train_set
from tests.finetune.helpers import (
    FEW,
    ONE_EPOCH,
    assert_final_adapter_alone,
    change_loss,
    classifier_for,
    fine_tune_few,
    gate_of,
    nan_in,
    undisturbed,
)

Patch = pytest.MonkeyPatch


def test_the_result_is_complete_and_only_the_final_adapter_is_left_on_the_model() -> None:
    tuned = undisturbed()
    assert_final_adapter_alone(tuned)
    assert tuned.run is not None
    assert (tuned.run.steps, tuned.run.finished, tuned.timed_out, tuned.memory_retries) == (1, True, False, 0)
    assert [gate.name for gate in tuned.gates] == ["LM intent scores", "adapter scale", "replies"]
    assert all(gate.standard and gate.statistic and gate.reason for gate in tuned.gates)
    assert tuned.losses is not None
    assert tuned.warnings == ()


def test_the_base_is_as_it_was_once_the_adapter_is_taken_away() -> None:
    tuned = fine_tune_few()
    assert tuned.model is not None
    found, expected = tuned.model.unload().state_dict(), base().model.state_dict()
    assert set(found) == set(expected)
    assert all(torch.equal(weight, expected[name]) for name, weight in found.items())


def test_a_fold_never_wraps_the_model_a_second_time(monkeypatch: Patch) -> None:
    wrapped, real = list[Any](), lora.get_peft_model
    monkeypatch.setattr(lora, "get_peft_model", lambda *given, **options: wrapped.append(given) or real(*given, **options))
    tuned = fine_tune_few()
    assert len(wrapped) == 1
    assert tuned.model is not None
    assert type(tuned.model.base_model.model) is LlamaForCausalLM
    assert not any("base_layer.base_layer" in name for name, _ in tuned.model.named_modules())


def test_a_final_adapter_that_diverges_at_once_is_not_kept() -> None:
    tuned = fine_tune_few(config=replace(ONE_EPOCH, learning_rate=inf))
    assert (tuned.model, tuned.run, tuned.losses, tuned.lm_weight, tuned.generates) == (None, None, None, 0.0, False)
    assert any(warning.startswith("no adapter was kept: ") for warning in tuned.warnings)


def test_a_final_adapter_that_diverges_late_is_kept_as_it_was_and_a_warning_says_so(monkeypatch: Patch) -> None:
    change_loss(monkeypatch, nan_in("final", call=5))  # two rows at a time: the last of three steps
    tuned = fine_tune_few(config=replace(ONE_EPOCH, epochs=3))
    assert tuned.run is not None
    assert tuned.run.steps == 1
    assert "training diverged (the loss of step 3 is nan): the adapter of step 1 is kept" in tuned.warnings


def test_no_row_short_enough_means_no_adapter_and_copies() -> None:
    tiny = base(max_length=700)
    tuned = fine_tune_few(tiny, rows=tuple(replace(row, ideal_reply="z" * 900) for row in FEW))
    assert (tuned.model, tuned.run, tuned.generates) == (None, None, False)
    assert tuned.warnings[0].startswith("rows that cannot be written as a prompt, so not learned from: ")
    assert "no adapter was kept: no row is short enough to learn from" in tuned.warnings
    assert not any(isinstance(module, LoraLayer) for module in tiny.model.modules())


@pytest.mark.parametrize("right", [True, False])
def test_lm_scores_join_unless_the_train_rows_forbid_it(right: bool, monkeypatch: Patch) -> None:
    decode = base().tokenizer.decode

    def scores(_: Any, prompt: Any, tickets: Any) -> list[float]:
        (name,) = {row.intent for row in FEW if f"about this: {humanised(row.intent)}." in decode(prompt)}
        intent_of = {row.text: row.intent for row in FEW}
        return [0.0 if (intent_of[decode(ticket)] == name) == right else -90.0 for ticket in tickets]

    monkeypatch.setattr("finetune.noisy_channel.log_likelihoods", scores)
    tuned = fine_tune_few(given=("name",))
    record = gate_of(tuned, "LM intent scores")
    assert (tuned.lm_weight > 0, record.passed, record.n) == (right, right, 4)
    assert record.value is not None
    assert (record.value > 0) == right


def test_the_bare_base_scores_intents_even_where_no_adapter_was_kept(monkeypatch: Patch) -> None:
    monkeypatch.setattr("finetune.fit.lm_scores_gate", lambda *_, **__: (0.3, lm_scores_gate_untested("passed here")[1]))
    tuned = fine_tune_few(config=replace(ONE_EPOCH, learning_rate=inf))
    assert (tuned.model, tuned.lm_weight) == (None, 0.3)


def test_an_expired_deadline_means_no_adapter_copies_and_no_lm_scores() -> None:
    tuned = fine_tune_few(deadlines=Deadlines(-inf, -inf, -inf, -inf))
    assert (tuned.model, tuned.losses, tuned.lm_weight, tuned.generates, tuned.timed_out) == (None, None, 0.0, False, True)
    assert any("before the first step" in warning for warning in tuned.warnings)


def test_the_number_of_training_rows_follows_the_device_and_not_the_size_of_the_base() -> None:
    classifier = classifier_for([row(i, f"ticket {i}", f"intent.{i % 2}", "Yes.") for i in range(MAX_TRAINING_ROWS_GPU + 1)])
    for device, expected in (("cpu", MAX_TRAINING_ROWS), ("cuda", MAX_TRAINING_ROWS_GPU)):
        for large in (False, True):
            found: Any = SimpleNamespace(model=SimpleNamespace(device=torch.device(device)), large=large)
            assert len(training_rows(classifier, found)) == expected


def test_rows_beyond_the_cap_are_left_to_retrieval_and_a_warning_says_so(monkeypatch: Patch) -> None:
    monkeypatch.setattr("finetune.fit.MAX_TRAINING_ROWS", 2)
    tuned = fine_tune_few()
    assert tuned.warnings[0] == "the adapter learns from 2 of 4 rows, retrieval from all"


def test_the_prompts_of_a_run_say_what_the_intents_of_its_taxonomy_are_about() -> None:
    tiny, taxonomy = base(), Taxonomy({row.intent: f"about {row.intent}" for row in ROWS}, {})
    classifier = fit_classifier(replace(train_set(), taxonomy=taxonomy), with_names=True)
    setup = make_setup(classifier, training_rows(classifier, tiny), tiny, ONE_EPOCH, seed=0, processes=SINGLE_PROCESS)
    assert setup.writer.descriptions == taxonomy.descriptions


def test_a_base_whose_scores_gained_nothing_is_not_asked_for_them(monkeypatch: Patch) -> None:
    monkeypatch.setattr("finetune.fit.own_row_scores", lambda *_: pytest.fail("rows were scored"))
    classifier, tiny = replace(classifier_for(), with_names=False), base()
    setup = make_setup(classifier, training_rows(classifier, tiny), tiny, ONE_EPOCH, seed=0, processes=SINGLE_PROCESS)
    same, found = with_lm_scores(setup, inf)
    assert (same, found.value, found.gate.passed) == (setup, 0.0, False)
    assert "gained nothing on public sets" in found.gate.reason
