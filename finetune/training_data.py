"""From train rows to training prompts: what the model is to learn.

Either a row's own reply stands among the exemplars, at the rank where retrieval would honestly put it; the training_example
is then
"pick the answer, say it in the train_set's words", and the 135M base learns to copy. Or it does not, as for a new ticket; the
training_example is then "write as this train_set writes", the base invents details, and the check has to catch them.
Measured for the 135M
base, checked replies of the second kind come nearer to the ideal ones (EXPERIMENTS.md).

What it does not know: how prompts are written, or how training works.
"""

from dataclasses import dataclass

import numpy as np

from finetune.prompt import Example, NoPrompt, PromptWriter
from retrieval.exemplars import EXEMPLARS, train_row_exemplars
from retrieval.intent_classifier import IntentScores
from retrieval.tickets import LabelledTicket
from retrieval.train_set import TrainSet


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How training prompts are made.

    Attributes:
        own_reply_share: share of the prompts in which the row's own reply stands among the exemplars.
        siblings: without its own reply, the target is the best exemplar of the row's intent, if there is one.
        exemplars: how many in a training prompt; new tickets always get `EXEMPLARS`.
        epochs: passes over the rows.
    """

    own_reply_share: float = 1.0
    siblings: bool = False
    exemplars: int = EXEMPLARS
    epochs: int = 2


def config_for(*, large: bool) -> TrainingConfig:
    """The config for a base: without the row's own reply for a small one, as measured; with it for a large one, as designed."""
    return TrainingConfig(own_reply_share=1.0 if large else 0.0)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """For each epoch its examples, and the rows that make no prompt."""

    epochs: tuple[tuple[Example, ...], ...]
    unusable: tuple[str, ...]


def make_training_data(
    train_set: TrainSet, intent_scores: IntentScores, writer: PromptWriter, config: TrainingConfig, *, seed: int
) -> TrainingData:
    """Training prompts for every row of the train_set.

    Args:
        train_set: the rows to learn from.
        intent_scores: `out_of_fold_scores` of these rows.
        writer: of the base.
        config: how.
        seed: decides which prompts hold the row's own reply where `own_reply_share` is between 0 and 1.
    """
    epochs: list[tuple[Example, ...]] = []
    unusable: dict[str, None] = {}
    for epoch in range(config.epochs):
        with_own = np.random.default_rng([1, seed, epoch]).random(len(train_set.rows)) < config.own_reply_share
        training: list[Example] = []
        for number in range(len(train_set.rows)):
            try:
                training.append(
                    training_example(train_set, intent_scores, writer, config, number, with_own=bool(with_own[number]))
                )
            except NoPrompt:
                unusable[train_set.rows[number].id] = None
        epochs.append(tuple(training))
    return TrainingData(tuple(epochs), tuple(unusable))


def training_example(
    train_set: TrainSet,
    intent_scores: IntentScores,
    writer: PromptWriter,
    config: TrainingConfig,
    number: int,
    *,
    with_own: bool,
) -> Example:
    """The training prompt of row `number`.

    Raises:
        NoPrompt: its reply leaves no max_new_tokens for its ticket.
    """
    row = train_set.rows[number]
    chosen = (
        train_row_exemplars(train_set, intent_scores, number, count=config.exemplars, with_own=with_own)
        if config.exemplars
        else ()
    )
    exemplars = [train_set.rows[i] for i in chosen]
    sibling = _sibling(row, exemplars) if config.siblings and not with_own else None
    return writer.example(row, exemplars, reply=sibling)


def _sibling(row: LabelledTicket, exemplars: list[LabelledTicket]) -> str | None:
    return next((other.ideal_reply for other in exemplars if other.intent == row.intent), None)
