"""Evidence from rows that an adapter has not seen.

The train rows are cut into two folds. An adapter is trained on each, set to the scale of the final adapter, and judged on the
other: completion loss with prompts that hide the row's own reply, replies with the prompts of answering. Only drafts that pass
the check are compared with copies, for a replaced one is a copy, and they gain nothing where the stored reply is given because
it is as near to the ticket (`reply_choice`). Where the first fold shows that they will not do, or that they clearly do, the
second is not measured. A fold whose training diverges or runs out of memory ends the measuring, for the gate asks for both. The
LM intent scores come from the bare base and need no folds: a row is hidden from itself.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from peft import PeftModel

from finetune.base_model import BaseModel
from finetune.distributed import Processes
from finetune.lora import fold_adapter, set_scale
from finetune.memory import MemoryPlan, OutOfMemory, release
from finetune.noisy_channel import NoisyChannel, Scoring
from finetune.prompt import Example, PromptWriter
from finetune.reply_choice import choose_replies
from finetune.reply_quality import gains_over_copies
from finetune.reply_writer import write_replies
from finetune.training import NoAdapter, TrainingRun, completion_losses, train
from finetune.training_data import TrainingConfig, make_training_data
from retrieval.compose import with_composed_replies
from retrieval.cross_validation import folds, out_of_fold_log_probabilities, refit
from retrieval.encoder import Encoder, Vectors
from retrieval.intent_classifier import Floats, IntentClassifier
from retrieval.lm_fusion import lm_score_matrix
from retrieval.prediction import Reply
from retrieval.retrieve import Retrieval, retrieve_train_rows, train_row_questions
from retrieval.train_set import Rows, TrainSet, representative_rows, rows_with_siblings

FOLDS = 2
MAX_LOSS_ROWS = 4  # of each fold whose completion loss is measured: it is for the record and decides nothing
MAX_SCORED_ROWS = 40  # that test the LM scores: enough to see harm, and new tickets need the time more


@dataclass(frozen=True, slots=True)
class Setup:
    """What the final adapter and the adapters of the folds have in common."""

    classifier: IntentClassifier  # fitted on the training rows
    log_p: Floats  # (n, c) of these rows, out-of-fold
    answer_log_p: Floats  # (n, c) the same after the fusion with the LM scores of at most `MAX_SCORED_ROWS` of them
    base: BaseModel  # that is fine-tuned
    scoring: Scoring  # how it scores tickets while it is bare
    writer: PromptWriter  # of its prompts
    config: TrainingConfig  # of the training
    max_new_tokens: int  # most tokens of a reply
    examples: Mapping[int, Example]  # by row, the example that its completion loss is measured on
    seed: int  # of adapters, row order and prompts
    processes: Processes  # that share the work


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was measured on rows that the adapter had not seen."""

    losses: Mapping[str, float]  # by row id, completion loss, nats per token
    retrievals: tuple[Retrieval, ...]  # the judged rows as new tickets
    replies: Mapping[str, Reply]  # by row id, what a customer would have got
    gains: Mapping[str, float]  # by row id, of each reply that passed the check its quality minus that of the copied one
    stopped: str = ""  # why the second fold was not measured, a clause
    timed_out: bool = False  # whether the deadline came before all was measured
    problems: tuple[str, ...] = ()  # what went wrong in a fold, a sentence each
    memory_retries: int = 0  # how often memory ran out and a smaller way of working took over

    @property
    def given(self) -> int:
        """How many customers would have got a draft."""
        return sum(reply.source == "generated" for reply in self.replies.values())


NO_EVIDENCE = Evidence({}, (), {}, {})


