"""Losses, scale and reply gate of a trained adapter, and what cuts the measuring short."""

from dataclasses import replace
from math import inf
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from finetune import forgetting
from finetune.fit import Deadlines, FineTuned
from finetune.gates import scale_gate
from finetune.generate import Generation, Generations
from finetune.lora import attach, set_scale
from finetune.prompt import Example
from finetune.training import train
from finetune.training_data import TrainingConfig, make_training_data
from retrieval.cross_validation import folds, out_of_fold_log_probabilities, refit
from retrieval.gate import Gate
from retrieval.progress import Group
from retrieval.retrieve import retrieve_train_rows
from tests.fakes import base, row
from tests.finetune.helpers import (
    FEW,
    ONE_EPOCH,
    Loss,
    assert_final_adapter_alone,
    change_loss,
    classifier_for,
    fine_tune_few,
    gate_of,
    nan_in,
    undisturbed,
    writer_for,
)

Patch = pytest.MonkeyPatch


def by_hand(model: torch.nn.Module, example: Example) -> float:
    ids = torch.tensor([example.ids])
    with torch.no_grad():
        each = torch.nn.functional.cross_entropy(model(input_ids=ids).logits[0, :-1], ids[0, 1:], reduction="none")
    return each[-example.supervised :].mean().item()


def losses_by_hand(tuned: FineTuned, config: TrainingConfig) -> tuple[float, float]:
    """Of prompts as a new ticket would get them: by the final adapter, and by one for each fold that is made anew here."""
    classifier, writer = classifier_for(), writer_for(base())
    found = retrieve_train_rows(classifier, np.arange(len(FEW)), out_of_fold_log_probabilities(classifier))
    shown = [writer.example(row, retrieval.exemplars) for row, retrieval in zip(FEW, found, strict=True)]
    fold_of, out_of_fold = folds(classifier.train_set, count=2), list[float]()
    for fold in (0, 1):
        out = np.flatnonzero(fold_of == fold)
        rest = refit(classifier, classifier.train_set.without(out))
        data = make_training_data(rest, out_of_fold_log_probabilities(rest), writer, config, seed=0)
        model = attach(base(), seed=0)
        train(model, data.epochs, learning_rate=config.learning_rate, seed=0)
        set_scale(model, tuned.scale)
        out_of_fold += [by_hand(model, shown[i]) for i in out]
    assert tuned.model is not None
    return float(np.mean([by_hand(tuned.model, example) for example in shown])), float(np.mean(out_of_fold))


def use_scale(patch: Patch, scale: float) -> None:
    """Lets the forgetting check refuse every scale but this one."""

    def chosen(increases: Any, *, seed: int) -> tuple[float, Gate]:
        return (scale if scale in increases else 0.0), scale_gate(increases, seed=seed)[1]

    patch.setattr(forgetting, "scale_gate", chosen)


@pytest.mark.parametrize(("own_reply_share", "scale"), [(0.0, 1.0), (1.0, 1.0), (0.0, 0.5)])
def test_both_losses_are_of_prompts_without_the_rows_own_reply_at_the_scale_in_use(
    own_reply_share: float, scale: float, monkeypatch: Patch
) -> None:
    config = replace(ONE_EPOCH, own_reply_share=own_reply_share, learning_rate=3e-2)
    use_scale(monkeypatch, scale)
    tuned = fine_tune_few(config=config)
    assert tuned.scale == scale
    assert_final_adapter_alone(tuned)
    assert tuned.losses is not None
    assert (tuned.losses.seen, tuned.losses.unseen) == pytest.approx(losses_by_hand(tuned, config), rel=1e-4)
    assert tuned.losses.rows == len(FEW)


def test_a_fold_that_diverges_ends_the_measuring_and_the_final_adapter_is_there_unchanged(monkeypatch: Patch) -> None:
    expected = undisturbed()
    change_loss(monkeypatch, nan_in("fold0", call=1))
    tuned = fine_tune_few()
    assert_final_adapter_alone(tuned, same_as=expected)
    assert tuned.warnings == ("fold 1 of 2 was not judged: the loss of step 1 is nan",)
    assert (tuned.lm_weight, tuned.generates, tuned.timed_out) == (0.0, False, False)
    assert tuned.losses is None
    reason = next(gate.reason for gate in tuned.gates if gate.name == "replies")
    assert reason == "untested: fold 1 of 2 was not judged: the loss of step 1 is nan", "the gate asks for both folds"


def test_a_fold_that_diverges_late_is_not_judged_either(monkeypatch: Patch) -> None:
    change_loss(monkeypatch, nan_in("fold0", call=4))  # the last of four steps, of two rows each
    tuned = fine_tune_few(config=replace(ONE_EPOCH, epochs=4))
    assert any("fold 1 of 2" in warning for warning in tuned.warnings)


def test_a_large_base_with_too_few_judged_replies_copies_them_and_takes_no_lm_scores() -> None:
    large = replace(base(), parameters=2_000_000_000)
    assert large.large
    tuned = fine_tune_few(large)
    replies = gate_of(tuned, "replies")
    assert (tuned.generates, tuned.lm_weight, replies.decision, replies.n) == (False, 0.0, "copy", 0)
    assert replies.reason.startswith("untested: ")


