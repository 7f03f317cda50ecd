"""From train rows to training prompts: what the model is to learn.

Either a row's own reply stands among the exemplars, at the rank where retrieval would honestly put it; the lesson is then
"pick the answer, say it in the desk's words", and the 135M base learns to copy. Or it does not, as for a new ticket; the
lesson is then "write as this desk writes", the base invents details, and the check has to catch them. Measured for the 135M
base, checked replies of the second kind come nearer to the ideal ones (EXPERIMENTS.md).

What it does not know: how prompts are written, or how training works.
"""

from dataclasses import dataclass

import numpy as np

from finetune.prompt import Example, NoPrompt, PromptWriter
from retrieval.desk import Desk
from retrieval.exemplars import EXEMPLARS, honest_exemplars
from retrieval.tickets import LabelledTicket
from retrieval.voting import Votes


@dataclass(frozen=True, slots=True)
class LessonPlan:
    """How training prompts are made.

    Attributes:
        own_share: share of the prompts in which the row's own reply stands among the exemplars.
        siblings: without its own reply, the target is the best exemplar of the row's intent, if there is one.
        exemplars: how many in a training prompt; new tickets always get `EXEMPLARS`.
        epochs: passes over the rows.
    """

    own_share: float = 1.0
    siblings: bool = False
    exemplars: int = EXEMPLARS
    epochs: int = 2


def plan_for(*, large: bool) -> LessonPlan:
    """The plan for a base: without the row's own reply for a small one, as measured; with it for a large one, as designed."""
    return LessonPlan(own_share=1.0 if large else 0.0)


@dataclass(frozen=True, slots=True)
class Lessons:
    """For each epoch its examples, and the rows that make no prompt."""

    epochs: tuple[tuple[Example, ...], ...]
    unusable: tuple[str, ...]


def make_lessons(desk: Desk, votes: Votes, writer: PromptWriter, plan: LessonPlan, *, seed: int) -> Lessons:
    """Training prompts for every row of the desk.

    Args:
        desk: the rows to learn from.
        votes: `held_out_votes` of these rows.
        writer: of the base.
        plan: how.
        seed: decides which prompts hold the row's own reply where `own_share` is between 0 and 1.
    """
    epochs: list[tuple[Example, ...]] = []
    unusable: dict[str, None] = {}
    for epoch in range(plan.epochs):
        with_own = np.random.default_rng([1, seed, epoch]).random(len(desk.rows)) < plan.own_share
        taught: list[Example] = []
        for number in range(len(desk.rows)):
            try:
                taught.append(lesson(desk, votes, writer, plan, number, with_own=bool(with_own[number])))
            except NoPrompt:
                unusable[desk.rows[number].id] = None
        epochs.append(tuple(taught))
    return Lessons(tuple(epochs), tuple(unusable))


def lesson(desk: Desk, votes: Votes, writer: PromptWriter, plan: LessonPlan, number: int, *, with_own: bool) -> Example:
    """The training prompt of row `number`.

    Raises:
        NoPrompt: its reply leaves no room for its ticket.
    """
    row = desk.rows[number]
    chosen = honest_exemplars(desk, votes, number, count=plan.exemplars, with_own=with_own) if plan.exemplars else ()
    exemplars = [desk.rows[i] for i in chosen]
    sibling = _sibling(row, exemplars) if plan.siblings and not with_own else None
    return writer.example(row, exemplars, reply=sibling)


def _sibling(row: LabelledTicket, exemplars: list[LabelledTicket]) -> str | None:
    return next((other.ideal_reply for other in exemplars if other.intent == row.intent), None)
