"""Evidence from rows that the adapter has not seen.

The train rows are cut into two halves, rows of one intent spread over both. An adapter is trained on each half and judged on
the other: completion loss with the prompts of training, and replies with the prompts of answering, where the row is absent
from the store, the prompt and the training. The reply that is judged is the one a customer would get: generated, checked,
replaced by a stored one where the check fails. These adapters are thrown away; the final one is trained on all rows.

What it does not know: what is decided from it (`gates`).
"""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from finetune.base_model import BaseModel
from finetune.lessons import LessonPlan, lesson, make_lessons
from finetune.lora import completion_losses, learning_rate, passing_adapter, tune
from finetune.prompt import Example, NoPrompt, PromptWriter
from finetune.replies import reply_room, write_replies
from retrieval.desk import Desk
from retrieval.exemplars import EXEMPLARS, Rows, honest_exemplars
from retrieval.heldout import folds, held_out_votes
from retrieval.reply import Question, Reply
from retrieval.voting import IntentPool, Votes, fit_pool


@dataclass(frozen=True, slots=True)
class CrossFit:
    """What was measured.

    Attributes:
        losses: completion loss of each row that could be judged, nats per token.
        questions: the judged rows as new tickets.
        replies: by row id, what a customer would have got for a judged row.
        complete: False if the deadline struck before all was measured.
    """

    losses: tuple[float, ...]
    questions: tuple[Question, ...]
    replies: dict[str, Reply]
    complete: bool


def cross_fit(
    pool: IntentPool, votes: Votes, base: BaseModel, writer: PromptWriter, plan: LessonPlan, *, seed: int, deadline: float
) -> CrossFit:
    """Trains on each half, judges on the other.

    Args:
        pool: over the rows to be taught.
        votes: `held_out_votes` of the pool.
        base: without an adapter; it is left so.
        writer: of the base.
        plan: as the final adapter will be trained.
        seed: of adapters, row order and lessons.
        deadline: `time.monotonic()` at which measuring stops.
    """
    if len(pool.desk.rows) < 2:
        return CrossFit((), (), {}, complete=True)
    half_of = folds(pool.desk, count=2)
    losses: list[float] = []
    questions: list[Question] = []
    replies: dict[str, Reply] = {}
    for half in (0, 1):
        out = np.flatnonzero(half_of == half)
        taught = fit_pool(pool.desk.without(out), with_names=pool.with_names, weights=pool.weights)
        lessons = make_lessons(taught.desk, held_out_votes(taught), writer, plan, seed=seed)
        asked = judged_questions(pool.desk, votes, out)
        with passing_adapter(base, seed=seed) as adapted:
            label = f"cross-fit, half {half + 1} of 2"
            tuning = tune(adapted, lessons.epochs, rate=learning_rate(base), seed=seed, deadline=deadline, label=label)
            losses += completion_losses(adapted, _examples(pool.desk, votes, writer, plan, out))
            room = reply_room(writer, pool.desk.rows)
            label = f"cross-fit, replies {half + 1} of 2"
            written, whole = write_replies(asked, adapted, base, writer, room=room, deadline=deadline, label=label)
        replies |= written
        questions += asked
        if not (tuning.finished and whole):
            return CrossFit(tuple(losses), tuple(questions), replies, complete=False)
    return CrossFit(tuple(losses), tuple(questions), replies, complete=True)


def _examples(desk: Desk, votes: Votes, writer: PromptWriter, plan: LessonPlan, out: Rows) -> list[Example]:
    found: list[Example] = []
    for number in out:
        with suppress(NoPrompt):
            found.append(lesson(desk, votes, writer, plan, int(number), with_own=False))
    return found


def judged_questions(desk: Desk, votes: Votes, numbers: Rows) -> list[Question]:
    """Those of the rows whose intent has another row, asked as if they were new tickets."""
    rows_of = np.bincount(desk.intent_of, minlength=len(desk.intents))
    return [
        Question(
            row_id=desk.rows[i].id,
            ticket=desk.rows[i].text,
            intent=desk.intents[votes.winners[i]],
            exemplars=tuple(desk.rows[j] for j in honest_exemplars(desk, votes, int(i), count=EXEMPLARS, with_own=False)),
        )
        for i in numbers
        if rows_of[desk.intent_of[i]] > 1
    ]