@pytest.mark.parametrize(("draft", "decision"), [("the own ideal reply", "generate"), ("something else", "copy")])
def test_drafts_are_compared_with_copies_and_not_the_other_way_round(draft: str, decision: str, monkeypatch: Patch) -> None:
    own = draft == "the own ideal reply"
    rows = [row(i, f"seat {i}", "billing.seat", f"seat {i} word{i}" if own else "Guests need none.") for i in range(12)]
    texts = {row.id: row.ideal_reply if own else draft for row in rows}

    def written(_: Any, __: Any, prompts: Any, **___: Any) -> Generations:
        return Generations({prompt.row_id: Generation(texts[prompt.row_id], 9, 0.1, True) for prompt in prompts})

    monkeypatch.setattr("finetune.reply_writer.generate", written)
    monkeypatch.setattr("finetune.grounding.findings", lambda *_, **__: ())
    tuned = fine_tune_few(rows=rows)
    replies = gate_of(tuned, "replies")
    assert (replies.decision, replies.n, tuned.generates) == (decision, 12, own)
    assert replies.value is not None
    assert replies.value > 0.1 if own else replies.value <= 0


def test_a_first_fold_whose_replies_are_worse_than_copies_ends_the_measuring(monkeypatch: Patch) -> None:
    rows = [row(i, f"seat {i}", "billing.seat", "Guests need none.") for i in range(12)]

    def written(_: Any, __: Any, prompts: Any, **___: Any) -> Generations:
        return Generations({prompt.row_id: Generation("a seat", 9, 0.1, True) for prompt in prompts})

    monkeypatch.setattr("finetune.reply_writer.generate", written)
    monkeypatch.setattr("finetune.grounding.findings", lambda *_, **__: ())
    replies = gate_of(fine_tune_few(rows=rows, every_fold=False), "replies")
    assert (replies.decision, replies.n, replies.interval) == ("copy", 6, None)
    assert replies.reason.startswith("mean gain -")
    assert replies.reason.endswith(" at its 93.7 % quantile, +0.01 needed: the second fold was not measured")


def test_a_first_fold_whose_replies_are_clearly_better_than_copies_ends_the_measuring(monkeypatch: Patch) -> None:
    rows = [row(i, f"seat {i}", "billing.seat", f"Guests need no seat {i}.") for i in range(24)]
    ideal = {one.id: one.ideal_reply for one in rows}

    def written(_: Any, __: Any, prompts: Any, **___: Any) -> Generations:
        return Generations({prompt.row_id: Generation(ideal[prompt.row_id], 9, 0.1, True) for prompt in prompts})

    monkeypatch.setattr("finetune.reply_writer.generate", written)
    monkeypatch.setattr("finetune.grounding.findings", lambda *_, **__: ())
    tuned = fine_tune_few(rows=rows, every_fold=False)
    replies = gate_of(tuned, "replies")
    assert (replies.decision, replies.n, tuned.generates) == ("generate", 12, True)
    assert replies.reason.endswith("(the first fold is clear: the second was not measured)")


def test_a_large_base_on_a_cpu_without_bf16_trains_no_fold_adapters_and_copies(monkeypatch: Patch) -> None:
    monkeypatch.setattr("finetune.judging.has_bf16", lambda: False)
    monkeypatch.setattr("finetune.judging.gather_evidence", lambda *_, **__: pytest.fail("folds were trained"))
    left_out: list[Group] = []
    monkeypatch.setattr("finetune.fit.leave_out", left_out.append)
    tuned = fine_tune_few(replace(base(), parameters=2_000_000_000))
    assert gate_of(tuned, "replies").reason.startswith("untested: a large base on a CPU without bf16")
    assert (tuned.generates, tuned.losses) == (False, None)
    assert left_out == [Group.MEASURING], "the remaining time counts no folds"


def test_with_bf16_the_replies_of_a_large_base_are_tested(monkeypatch: Patch) -> None:
    monkeypatch.setattr("finetune.judging.has_bf16", lambda: True)
    monkeypatch.setattr("finetune.fit.leave_out", lambda *_: pytest.fail("the folds are trained"))
    tuned = fine_tune_few(replace(base(), parameters=2_000_000_000))
    assert not gate_of(tuned, "replies").reason.startswith("untested: a large base")
    assert tuned.losses is not None


@pytest.mark.parametrize("parameters", [1, 2_000_000_000])
def test_a_deadline_before_the_evidence_leaves_the_adapter_and_every_gate_says_why_nothing_uses_it(parameters: int) -> None:
    tuned = fine_tune_few(replace(base(), parameters=parameters), deadlines=Deadlines(inf, inf, inf, -inf))
    assert_final_adapter_alone(tuned, same_as=undisturbed())
    assert (tuned.losses, tuned.lm_weight, tuned.generates, tuned.timed_out) == (None, 0.0, False, True)
    for name in ("adapter scale", "replies"):
        assert "untested: the time budget" in gate_of(tuned, name).reason


def test_a_deadline_within_a_fold_ends_the_measuring_and_nothing_of_it_is_used(monkeypatch: Patch) -> None:
    now = [0.0]

    def loss(real: Loss, model: Any, batch: Any) -> torch.Tensor:
        now[0] += 9.0 * (model.active_adapter == "fold1")
        return real(model, batch)

    clock = SimpleNamespace(monotonic=lambda: now[0])
    for module in ("judging", "evidence", "training", "generate", "noisy_channel"):
        monkeypatch.setattr(f"finetune.{module}.time", clock)
    change_loss(monkeypatch, loss)
    tuned = fine_tune_few(deadlines=Deadlines(5.0, 5.0, 5.0, 5.0))
    assert_final_adapter_alone(tuned)
    assert (tuned.losses, tuned.lm_weight, tuned.generates, tuned.timed_out) == (None, 0.0, False, True)
    assert "the time budget ended the measuring" in gate_of(tuned, "replies").reason
