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
            exemplars = _exemplars(classifier, near[i], log_probabilities[i], config.exemplars, i if with_own[i] else None)
            try:
                examples.append(_example(writer, rows[i], exemplars))
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
        exemplars = _exemplars(classifier, near[i], log_probabilities[i], config.exemplars, None)
        try:
            found[i] = _example(writer, row, exemplars)
        except NoPrompt:
            continue
    return found


def _example(writer: PromptWriter, row: LabelledTicket, exemplars: Sequence[LabelledTicket]) -> Example:
    """Raises NoPrompt if the reply leaves no room; as for a new ticket, the exemplars hold the row's own reference number."""
    return writer.example(row, [for_ticket(exemplar, row.text) for exemplar in exemplars])


def _near_rows(classifier: IntentClassifier, log_probabilities: Floats) -> list[NearRows]:
    """The rows near each train row, the row itself hidden."""
    vectors = classifier.train_set.ticket_vectors
    return near_rows(classifier, vectors, log_probabilities, hidden=range(len(vectors)))


def _exemplars(
    classifier: IntentClassifier, near: NearRows, log_p: Floats, count: int, own: int | None
) -> Sequence[LabelledTicket]:
    """The exemplars of a train row; with `own`, its reply stands at its rank, or last if that is beyond `count`."""
    if not count:
        return ()
    train_set = classifier.train_set
    rows = near if own is None else with_own_row(near, classifier, own)
    chosen = choose_exemplars(train_set, rows, exemplar_scores(rows, log_p, train_set.labels), count=count)
    exemplars = [train_set.rows[i] for i in chosen]
    if own is not None and all(row.ideal_reply != train_set.rows[own].ideal_reply for row in exemplars):
        exemplars[count - 1 :] = [train_set.rows[own]]
    return exemplars
