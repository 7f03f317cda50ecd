"""Runs systems with parts switched off on one train_set, and shares what does not change between them.

Vectors are the train_set's, an adapter of a kind is trained once, and a draft is written once for each adapter and prompt,
however
many systems ask for it. The full adapter and the reply gate come from the code of a run (`finetune.fit`).

What it does not know: how good the answers are (`score`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil, inf

import torch

from evaluation.splits import Split
from evaluation.systems import Adapter, System, config_of
from finetune.base_model import BaseModel
from finetune.fit import Deadlines, fine_tune
from finetune.lora import learning_rate, temporary_adapter, tune
from finetune.prompt import prompt_writer
from finetune.reply_writer import max_reply_tokens, write_replies
from finetune.training_data import config_for, make_training_data
from retrieval.cross_validation import out_of_fold_scores
from retrieval.curate import representative_rows
from retrieval.encoder import Encoder
from retrieval.gate import Gate
from retrieval.intent_classifier import IntentClassifier, fit_classifier
from retrieval.label_names import label_names_gate
from retrieval.replies import Question, Reply, asked, copy_reply
from retrieval.retrieve import retrieve

NEVER = Deadlines(inf, inf, inf)


@dataclass(frozen=True, slots=True)
class Answered:
    """One system's answers to a train_set's test rows, in their order."""

    system: System
    intents: tuple[str, ...]
    replies: tuple[Reply, ...]


def classifier_of(train_set: Split, system: System, *, seed: int) -> IntentClassifier:
    """The classifier of a system: its rows, its scorers, its word on the names."""
    kept = train_set.train_set.keep(
        representative_rows(train_set.train_set, at_most=ceil(system.keep * len(train_set.train_set.rows)))
    )
    with_names = system.names == "always" or (system.names == "gate" and label_names_gate(kept, seed=seed).passed)
    return fit_classifier(kept, with_names=with_names, weights=system.weights)


def questions_of(train_set: Split, system: System, *, seed: int) -> tuple[Question, ...]:
    """A train_set's test rows as a system's retrieval asks them."""
    return tuple(
        asked(found) for found in retrieve(classifier_of(train_set, system, seed=seed), train_set.tickets, train_set.vectors)
    )


def answer_all(
    train_set: Split, systems: Sequence[System], base: BaseModel | None, encoder: Encoder, *, seed: int
) -> tuple[list[Answered], Gate | None]:
    """The answers of every system; without a base all replies are copied. The reply gate of the full system comes along."""
    questions = {system.name: questions_of(train_set, system, seed=seed) for system in systems}
    drafts: dict[str, dict[str, Reply]] = {}
    gate = None
    for kind in dict.fromkeys(system.adapter for system in systems) if base else ():
        assert base is not None
        with adapter_of(train_set, kind, base, encoder, seed=seed) as (model, found):
            gate = found or gate
            writing = [system for system in systems if system.adapter == kind and writes(system, gate)]
            drafts |= _drafts(train_set, writing, questions, model, base)
    return [_answered(system, questions[system.name], drafts.get(system.name)) for system in systems], gate


def writes(system: System, gate: Gate | None) -> bool:
    """Whether a system generates its replies."""
    return system.replies == "generated" or (system.replies == "gate" and gate is not None and gate.passed)


@contextmanager
def adapter_of(
    train_set: Split, kind: Adapter, base: BaseModel, encoder: Encoder, *, seed: int
) -> Iterator[tuple[torch.nn.Module, Gate | None]]:
    """The base with an adapter of this kind for as long as the block lasts, and the reply gate where it was judged."""
    classifier = classifier_of(train_set, System("all rows"), seed=seed)
    config = config_for(large=base.large)
    if kind == "none":
        yield base.model, None
    elif kind == "full":
        tuned = fine_tune(classifier, base, encoder, config=config, seed=seed, deadlines=NEVER)
        try:
            yield tuned.model or base.model, tuned.replies
        finally:
            if tuned.model:
                tuned.model.unload()
    else:
        writer = prompt_writer(base.tokenizer, base.max_length)
        data = make_training_data(
            classifier.train_set, out_of_fold_scores(classifier), writer, config_of(kind, config), seed=seed
        )
        with temporary_adapter(base, seed=seed) as model:
            tune(model, data.epochs, rate=learning_rate(base), seed=seed, label=f"LoRA, {kind}")
            yield model, None


def _drafts(
    train_set: Split,
    systems: Sequence[System],
    questions: dict[str, tuple[Question, ...]],
    model: torch.nn.Module,
    base: BaseModel,
) -> dict[str, dict[str, Reply]]:
    """The written replies of each system by row id; equal questions with equally many exemplars are written once."""
    writer = prompt_writer(base.tokenizer, base.max_length)
    max_new_tokens = max_reply_tokens(writer, train_set.train_set.rows)
    written: dict[tuple[int, Question], Reply] = {}
    for system in systems:
        fresh = [question for question in questions[system.name] if (system.shown, question) not in written]
        found = write_replies(
            fresh, model, base, writer, max_new_tokens=max_new_tokens, shown=system.shown, label=system.name.strip()
        )
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
