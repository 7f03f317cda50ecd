"""Evidence from rows that the adapter has not seen.

The train rows are cut into two halves, rows of one intent spread over both. An adapter is trained on each half, brought to its
scale, and judged on the other: completion loss with the prompts of training, the model's view of the intent, replies with the
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
from finetune.gradients import completion_losses
from finetune.intent_view import ask_intents, intent_question
from finetune.lessons import LessonPlan, lesson, make_lessons
from finetune.lora import learning_rate, passing_adapter, tune
from finetune.prompt import Example, NoPrompt, PromptWriter
from finetune.replies import reply_room, write_replies
from finetune.scale import GeneralTexts, settle_scale
from finetune.team import ALONE, Team
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
        half_of: (n,) the half in which each row was judged.
        opinions: by row id, the model's word on the row's candidate intents.
        step_downs: how often memory ran out.
    """

    losses: tuple[float, ...]
    questions: tuple[Question, ...]
    replies: dict[str, Reply]
    complete: bool
    half_of: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    opinions: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    step_downs: int = 0


@dataclass(frozen=True, slots=True)
class Course:
    """What all LoRA runs over a desk have in common.

    Attributes:
        base: without an adapter; every run leaves it so.
        writer: of its prompts.
        plan: of the lessons.
        texts: by which an adapter's scale is settled.
        seed: of adapters, row order and lessons.
        team: the processes that share the work.
    """

    base: BaseModel
    writer: PromptWriter
    plan: LessonPlan
    texts: GeneralTexts
    seed: int
    team: Team = ALONE


def cross_fit(pool: IntentPool, votes: Votes, course: Course, *, deadline: float) -> CrossFit:
    """Trains on each half, judges on the other.

    Args:
        pool: over the rows to be taught.
        votes: `held_out_votes` of the pool.
        course: as the final adapter will be trained.
        deadline: `time.monotonic()` at which measuring stops.

    Raises:
        NoAdapter: training diverged before anything was learnt.
        OutOfMemory: a row does not fit.
    """
    halves: list[CrossFit] = []
    half_of = folds(pool.desk, count=2)
    for half in (0, 1) if len(pool.desk.rows) > 1 else ():
        out = np.flatnonzero(half_of == half)
        rest = fit_pool(pool.desk.without(out), with_names=pool.with_names, weights=pool.weights)
        lessons = make_lessons(rest.desk, held_out_votes(rest), course.writer, course.plan, seed=course.seed)
        with passing_adapter(course.base, seed=course.seed) as adapted:
            tuning = tune(
                adapted,
                lessons.epochs,
                rate=learning_rate(course.base),
                seed=course.seed,
                deadline=deadline,
                label=f"cross-fit, half {half + 1} of 2",
                team=course.team,
            )
            judged = CrossFit((), (), {}, complete=False)
            if tuning.finished and not course.team.agrees(time.monotonic() > deadline):
                settle_scale(adapted, course.texts, seed=course.seed)
                judged = _judge(pool, votes, out, adapted, course, part=f"{half + 1} of 2", deadline=deadline)
        halves.append(replace(judged, step_downs=tuning.step_downs + judged.step_downs))
        if not halves[-1].complete:
            break
    return _joined(halves, half_of)


def _judge(
    pool: IntentPool, votes: Votes, out: Rows, adapted: PeftModel, course: Course, *, part: str, deadline: float
) -> CrossFit:
    """All that an adapter is asked about the rows of the half that it has not seen."""
    desk, team, writer = pool.desk, course.team, course.writer
    examples = team.share(_examples(desk, votes, writer, course.plan, out))
    losses = dict(zip((example.row_id for example in examples), completion_losses(adapted, examples), strict=True))
    asked = [intent_question(desk, votes, int(i), desk.rows[i].id, desk.rows[i].text, own=int(i)) for i in out]
    label = f"cross-fit, intents {part}"
    opinions, heard = ask_intents(asked, adapted, writer, deadline=deadline, label=label, team=team)
    questions, room = judged_questions(desk, votes, out), reply_room(writer, desk.rows)
    label = f"cross-fit, replies {part}"
    written = write_replies(questions, adapted, course.base, writer, room=room, deadline=deadline, label=label, team=team)
    return CrossFit(
        losses=tuple(loss for _, loss in sorted(team.merged(losses).items())),
        questions=tuple(questions),
        replies=written.replies,
        complete=heard and written.complete,
        opinions=opinions,
        step_downs=written.step_downs,
    )


def _joined(halves: Sequence[CrossFit], half_of: NDArray[np.int64]) -> CrossFit:
    return CrossFit(
        losses=tuple(loss for half in halves for loss in half.losses),
        questions=tuple(question for half in halves for question in half.questions),
        replies={row_id: reply for half in halves for row_id, reply in half.replies.items()},
        complete=all(half.complete for half in halves),
        half_of=half_of,
        opinions={row_id: opinion for half in halves for row_id, opinion in half.opinions.items()},
        step_downs=sum(half.step_downs for half in halves),
    )


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