def gather_evidence(
    setup: Setup,
    model: PeftModel,
    encoder: Encoder,
    *,
    scale: float,
    plans: Sequence[MemoryPlan],
    deadline: float,
    enough: Callable[[Evidence], str] = lambda _: "",
) -> Evidence:
    """Trains on each fold, judges on the others.

    Args:
        setup: as the final adapter was trained.
        model: the base with the final adapter; it is left so.
        encoder: measures how near a draft and the stored reply are to the ticket, and what is given to the ideal reply.
        scale: of the final adapter.
        plans: memory plans, from the one that fitted the final adapter on.
        deadline: `time.monotonic()` at which measuring stops.
        enough: says of the first fold why the second need not be measured, a clause; empty if it must be.
    """
    found = NO_EVIDENCE
    for fold, out in enumerate(fold_rows(setup.classifier)):
        try:
            found = _joined(found, _judged_fold(setup, model, encoder, fold, out, scale=scale, plans=plans, deadline=deadline))
        except NoAdapter as error:
            found = _joined(found, _failed(f"fold {fold + 1} of {FOLDS} was not judged: {error}", timed_out=error.timed_out))
        except OutOfMemory as error:
            found = _joined(found, _failed(f"fold {fold + 1} of {FOLDS} was not judged: {error}", memory_retries=1))
        release()
        if found.timed_out or found.problems:
            break
        if fold == 0 and found.replies and (stopped := enough(found)):
            return replace(found, stopped=stopped)
    return found


def _judged_fold(
    setup: Setup,
    model: PeftModel,
    encoder: Encoder,
    fold: int,
    out: Rows,
    *,
    scale: float,
    plans: Sequence[MemoryPlan],
    deadline: float,
) -> Evidence:
    """What an adapter trained without the rows of a fold does with them; at scale 0 that is the bare base."""
    if not scale:
        set_scale(model, 0.0)
        return _judge(setup, model, encoder, out, deadline=deadline)
    with fold_adapter(model, f"fold{fold}", seed=setup.seed, processes=setup.processes):
        run = _train_without(setup, model, out, plans=plans, deadline=deadline, label=f"train fold {fold + 1} of {FOLDS}")
        set_scale(model, scale)
        judged = _judge(setup, model, encoder, out, deadline=deadline)
    return replace(judged, memory_retries=judged.memory_retries + run.memory_retries)


def fold_rows(classifier: IntentClassifier) -> list[Rows]:
    """The rows of each fold, first the one with more rows to judge; none where a single row leaves nothing to train on."""
    train_set = classifier.train_set
    fold_of = folds(train_set, count=FOLDS)
    found = [np.flatnonzero(fold_of == fold) for fold in range(FOLDS)] if len(train_set.rows) > 1 else []
    return sorted(found, key=lambda rows: -len(rows_with_siblings(train_set, rows)))


def _failed(problem: str, *, timed_out: bool = False, memory_retries: int = 0) -> Evidence:
    problems = () if timed_out else (problem,)
    return Evidence({}, (), {}, {}, timed_out=timed_out, problems=problems, memory_retries=memory_retries)


def _train_without(
    setup: Setup, model: PeftModel, out: Rows, *, plans: Sequence[MemoryPlan], deadline: float, label: str
) -> TrainingRun:
    rest = refit(setup.classifier, setup.classifier.train_set.without(out))
    data = make_training_data(rest, out_of_fold_log_probabilities(rest), setup.writer, setup.config, seed=setup.seed)
    if not data.epochs[0]:
        raise NoAdapter("no row is short enough to learn from")
    run = train(
        model,
        data.epochs,
        learning_rate=setup.config.learning_rate,
        seed=setup.seed,
        deadline=deadline,
        label=label,
        processes=setup.processes,
        plans=plans,
        prompt_gradient=setup.config.prompt_gradient,
    )
    if run.diverged:
        raise NoAdapter(f"training diverged ({run.diverged})")
    if not run.finished or setup.processes.any(time.monotonic() > deadline):
        raise NoAdapter("the time budget ended the training", timed_out=True)
    return run


