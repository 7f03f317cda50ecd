"""Runs systems with parts switched off on one split, and shares what does not change between them.

Vectors are the split's, an adapter of a kind is trained once, and a draft is written once for each adapter and prompt, however
many systems ask for it. The full adapter and the reply gate come from the code of a run (`finetune.fit`).
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import ceil, inf

from torch.nn import Module

from evaluation.ablation.systems import Adapter, System
from evaluation.generation import generated_replies, trained_adapter
from evaluation.splits import Split
from finetune.base_model import BaseModel
from finetune.distributed import SINGLE_PROCESS
from finetune.fit import fine_tune, make_setup, training_rows, with_lm_scores
from finetune.memory import OutOfMemory
from finetune.noisy_channel import NoisyChannel
from finetune.reply_choice import choose_replies
from finetune.training_data import config_for
from retrieval.compose import with_composed_replies
from retrieval.encoder import Encoder
from retrieval.gate import Gate
from retrieval.intent_classifier import IntentClassifier, fit_classifier
from retrieval.label_names import label_names_gate
from retrieval.prediction import Reply, copy_reply
from retrieval.retrieve import IntentQuestion, Retrieval, retrieve
from retrieval.train_set import TrainSet, representative_rows

PromptKey = tuple[bool, str, str, tuple[str, ...]]  # whether exemplars are shown, ticket, intent, exemplars found


@dataclass(frozen=True, slots=True)
class Output:
    """One system's intents and replies for a split's test rows, in their order."""

    system: System
    intents: tuple[str, ...]
    replies: tuple[Reply, ...]


def classifier_of(split: Split, system: System, *, seed: int) -> IntentClassifier:
    """The classifier of a system: its rows, its scorers, its decision on the label names."""
    whole = split.train_set
    kept = whole.subset(representative_rows(whole, at_most=ceil(system.rows_share * len(whole.rows))))
    with_names = system.names == "always" or (system.names == "gate" and label_names_gate(kept, seed=seed).passed)
    return fit_classifier(kept, with_names=with_names, weights=system.weights)


def run_systems(
    split: Split, systems: Sequence[System], base: BaseModel | None, encoder: Encoder, *, seed: int
) -> tuple[list[Output], Gate | None]:
    """The outputs of every system, and the reply gate of the full one; without a base all replies are copied."""
    classifiers = {system.name: classifier_of(split, system, seed=seed) for system in systems}
    scorers = lm_scorers(split, {found.with_names for found in classifiers.values()}, base, seed=seed) if base else {}
    retrievals = {
        name: retrieved(split, found, encoder, system, scorers.get(found.with_names))
        for (name, found), system in zip(classifiers.items(), systems, strict=True)
    }
    if limits := [limit for scorer in scorers.values() for limit in scorer.scorer.limits]:
        raise OutOfMemory(limits[0])
    replies: dict[str, list[Reply]] = {}
    gate = None
    for kind in dict.fromkeys(system.adapter for system in systems) if base else ():
        assert base is not None
        with adapter(split, kind, base, encoder, seed=seed) as (model, found):
            gate = found or gate
            generating = [system for system in systems if system.adapter == kind and generates(system, gate)]
            replies |= _generated(generating, retrievals, model, base, split.train_set)
    outputs = (_output(system, split, retrievals[system.name], replies.get(system.name), encoder) for system in systems)
    return list(outputs), gate


@dataclass(slots=True)
class RememberingScorer:
    """A scorer of intents and what it has said: most systems ask the same about a ticket."""

    scorer: NoisyChannel
    weight: float
    candidates: int
    below: float
    known: dict[IntentQuestion, Mapping[str, float]] = field(default_factory=dict)

    def score(self, questions: Sequence[IntentQuestion]) -> dict[str, Mapping[str, float]]:
        """The scores of each question's intents by ticket id."""
        fresh = [question for question in questions if question not in self.known]
        scores = self.scorer.score(fresh)
        self.known |= {question: scores[question.ticket.id] for question in fresh if question.ticket.id in scores}
        return {question.ticket.id: self.known[question] for question in questions if question in self.known}


