"""Evidence from rows that the adapter has not seen.

The train rows are cut into two halves, rows of one intent spread over both. An adapter is trained on each half, brought to its
scale, and judged on the other: completion loss with the prompts of training, the model's scorer of the intent, replies with the
prompts of answering, where the row is absent from the store, the prompt and the training. The reply that is judged is the one a
customer would get: generated, checked, replaced by a stored one where the check fails. These adapters are thrown away; the
final one is trained on all rows.

What it does not know: what is decided from it (`gates`).
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from peft import PeftModel

from finetune.base_model import BaseModel
from finetune.distributed import SINGLE_PROCESS, Processes
from finetune.forgetting import GeneralText, choose_scale
from finetune.gradients import completion_losses
from finetune.intent_likelihood import ask_intents, intent_question
from finetune.lora import learning_rate, temporary_adapter, tune
from finetune.prompt import Example, NoPrompt, PromptWriter
from finetune.reply_writer import max_reply_tokens, write_replies
from finetune.training_data import TrainingConfig, make_training_data, training_example
from retrieval.cross_validation import folds, out_of_fold_scores
from retrieval.exemplars import EXEMPLARS, Rows, train_row_exemplars
from retrieval.intent_classifier import IntentClassifier, IntentScores, fit_classifier
from retrieval.replies import Question, Reply
from retrieval.train_set import TrainSet


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was measured.

    Attributes:
        losses: completion loss of each row that could be judged, nats per token.
        questions: the judged rows as new tickets.
        replies: by row id, what a customer would have got for a judged row.
        complete: False if the deadline struck before all was measured.
        fold_of: (n,) the half in which each row was judged.
        lm_scores: by row id, the model's word on the row's candidate intents.
        step_downs: how often memory ran out.
    """

    losses: tuple[float, ...]
    questions: tuple[Question, ...]
    replies: dict[str, Reply]
    complete: bool
    fold_of: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    lm_scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    step_downs: int = 0


@dataclass(frozen=True, slots=True)
class TrainingSetup:
    """What all LoRA runs over a train_set have in common.

    Attributes:
        base: without an adapter; every run leaves it so.
        writer: of its prompts.
        config: of the data.
        texts: by which an adapter's scale is settled.
        seed: of adapters, row order and data.
        processes: the processes that share the work.
    """

    base: BaseModel
    writer: PromptWriter
    config: TrainingConfig
    texts: GeneralText
    seed: int
    processes: Processes = SINGLE_PROCESS


def gather_evidence(
    classifier: IntentClassifier, intent_scores: IntentScores, setup: TrainingSetup, *, deadline: float
) -> Evidence:
    """Trains on each half, judges on the other.

    Args:
        classifier: over the rows to be training.
        intent_scores: `out_of_fold_scores` of the classifier.
        setup: as the final adapter will be trained.
        deadline: `time.monotonic()` at which measuring stops.

    Raises:
        NoAdapter: training diverged before anything was learnt.
        OutOfMemory: a row does not fit.
    """
    halves: list[Evidence] = []
    fold_of = folds(classifier.train_set, count=2)
    for half in (0, 1) if len(classifier.train_set.rows) > 1 else ():
        out = np.flatnonzero(fold_of == half)
        rest = fit_classifier(classifier.train_set.without(out), with_names=classifier.with_names, weights=classifier.weights)
        data = make_training_data(rest.train_set, out_of_fold_scores(rest), setup.writer, setup.config, seed=setup.seed)
        with temporary_adapter(setup.base, seed=setup.seed) as tuned:
            tuning = tune(
                tuned,
                data.epochs,
                rate=learning_rate(setup.base),
                seed=setup.seed,
                deadline=deadline,
                label=f"cross-fit, half {half + 1} of 2",
                processes=setup.processes,
            )
            judged = Evidence((), (), {}, complete=False)
            if tuning.finished and not setup.processes.agrees(time.monotonic() > deadline):
                choose_scale(tuned, setup.texts, seed=setup.seed)
                judged = _judge(classifier, intent_scores, out, tuned, setup, part=f"{half + 1} of 2", deadline=deadline)
        halves.append(replace(judged, step_downs=tuning.step_downs + judged.step_downs))
        if not halves[-1].complete:
            break
    return _joined(halves, fold_of)


def _judge(
    classifier: IntentClassifier,
    intent_scores: IntentScores,
    out: Rows,
    tuned: PeftModel,
    setup: TrainingSetup,
    *,
    part: str,
    deadline: float,
) -> Evidence:
    """All that an adapter is asked about the rows of the half that it has not seen."""
    train_set, processes, writer = classifier.train_set, setup.processes, setup.writer
    examples = processes.share(_examples(train_set, intent_scores, writer, setup.config, out))
    losses = dict(zip((example.row_id for example in examples), completion_losses(tuned, examples), strict=True))
    asked = [
        intent_question(train_set, intent_scores, int(i), train_set.rows[i].id, train_set.rows[i].text, own=int(i)) for i in out
    ]
    label = f"cross-fit, intents {part}"
    lm_scores, heard = ask_intents(asked, tuned, writer, deadline=deadline, label=label, processes=processes)
    questions, max_new_tokens = judged_questions(train_set, intent_scores, out), max_reply_tokens(writer, train_set.rows)
    label = f"cross-fit, replies {part}"
    written = write_replies(
        questions, tuned, setup.base, writer, max_new_tokens=max_new_tokens, deadline=deadline, label=label, processes=processes
    )
    return Evidence(
        losses=tuple(loss for _, loss in sorted(processes.merged(losses).items())),
        questions=tuple(questions),
        replies=written.replies,
        complete=heard and written.complete,
        lm_scores=lm_scores,
        step_downs=written.step_downs,
    )


def _joined(halves: Sequence[Evidence], fold_of: NDArray[np.int64]) -> Evidence:
    return Evidence(
        losses=tuple(loss for half in halves for loss in half.losses),
        questions=tuple(question for half in halves for question in half.questions),
        replies={row_id: reply for half in halves for row_id, reply in half.replies.items()},
        complete=all(half.complete for half in halves),
        fold_of=fold_of,
        lm_scores={row_id: lm_score for half in halves for row_id, lm_score in half.lm_scores.items()},
        step_downs=sum(half.step_downs for half in halves),
    )


def _examples(
    train_set: TrainSet, intent_scores: IntentScores, writer: PromptWriter, config: TrainingConfig, out: Rows
) -> list[Example]:
    found: list[Example] = []
    for number in out:
        with suppress(NoPrompt):
            found.append(training_example(train_set, intent_scores, writer, config, int(number), with_own=False))
    return found


def judged_questions(train_set: TrainSet, intent_scores: IntentScores, numbers: Rows) -> list[Question]:
    """Those of the rows whose intent has another row, asked as if they were new tickets."""
    rows_of = np.bincount(train_set.intent_of, minlength=len(train_set.intents))
    return [
        Question(
            row_id=train_set.rows[i].id,
            ticket=train_set.rows[i].text,
            intent=train_set.intents[intent_scores.winners[i]],
            exemplars=tuple(
                train_set.rows[j]
                for j in train_row_exemplars(train_set, intent_scores, int(i), count=EXEMPLARS, with_own=False)
            ),
        )
        for i in numbers
        if rows_of[train_set.intent_of[i]] > 1
    ]
