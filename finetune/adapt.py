"""The whole course of the language model: lessons, evidence, gates, final adapter.

First two throw-away adapters give the evidence (`crossfit`), then the final adapter learns from all rows. Three gates follow:
how far the adapter may move the base, whether the model's view of the intent joins the pool, whether new tickets get generated
or copied replies. The final adapter is trained either way: it is a result of its own.

How much is learnt follows from the rows and the base alone (`MOST_TAUGHT`); the deadlines are a brake for slow machines, and
a run that was braked says so.

What it does not know: new tickets, and what to do where memory is too small (`descent`).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from peft import PeftModel

from finetune.base_model import BaseModel
from finetune.crossfit import Course, CrossFit, cross_fit
from finetune.gates import reply_gate, unheard, unmeasured, untested, view_gate
from finetune.gradients import completion_losses
from finetune.lessons import LessonPlan, make_lessons
from finetune.lora import NoAdapter, Tuning, attach, learning_rate, tune
from finetune.prompt import Example, PromptWriter, prompt_writer
from finetune.replies import reply_room
from finetune.scale import general_texts, settle_scale
from finetune.team import ALONE, Team
from retrieval.curate import representative_rows
from retrieval.encoder import Encoder
from retrieval.gate import Gate
from retrieval.heldout import held_out_votes
from retrieval.opinion import Opinions
from retrieval.reply import copy_reply
from retrieval.tickets import shown
from retrieval.voting import IntentPool, Votes, fit_pool

MOST_TAUGHT = 120  # rows: four passes over them (two of cross-fitting) fit into the budget on two cores
MOST_TAUGHT_LARGE = 400  # rows, for a base that has a GPU


@dataclass(frozen=True, slots=True)
class Deadlines:
    """`time.monotonic()` at which a download, cross-fitting and the final training stop."""

    loading: float
    evidence: float
    training: float


@dataclass(frozen=True, slots=True)
class Adapted:
    """A base with its adapter, and what is known about it.

    Attributes:
        model: the base through its adapter; None if training diverged.
        writer: of its prompts.
        room: most tokens of a reply.
        tuning: the final run.
        val_loss: cross-fitted completion loss, nats per token.
        scale: of the adapter.
        view_weight: of the model's view of the intent; 0 if it is not asked.
        replies: the gate that says whether to generate.
        gates: all gates of the language model.
        warnings: a sentence each.
        braked: whether a deadline decided anything.
        step_downs: how often memory ran out.
    """

    model: PeftModel | None
    writer: PromptWriter
    room: int
    tuning: Tuning | None
    val_loss: float
    scale: float
    view_weight: float
    replies: Gate
    gates: tuple[Gate, ...]
    warnings: tuple[str, ...]
    braked: bool
    step_downs: int = 0


def adapt(
    pool: IntentPool,
    base: BaseModel,
    encoder: Encoder,
    *,
    plan: LessonPlan,
    seed: int,
    deadlines: Deadlines,
    team: Team = ALONE,
) -> Adapted:
    """Trains and judges an adapter for this desk.

    Args:
        pool: over all rows.
        base: without an adapter.
        encoder: measures how near a reply is to the ideal one.
        plan: of the lessons.
        seed: of everything random.
        deadlines: the brake.
        team: the processes that share the work.

    Raises:
        OutOfMemory: the base cannot be trained here.
    """
    taught = _taught_pool(pool, base)
    votes = held_out_votes(taught)
    writer = prompt_writer(base.tokenizer, base.window)
    lessons = make_lessons(taught.desk, votes, writer, plan, seed=seed)
    unusable = ", ".join(shown(row_id) for row_id in lessons.unusable)
    warnings = [f"rows too long to learn from: {unusable}"] if unusable else []
    if len(taught.desk.rows) < len(pool.desk.rows):
        warnings.append(f"the adapter learns from {len(taught.desk.rows)} of {len(pool.desk.rows)} rows, retrieval from all")
    course = Course(base, writer, plan, general_texts(writer), seed, team)
    room = reply_room(writer, taught.desk.rows)
    evidence = CrossFit((), (), {}, complete=True)
    try:
        if not lessons.epochs[0]:
            raise NoAdapter("no row is short enough to learn from")
        evidence = cross_fit(taught, votes, course, deadline=deadlines.evidence)
        model, tuning = _final_adapter(course, lessons.epochs, deadline=deadlines.training)
    except NoAdapter as error:
        braked = not evidence.complete or error.out_of_time
        return _without_adapter(str(error), writer, room, warnings, braked=braked, step_downs=evidence.step_downs)
    if team.agrees(time.monotonic() > deadlines.training):
        scale, scale_record = unmeasured("the time budget ended the training")
    else:
        scale, scale_record = settle_scale(model, course.texts, seed=seed)
    weight, view = _view(evidence, votes, taught)
    replies = _judged(evidence, tuning, encoder, base, {row.id: row.ideal_reply for row in taught.desk.rows}, seed=seed)
    if not evidence.losses:
        warnings.append("val_loss is the base's own loss: nothing could be held out")
    if tuning.diverged:
        warnings.append(f"training diverged ({tuning.diverged}): the adapter of step {tuning.steps} is kept")
    if step_downs := evidence.step_downs + tuning.step_downs:
        warnings.append(f"memory ran out {step_downs} times; the adapter was trained with {tuning.fit}")
    return Adapted(
        model=model,
        writer=writer,
        room=room,
        tuning=tuning,
        val_loss=float(np.mean(evidence.losses)) if evidence.losses else _loss_of_base(model, lessons.epochs[0]),
        scale=scale,
        view_weight=weight,
        replies=replies,
        gates=(scale_record, view, replies),
        warnings=tuple(warnings),
        braked=not (evidence.complete and tuning.finished),
        step_downs=step_downs,
    )


def _without_adapter(
    reason: str, writer: PromptWriter, room: int, warnings: Sequence[str], *, braked: bool, step_downs: int
) -> Adapted:
    gate = Gate("replies", False, "copy", None, 0, None, f"no adapter: {reason}")
    said = (*warnings, f"no adapter was kept: {reason}")
    return Adapted(None, writer, room, None, 0.0, 0.0, 0.0, gate, (gate,), said, braked, step_downs)


def _view(evidence: CrossFit, votes: Votes, taught: IntentPool) -> tuple[float, Gate]:
    """The intent view's weight, from what the cross-fit adapters said of the rows they had not seen."""
    if not evidence.complete:
        return unheard("the time budget ended the measuring")
    ids = [row.id for row in taught.desk.rows]
    judged = np.array([i for i, row_id in enumerate(ids) if row_id in evidence.opinions], dtype=np.int64)
    if not len(judged):
        return unheard("nothing could be held out")
    said = Opinions(1.0, evidence.opinions).matrix([ids[i] for i in judged], taught.desk.intents)
    return view_gate(votes.log_probabilities[judged], said, taught.desk.intent_of[judged], evidence.half_of[judged])


def _taught_pool(pool: IntentPool, base: BaseModel) -> IntentPool:
    chosen = representative_rows(pool.desk, at_most=MOST_TAUGHT_LARGE if base.large else MOST_TAUGHT)
    if len(chosen) == len(pool.desk.rows):
        return pool
    return fit_pool(pool.desk.keep(chosen), with_names=pool.with_names, weights=pool.weights)


def _final_adapter(course: Course, epochs: Sequence[Sequence[Example]], *, deadline: float) -> tuple[PeftModel, Tuning]:
    model, rate = attach(course.base, seed=course.seed), learning_rate(course.base)
    try:
        tuning = tune(model, epochs, rate=rate, seed=course.seed, deadline=deadline, team=course.team)
        if not tuning.steps:
            raise NoAdapter("the time budget was gone before the first step", out_of_time=True)
    except NoAdapter:
        model.unload()
        raise
    return model, tuning


def _judged(evidence: CrossFit, tuning: Tuning, encoder: Encoder, base: BaseModel, ideal: dict[str, str], *, seed: int) -> Gate:
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