def lm_scorers(split: Split, kinds: Set[bool], base: BaseModel, *, seed: int) -> dict[bool, RememberingScorer]:
    """By whether a classifier uses the names, the scorer of a run with all rows; none where its gate keeps it out."""
    found = {}
    for with_names in sorted(kinds):
        all_rows = System("all rows", names="always" if with_names else "never")
        if scorer := lm_scorer(classifier_of(split, all_rows, seed=seed), base, seed=seed):
            found[with_names] = scorer
    return found


def lm_scorer(classifier: IntentClassifier, base: BaseModel, *, seed: int) -> RememberingScorer | None:
    """The base's scorer of intents with the weight of a run, None where its gate keeps it out."""
    rows = training_rows(classifier, base)
    setup = make_setup(classifier, rows, base, config_for(base), seed=seed, processes=SINGLE_PROCESS)
    _, found = with_lm_scores(setup, inf)
    if not found.value:
        return None
    scorer = NoisyChannel(base.model, setup.writer, found.value, setup.scoring.given)
    return RememberingScorer(scorer, scorer.weight, scorer.candidates, scorer.below)


def retrieved(
    split: Split, classifier: IntentClassifier, encoder: Encoder, system: System, scorer: RememberingScorer | None
) -> tuple[Retrieval, ...]:
    """What retrieval says about the test rows, with the LM scores and composed replies that the system has."""
    found = retrieve(classifier, split.tickets, split.vectors, lm_scorer=scorer if system.lm_scores else None)
    return with_composed_replies(found, split.vectors, encoder) if system.composed else found


def generates(system: System, gate: Gate | None) -> bool:
    """Whether a system generates its replies."""
    return system.replies == "generated" or (system.replies == "gate" and gate is not None and gate.passed)


@contextmanager
def adapter(
    split: Split, kind: Adapter, base: BaseModel, encoder: Encoder, *, seed: int
) -> Iterator[tuple[Module, Gate | None]]:
    """The base with an adapter of this kind for as long as the block lasts, and the reply gate where it was judged."""
    classifier, config = classifier_of(split, System("all rows"), seed=seed), config_for(base)
    if kind == "none":
        yield base.model, None
    elif kind == "full":
        tuned = fine_tune(classifier, base, encoder, config=config, seed=seed)
        try:
            yield tuned.model or base.model, next(gate for gate in tuned.gates if gate.name == "replies")
        finally:
            if tuned.model:
                tuned.model.unload()
    else:
        with trained_adapter(classifier, base, replace(config, exemplars=0), seed=seed, label=f"train, {kind}") as model:
            yield model, None


def _generated(
    systems: Sequence[System], retrievals: Mapping[str, Sequence[Retrieval]], model: Module, base: BaseModel, rows: TrainSet
) -> dict[str, list[Reply]]:
    """The generated replies of each system; equal prompts are answered once."""
    known: dict[PromptKey, Reply] = {}
    for system in systems:
        fresh = {key: found for found in retrievals[system.name] if (key := prompt_key(system, found)) not in known}
        shown = config_for(base).exemplars if system.exemplars else 0
        replies = generated_replies([*fresh.values()], model, base, rows, label=system.name, exemplars=shown)
        known |= dict(zip(fresh, replies, strict=True))
    return {system.name: [known[prompt_key(system, found)] for found in retrievals[system.name]] for system in systems}


def prompt_key(system: System, found: Retrieval) -> PromptKey:
    """What a reply depends on for one adapter: the prompt, and the stored reply that replaces a bad draft."""
    return system.exemplars, found.ticket.id, found.intent, (*(row.id for row in found.exemplars), found.composed)


def _output(
    system: System, split: Split, retrievals: Sequence[Retrieval], replies: Sequence[Reply] | None, encoder: Encoder
) -> Output:
    given = replies or [copy_reply(found) for found in retrievals]
    kept = given if system.grounded else [as_drafted(reply) for reply in given]
    if system.nearer:
        kept = choose_replies(retrievals, kept, split.vectors, split.train_set, encoder)
    return Output(system, tuple(found.intent for found in retrievals), tuple(kept))


def as_drafted(reply: Reply) -> Reply:
    """The reply as the model wrote it, whatever the check found; an empty draft stays replaced, for a reply is never empty."""
    return replace(reply, text=reply.draft, source="generated") if reply.draft else reply
