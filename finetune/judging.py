"""A trained adapter judged: at what scale it may be used, whether its replies are better than stored ones, its losses.

The forgetting check sets the scale; two fold adapters give the evidence for the reply gate, where it is worth its time. What
time or memory cuts short counts as untested, and is named at its gate.
"""

import time
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import numpy as np
from peft import PeftModel

from finetune.evidence import NO_EVIDENCE, Evidence, Setup, gather_evidence, shared_losses
from finetune.forgetting import choose_scale, general_text
from finetune.gates import MIN_REPLIES, Decision, first_fold_stop, reply_gate, reply_gate_untested, scale_gate_untested
from finetune.lora import set_scale
from finetune.memory import OutOfMemory, memory_guard, memory_plans, release
from finetune.training import TrainingRun
from retrieval.cpu import has_bf16
from retrieval.encoder import Encoder
from retrieval.gate import Gate
from retrieval.train_set import rows_with_siblings


@dataclass(frozen=True, slots=True)
class Losses:
    """Mean completion loss of some train rows at the scale in use, nats per token, prompts without the row's own reply."""

    seen: float  # with the final adapter, which learned from them
    unseen: float  # with the adapter of a fold, which did not
    rows: int  # how many


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is known about a trained adapter."""

    scale: Decision
    replies: Gate  # whether new tickets get generated replies
    losses: Losses | None  # None where one of them could not be measured
    problems: tuple[str, ...]  # of the measuring, a sentence each
    timed_out: bool  # whether the deadline decided anything
    memory_retries: int  # how often memory ran out while measuring


def judge(setup: Setup, model: PeftModel, run: TrainingRun, encoder: Encoder, *, untested: str, deadline: float) -> Judgement:
    """Judges the final adapter `model`, which `run` trained; leaves it at the scale that was chosen.

    Args:
        setup: of the training.
        model: the final adapter.
        run: its training.
        encoder: measures how near a reply is to the ideal one.
        untested: why replies are not measured, a clause (`not_worth_testing`); empty if they are.
        deadline: `time.monotonic()` at which the measuring ends.
    """
    scale = _choose_scale(setup, model, run, deadline)
    evidence, untested = NO_EVIDENCE, scale.problem or untested
    if not untested:
        evidence, untested = _gathered(setup, model, run, encoder, scale, deadline=deadline)
    replies = reply_gate_untested(untested) if untested else judge_replies(evidence, seed=setup.seed)
    losses, short = _losses(setup, model, evidence, scale.value)
    return Judgement(
        scale=scale,
        replies=replies,
        losses=losses,
        problems=evidence.problems,
        timed_out=scale.timed_out or evidence.timed_out,
        memory_retries=evidence.memory_retries + short + scale.out_of_memory,
    )


def not_worth_testing(setup: Setup) -> str:
    """Why replies are not measured, a clause: it would take longer than all else, or too few rows could be judged."""
    on_cpu = setup.base.large and setup.base.model.device.type == "cpu"
    if on_cpu and setup.processes.any(not has_bf16()):
        return "a large base on a CPU without bf16 would need two more adapters and a reply to every row"
    rows = np.arange(len(setup.classifier.train_set.rows))
    judged = len(rows_with_siblings(setup.classifier.train_set, rows))
    return "" if judged >= MIN_REPLIES else f"{judged} rows have another row of their intent, {MIN_REPLIES} needed"


def _choose_scale(setup: Setup, model: PeftModel, run: TrainingRun, deadline: float) -> Decision:
    """The scale by the forgetting check; where that cannot be made, nothing further is measured."""
    late = setup.processes.any(time.monotonic() > deadline)
    if not run.finished:
        return _unused(model, "the time budget ended the training", timed_out=True)
    if late:
        return _unused(model, "the time budget was gone after the training", timed_out=True)
    try:
        with memory_guard("the forgetting check", setup.processes):
            own = Decision(*choose_scale(model, general_text(setup.writer), seed=setup.seed))
        decided = setup.processes.first(own)
        set_scale(model, decided.value)
        return decided
    except OutOfMemory as error:
        problem = str(error)
    release()
    return _unused(model, problem, out_of_memory=True)


def _unused(model: PeftModel, problem: str, *, timed_out: bool = False, out_of_memory: bool = False) -> Decision:
    """The adapter as it was trained, which no gate lets answer."""
    set_scale(model, 1.0)
    return Decision(*scale_gate_untested(problem), problem, timed_out, out_of_memory)


def _gathered(
    setup: Setup, model: PeftModel, run: TrainingRun, encoder: Encoder, scale: Decision, *, deadline: float
) -> tuple[Evidence, str]:
    """The evidence of the folds, and why it does not count, a clause; empty if it does."""
    plans = memory_plans(setup.base.model.device, setup.base.model.dtype)
    later = plans[plans.index(run.plan) :]  # what did not fit once is not tried again
    enough = partial(first_fold_verdict, seed=setup.seed)
    evidence = gather_evidence(setup, model, encoder, scale=scale.value, plans=later, deadline=deadline, enough=enough)
    if evidence.timed_out:
        return evidence, "the time budget ended the measuring"
    return evidence, next(iter(evidence.problems), "")


def judge_replies(evidence: Evidence, *, seed: int) -> Gate:
    """The reply gate on what was measured."""
    return reply_gate(list(evidence.gains.values()), given=evidence.given, stopped=evidence.stopped, seed=seed)


def first_fold_verdict(evidence: Evidence, *, seed: int) -> str:
    """Why the second fold need not be measured, a clause; empty if it must be."""
    return first_fold_stop(list(evidence.gains.values()), len(evidence.replies), given=evidence.given, seed=seed)


def _losses(setup: Setup, model: PeftModel, evidence: Evidence, scale: float) -> tuple[Losses | None, bool]:
    """The losses on the rows of the folds that were judged, and whether memory ran out."""
    if evidence.timed_out or not evidence.losses:
        return None, False
    examples = {i: example for i, example in setup.examples.items() if example.row_id in evidence.losses}
    set_scale(model, scale)
    try:
        seen = shared_losses(model, examples, setup.processes)
    except OutOfMemory:
        release()
        return None, True
    return Losses(fmean(seen.values()), fmean(evidence.losses.values()), len(seen)), False
