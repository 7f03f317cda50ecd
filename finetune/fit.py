"""The whole setup of the language model: data, evidence, gates, final adapter.

First two throw-away adapters give the evidence (`crossfit`), then the final adapter learns from all rows. Three gates follow:
how far the adapter may move the base, whether the model's scorer of the intent joins the classifier, whether new tickets get
generated
or copied replies. The final adapter is trained either way: it is a result of its own.

How much is learnt follows from the rows and the base alone (`MAX_TRAINING_ROWS`); the deadlines are a brake for slow
machines, and
a run that was timed_out says so.

What it does not know: new tickets, and what to do where memory is too small (`descent`).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from peft import PeftModel

from finetune.base_model import BaseModel
from finetune.distributed import SINGLE_PROCESS, Processes
from finetune.evidence import Evidence, TrainingSetup, gather_evidence
from finetune.forgetting import choose_scale, general_text
from finetune.gates import lm_scores_gate, lm_scores_untested, reply_gate, unmeasured, untested
from finetune.gradients import completion_losses
from finetune.lora import NoAdapter, Tuning, attach, learning_rate, tune
from finetune.prompt import Example, PromptWriter, prompt_writer
from finetune.reply_writer import max_reply_tokens
from finetune.training_data import TrainingConfig, make_training_data
from retrieval.cross_validation import out_of_fold_scores
from retrieval.curate import representative_rows
from retrieval.encoder import Encoder
from retrieval.gate import Gate
from retrieval.intent_classifier import IntentClassifier, IntentScores, fit_classifier
from retrieval.lm_scores import LmScores
from retrieval.replies import copy_reply
from retrieval.tickets import shown

MAX_TRAINING_ROWS = 120  # rows: four passes over them (two of cross-fitting) fit into the budget on two cores
MAX_TRAINING_ROWS_LARGE = 400  # rows, for a base that has a GPU


@dataclass(frozen=True, slots=True)
class Deadlines:
    """`time.monotonic()` at which a download, cross-fitting and the final training stop."""

    loading: float
    evidence: float
    training: float


@dataclass(frozen=True, slots=True)
class FineTuned:
    """A base with its adapter, and what is known about it.

    Attributes:
        model: the base through its adapter; None if training diverged.
        writer: of its prompts.
        max_new_tokens: most tokens of a reply.
        tuning: the final run.
        val_loss: cross-fitted completion loss, nats per token.
        scale: of the adapter.
        lm_weight: of the model's scorer of the intent; 0 if it is not asked.
        replies: the gate that says whether to generate.
        gates: all gates of the language model.
        warnings: a sentence each.
        timed_out: whether a deadline decided anything.
        step_downs: how often memory ran out.
    """

    model: PeftModel | None
    writer: PromptWriter
    max_new_tokens: int
    tuning: Tuning | None
    val_loss: float
    scale: float
    lm_weight: float
    replies: Gate
    gates: tuple[Gate, ...]
    warnings: tuple[str, ...]
    timed_out: bool
    step_downs: int = 0


def fine_tune(
    classifier: IntentClassifier,
    base: BaseModel,
    encoder: Encoder,
    *,
    config: TrainingConfig,
    seed: int,
    deadlines: Deadlines,
    processes: Processes = SINGLE_PROCESS,
) -> FineTuned:
    """Trains and judges an adapter for this train_set.

    Args:
        classifier: over all rows.
        base: without an adapter.
        encoder: measures how near a reply is to the ideal one.
        config: of the data.
        seed: of everything random.
        deadlines: the brake.
        processes: the processes that share the work.

    Raises:
        OutOfMemory: the base cannot be trained here.
    """
    training = _training_classifier(classifier, base)
    intent_scores = out_of_fold_scores(training)
    writer = prompt_writer(base.tokenizer, base.max_length)
    data = make_training_data(training.train_set, intent_scores, writer, config, seed=seed)
    unusable = ", ".join(shown(row_id) for row_id in data.unusable)
    warnings = [f"rows too long to learn from: {unusable}"] if unusable else []
    if len(training.train_set.rows) < len(classifier.train_set.rows):
        warnings.append(
            f"the adapter learns from {len(training.train_set.rows)} of {len(classifier.train_set.rows)} rows, "
            "retrieval from all"
        )
    setup = TrainingSetup(base, writer, config, general_text(writer), seed, processes)
    max_new_tokens = max_reply_tokens(writer, training.train_set.rows)
    evidence = Evidence((), (), {}, complete=True)
    try:
        if not data.epochs[0]:
            raise NoAdapter("no row is short enough to learn from")
        evidence = gather_evidence(training, intent_scores, setup, deadline=deadlines.evidence)
        model, tuning = _final_adapter(setup, data.epochs, deadline=deadlines.training)
    except NoAdapter as error:
        timed_out = not evidence.complete or error.out_of_time
        return _without_adapter(
            str(error), writer, max_new_tokens, warnings, timed_out=timed_out, step_downs=evidence.step_downs
        )
    if processes.agrees(time.monotonic() > deadlines.training):
        scale, scale_record = unmeasured("the time budget ended the training")
    else:
        scale, scale_record = choose_scale(model, setup.texts, seed=seed)
    weight, scorer = _view(evidence, intent_scores, training)
    replies = _judged(evidence, tuning, encoder, base, {row.id: row.ideal_reply for row in training.train_set.rows}, seed=seed)
    if not evidence.losses:
        warnings.append("val_loss is the base's own loss: nothing could be held out")
    if tuning.diverged:
        warnings.append(f"training diverged ({tuning.diverged}): the adapter of step {tuning.steps} is kept")
    if step_downs := evidence.step_downs + tuning.step_downs:
        warnings.append(f"memory ran out {step_downs} times; the adapter was trained with {tuning.fit}")
    return FineTuned(
        model=model,
        writer=writer,
        max_new_tokens=max_new_tokens,
        tuning=tuning,
        val_loss=float(np.mean(evidence.losses)) if evidence.losses else _loss_of_base(model, data.epochs[0]),
        scale=scale,
        lm_weight=weight,
        replies=replies,
        gates=(scale_record, scorer, replies),
        warnings=tuple(warnings),
        timed_out=not (evidence.complete and tuning.finished),
        step_downs=step_downs,
    )


def _without_adapter(
    reason: str, writer: PromptWriter, max_new_tokens: int, warnings: Sequence[str], *, timed_out: bool, step_downs: int
) -> FineTuned:
    gate = Gate("replies", False, "copy", None, 0, None, f"no adapter: {reason}")
    said = (*warnings, f"no adapter was kept: {reason}")
    return FineTuned(None, writer, max_new_tokens, None, 0.0, 0.0, 0.0, gate, (gate,), said, timed_out, step_downs)


def _view(evidence: Evidence, intent_scores: IntentScores, training: IntentClassifier) -> tuple[float, Gate]:
    """The intent scorer's weight, from what the cross-fit adapters said of the rows they had not seen."""
    if not evidence.complete:
        return lm_scores_untested("the time budget ended the measuring")
    ids = [row.id for row in training.train_set.rows]
    judged = np.array([i for i, row_id in enumerate(ids) if row_id in evidence.lm_scores], dtype=np.int64)
    if not len(judged):
        return lm_scores_untested("nothing could be held out")
    said = LmScores(1.0, evidence.lm_scores).matrix([ids[i] for i in judged], training.train_set.intents)
    return lm_scores_gate(
        intent_scores.log_probabilities[judged], said, training.train_set.intent_of[judged], evidence.fold_of[judged]
    )


