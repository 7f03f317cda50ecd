"""Runs systems with parts switched off on one desk, and shares what does not change between them.

Vectors are the desk's, an adapter of a kind is trained once, and a draft is written once for each adapter and prompt, however
many systems ask for it. The full adapter and the reply gate come from the code of a run (`finetune.adapt`).

What it does not know: how good the answers are (`score`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil, inf

import torch

from evaluation.desks import Trial
from evaluation.systems import Adapter, System, plan_of
from finetune.adapt import Deadlines, adapt
from finetune.base_model import BaseModel
from finetune.lessons import make_lessons, plan_for
from finetune.lora import learning_rate, passing_adapter, tune
from finetune.prompt import prompt_writer
from finetune.replies import reply_room, write_replies
from retrieval.curate import representative_rows
from retrieval.encoder import Encoder
from retrieval.gate import Gate
from retrieval.heldout import held_out_votes
from retrieval.lookup import look_up
from retrieval.names import names_gate
from retrieval.reply import Question, Reply, asked, copy_reply
from retrieval.voting import IntentPool, fit_pool

NEVER = Deadlines(inf, inf, inf)


@dataclass(frozen=True, slots=True)
class Answered:
    """One system's answers to a desk's test rows, in their order."""

    system: System
    intents: tuple[str, ...]
    replies: tuple[Reply, ...]


def pool_of(desk: Trial, system: System, *, seed: int) -> IntentPool:
    """The pool of a system: its rows, its views, its word on the names."""
    kept = desk.desk.keep(representative_rows(desk.desk, at_most=ceil(system.keep * len(desk.desk.rows))))
    with_names = system.names == "always" or (system.names == "gate" and names_gate(kept, seed=seed).passed)
    return fit_pool(kept, with_names=with_names, weights=system.weights)


def questions_of(desk: Trial, system: System, *, seed: int) -> tuple[Question, ...]:
    """A desk's test rows as a system's retrieval asks them."""
    return tuple(asked(found) for found in look_up(pool_of(desk, system, seed=seed), desk.tickets, desk.vectors))


def answer_all(
    desk: Trial, systems: Sequence[System], base: BaseModel | None, encoder: Encoder, *, seed: int
) -> tuple[list[Answered], Gate | None]:
    """The answers of every system; without a base all replies are copied. The reply gate of the full system comes along."""
    questions = {system.name: questions_of(desk, system, seed=seed) for system in systems}
    drafts: dict[str, dict[str, Reply]] = {}
    gate = None
    for kind in dict.fromkeys(system.adapter for system in systems) if base else ():
        assert base is not None
        with adapter_of(desk, kind, base, encoder, seed=seed) as (model, found):
            gate = found or gate
            writing = [system for system in systems if system.adapter == kind and writes(system, gate)]
            drafts |= _drafts(desk, writing, questions, model, base)
    return [_answered(system, questions[system.name], drafts.get(system.name)) for system in systems], gate


def writes(system: System, gate: Gate | None) -> bool:
    """Whether a system generates its replies."""
    return system.replies == "generated" or (system.replies == "gate" and gate is not None and gate.passed)


@contextmanager
def adapter_of(
    desk: Trial, kind: Adapter, base: BaseModel, encoder: Encoder, *, seed: int
) -> Iterator[tuple[torch.nn.Module, Gate | None]]:
    """The base with an adapter of this kind for as long as the block lasts, and the reply gate where it was judged."""
    pool = pool_of(desk, System("all rows"), seed=seed)
    plan = plan_for(large=base.large)
    if kind == "none":
        yield base.model, None
    elif kind == "full":
        adapted = adapt(pool, base, encoder, plan=plan, seed=seed, deadlines=NEVER)
        try:
            yield adapted.model or base.model, adapted.replies
        finally:
            if adapted.model:
                adapted.model.unload()
    else:
        writer = prompt_writer(base.tokenizer, base.window)
        lessons = make_lessons(pool.desk, held_out_votes(pool), writer, plan_of(kind, plan), seed=seed)
        with passing_adapter(base, seed=seed) as model:
            tune(model, lessons.epochs, rate=learning_rate(base), seed=seed, label=f"LoRA, {kind}")
            yield model, None


def _drafts(
    desk: Trial,
    systems: Sequence[System],
    questions: dict[str, tuple[Question, ...]],
    model: torch.nn.Module,
    base: BaseModel,
) -> dict[str, dict[str, Reply]]:
    """The written replies of each system by row id; equal questions with equally many exemplars are written once."""
    writer = prompt_writer(base.tokenizer, base.window)
    room = reply_room(writer, desk.desk.rows)
    written: dict[tuple[int, Question], Reply] = {}
    for system in systems:
        fresh = [question for question in questions[system.name] if (system.shown, question) not in written]
        found = write_replies(fresh, model, base, writer, room=room, shown=system.shown, label=system.name.strip())
        written |= {(system.shown, question): found.replies[question.row_id] for question in fresh}
    return {
        system.name: {question.row_id: written[system.shown, question] for question in questions[system.name]}
        for system in systems
    }


def _answered(system: System, questions: Sequence[Question], drafts: dict[str, Reply] | None) -> Answered:
    replies = [drafts[question.row_id] if drafts else copy_reply(question) for question in questions]
    if not system.grounded:
        replies = [as_drafted(reply) for reply in replies]
    return Answered(system, tuple(question.intent for question in questions), tuple(replies))


def as_drafted(reply: Reply) -> Reply:
    """The reply as the model wrote it, whatever the check found; an empty draft stays replaced, for a reply is never empty."""
    return replace(reply, text=reply.draft, source="generated") if reply.draft else reply
