"""From train rows to training examples: what the adapter is to learn.

Either a row's own reply stands among the exemplars, at the rank where retrieval would put it for a new ticket; then the base
learns to pick a reply and copy it. Or it does not, as for a new ticket; then the base learns to write in the product's wording
and invents details, which the check has to catch. Measured with a 135M and a 1.5B base, checked replies of the second kind come
nearer to the ideal ones, and the first kind makes the replies to new tickets less likely than the bare base does
(EXPERIMENTS.md, section 3).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finetune.base_model import BaseModel
from finetune.prompt import Example, NoPrompt, PromptWriter
from retrieval.exemplars import EXEMPLARS, NearRows, choose_exemplars, exemplar_scores, near_rows, with_own_row
from retrieval.intent_classifier import Floats, IntentClassifier
from retrieval.reference_numbers import for_ticket
from retrieval.tickets import LabelledTicket
from retrieval.train_set import representative_rows

FEW_EXEMPLARS = 2  # half of the tokens of four: for a small base, and for any base on a CPU
LARGE_BASE_CPU_ROWS = 15  # two passes are 8 steps: of a 1.5B in fp32 on two cores 12 minutes, half of the time budget


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How training examples are made and learned."""

    learning_rate: float = 1e-3  # at its peak
    own_reply_share: float = 0.0  # share of the prompts in which the row's own reply stands among the exemplars
    exemplars: int = EXEMPLARS  # how many in a prompt, of a train row and of a new ticket
    epochs: int = 2  # passes over the rows
    rows: int | None = None  # representative rows that are learned from, None for all; exemplars come from all
    prompt_gradient: bool = True  # whether the gradient goes back through the prompt, see `training.row_losses`


def config_for(base: BaseModel) -> TrainingConfig:
    """Without the row's own reply, as measured with the 135M at 1e-3 and with the 1.5B at 2e-4.

    On a CPU the prompts have no gradient and few exemplars, and a large base, of which a step takes ten seconds to a minute,
    learns from 15 rows.
    """
    if base.model.device.type != "cpu":
        return TrainingConfig(learning_rate=2e-4) if base.large else TrainingConfig(exemplars=FEW_EXEMPLARS)
    if not base.large:
        return TrainingConfig(exemplars=FEW_EXEMPLARS, prompt_gradient=False)
    return TrainingConfig(learning_rate=2e-4, exemplars=FEW_EXEMPLARS, rows=LARGE_BASE_CPU_ROWS, prompt_gradient=False)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The examples of each epoch, and the ids of rows that are too long for a prompt."""

    epochs: tuple[tuple[Example, ...], ...]
    too_long: tuple[str, ...]


def make_training_data(
    classifier: IntentClassifier, log_probabilities: Floats, writer: PromptWriter, config: TrainingConfig, *, seed: int
) -> TrainingData:
    """Training examples of every row, or of the representative ones.

    Args:
        classifier: fitted on the rows to learn from.
        log_probabilities: (n, c) of these rows, out-of-fold.
        writer: of the base.
        config: how.
        seed: decides which prompts hold the row's own reply where `own_reply_share` is between 0 and 1.
    """
    rows, near = classifier.train_set.rows, _near_rows(classifier, log_probabilities)
    learned = representative_rows(classifier.train_set, at_most=config.rows or len(rows)).tolist()
    epochs: list[tuple[Example, ...]] = []
    too_long: dict[str, None] = {}
    for epoch in range(config.epochs):
        with_own = np.random.default_rng([1, seed, epoch]).random(len(rows)) < config.own_reply_share
        examples: list[Example] = []
        for i in learned:
            exemplars = _exemplars(classifier, i, near[i], log_probabilities[i], config.exemplars, with_own=bool(with_own[i]))
            try:
                examples.append(writer.example(rows[i], exemplars))
            except NoPrompt:
                too_long[rows[i].id] = None
        epochs.append(tuple(examples))
    return TrainingData(tuple(epochs), tuple(too_long))


def judging_examples(
    classifier: IntentClassifier, log_probabilities: Floats, writer: PromptWriter, config: TrainingConfig
) -> dict[int, Example]:
    """By row, the example on which its completion loss is measured: always without its own reply; too long rows are missing."""
    near = _near_rows(classifier, log_probabilities)
    found: dict[int, Example] = {}
    for i, row in enumerate(classifier.train_set.rows):
        exemplars = _exemplars(classifier, i, near[i], log_probabilities[i], config.exemplars, with_own=False)
        try:
            found[i] = writer.example(row, exemplars)
        except NoPrompt:
            continue
    return found


def _near_rows(classifier: IntentClassifier, log_probabilities: Floats) -> list[NearRows]:
    """The rows near each train row, the row itself hidden."""
    vectors = classifier.train_set.ticket_vectors
    return near_rows(classifier, vectors, log_probabilities, hidden=range(len(vectors)))


def _exemplars(
    classifier: IntentClassifier, row: int, near: NearRows, log_p: Floats, count: int, *, with_own: bool
) -> Sequence[LabelledTicket]:
    """The exemplars of a train row, as of a new ticket; its own reply stands at its rank, or last, if it is asked for."""
    if not count:
        return ()
    train_set, own = classifier.train_set, classifier.train_set.rows[row]
    rows = with_own_row(near, classifier, row) if with_own else near
    scores = exemplar_scores(rows, log_p, train_set.labels)
    chosen = choose_exemplars(train_set, rows, scores, own.text, count=count)
    exemplars = [for_ticket(train_set.rows[i], own.text) for i in chosen]
    if with_own and all(exemplar.ideal_reply != own.ideal_reply for exemplar in exemplars):
        exemplars[count - 1 :] = [own]
    return exemplars