def _training_classifier(classifier: IntentClassifier, base: BaseModel) -> IntentClassifier:
    chosen = representative_rows(classifier.train_set, at_most=MAX_TRAINING_ROWS_LARGE if base.large else MAX_TRAINING_ROWS)
    if len(chosen) == len(classifier.train_set.rows):
        return classifier
    return fit_classifier(classifier.train_set.keep(chosen), with_names=classifier.with_names, weights=classifier.weights)


def _final_adapter(setup: TrainingSetup, epochs: Sequence[Sequence[Example]], *, deadline: float) -> tuple[PeftModel, Tuning]:
    model, rate = attach(setup.base, seed=setup.seed), learning_rate(setup.base)
    try:
        tuning = tune(model, epochs, rate=rate, seed=setup.seed, deadline=deadline, processes=setup.processes)
        if not tuning.steps:
            raise NoAdapter("the time budget was gone before the first step", out_of_time=True)
    except NoAdapter:
        model.unload()
        raise
    return model, tuning


def _judged(evidence: Evidence, tuning: Tuning, encoder: Encoder, base: BaseModel, ideal: dict[str, str], *, seed: int) -> Gate:
    if not evidence.complete:
        return untested("the time budget ended the measuring", [], large=False)
    if not tuning.finished and not base.large:
        return untested("the time budget ended the training", [], large=False)
    # A replaced draft is a copy: it says nothing about generating.
    asked = [question for question in evidence.questions if evidence.replies[question.row_id].source == "generated"]
    wanted = encoder.encode([ideal[question.row_id] for question in asked])
    written = encoder.encode([evidence.replies[question.row_id].text for question in asked])
    copied = encoder.encode([copy_reply(question).text for question in asked])
    differences = np.sum(wanted * written, axis=1) - np.sum(wanted * copied, axis=1)
    return reply_gate([float(difference) for difference in differences], large=base.large, seed=seed)


def _loss_of_base(model: PeftModel, examples: Sequence[Example]) -> float:
    with model.disable_adapter():
        return float(np.mean(completion_losses(model, examples)))