def _judge(setup: Setup, model: PeftModel, encoder: Encoder, out: Rows, *, deadline: float) -> Evidence:
    """All that an adapter is asked about the rows of the fold that it has not seen."""
    processes, train_set = setup.processes, setup.classifier.train_set
    losses = shared_losses(model, {i: setup.examples[i] for i in _loss_rows(setup, out)}, processes)
    judged = rows_with_siblings(train_set, out)
    vectors = train_set.ticket_vectors[judged]
    retrievals = retrieve_train_rows(setup.classifier, judged, setup.answer_log_p[judged])
    retrievals = with_composed_replies(retrievals, vectors, encoder)
    written = write_replies(
        retrievals,
        model,
        setup.base,
        setup.writer,
        max_new_tokens=setup.max_new_tokens,
        exemplars=setup.config.exemplars,
        deadline=deadline,
        processes=processes,
    )
    replies, gains = _against_stored(retrievals, written.replies, vectors, train_set, encoder)
    replies, gains = processes.first((replies, gains))  # each process has embedded by itself
    timed_out, retries = not written.complete, written.memory_retries
    return Evidence(losses, retrievals, replies, gains, timed_out=timed_out, memory_retries=retries)


def _against_stored(
    found: Sequence[Retrieval], drafts: Mapping[str, Reply], vectors: Vectors, train_set: TrainSet, encoder: Encoder
) -> tuple[dict[str, Reply], dict[str, float]]:
    """By id, what the customers of m rows would get, and what each draft that passed the check gains.

    One that failed says nothing about generating; one that the stored reply is preferred to gains 0.
    """
    drafted = [drafts[one.ticket.id] for one in found]
    given = choose_replies(found, drafted, vectors, train_set, encoder)
    replies = {one.ticket.id: reply for one, reply in zip(found, given, strict=True)}
    passed = [one for one, draft in zip(found, drafted, strict=True) if draft.source == "generated"]
    return replies, gains_over_copies(passed, replies, train_set, encoder)


def _loss_rows(setup: Setup, out: Rows) -> list[int]:
    """Rows all over the fold, at most `MAX_LOSS_ROWS`."""
    rows = [int(i) for i in out if int(i) in setup.examples]
    return [rows[i * len(rows) // MAX_LOSS_ROWS] for i in range(MAX_LOSS_ROWS)] if len(rows) > MAX_LOSS_ROWS else rows


def own_row_scores(setup: Setup, scorer: NoisyChannel) -> Floats:
    """(n, c) LM scores of at most `MAX_SCORED_ROWS` train rows, each hidden from itself; NaN where nothing was scored."""
    train_set = setup.classifier.train_set
    chosen = representative_rows(train_set, at_most=MAX_SCORED_ROWS)
    questions = train_row_questions(
        setup.classifier, chosen, setup.log_p[chosen], candidates=scorer.candidates, below=scorer.below
    )
    return lm_score_matrix(scorer.score(questions), [row.id for row in train_set.rows], train_set.intents)


def shared_losses(model: PeftModel, examples: Mapping[int, Example], processes: Processes) -> dict[str, float]:
    """By row id, the completion loss at the model's present scale; the processes share the rows.

    Raises:
        OutOfMemory: a row does not fit, in any of the processes.
    """
    mine = processes.share([examples[i] for i in sorted(examples)])
    losses, problem = {}, ""
    try:
        losses = dict(zip((example.row_id for example in mine), completion_losses(model, mine), strict=True))
    except OutOfMemory as error:
        problem = str(error)
    if problem := next(filter(None, processes.gather(problem)), ""):
        raise OutOfMemory(problem)
    return dict(sorted(processes.merge(losses).items()))


def _joined(one: Evidence, other: Evidence) -> Evidence:
    return Evidence(
        losses={**one.losses, **other.losses},
        retrievals=(*one.retrievals, *other.retrievals),
        replies={**one.replies, **other.replies},
        gains={**one.gains, **other.gains},
        timed_out=one.timed_out or other.timed_out,
        problems=(*one.problems, *other.problems),
        memory_retries=one.memory_retries + other.memory_retries,
    )
