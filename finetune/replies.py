"""From a question to a reply that the model wrote and the check let pass.

Questions are taken in blocks, so that memory does not grow with their number, and the processes of a run share each block.

What it does not know: whether a copied reply would be better here (`gates.reply_gate`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from finetune.base_model import BaseModel
from finetune.generate import Generation, generate
from finetune.grounding import findings
from finetune.prompt import NoPrompt, Prompt, PromptWriter
from finetune.team import ALONE, Team
from retrieval.exemplars import EXEMPLARS
from retrieval.reply import Question, Reply, copy_reply
from retrieval.tickets import LabelledTicket

ROOM_FACTOR = 1.25  # a reply may be this much longer than the longest stored one
MOST_ROOM = 320  # tokens
BLOCK = 256  # questions whose prompts are in memory together


@dataclass(frozen=True, slots=True)
class Written:
    """Replies to questions.

    Attributes:
        replies: by row id, one for every question.
        complete: False if the deadline struck before all that could be written were.
        step_downs: how often memory ran out and smaller batches, or copies, took over.
    """

    replies: dict[str, Reply]
    complete: bool
    step_downs: int = 0

    @property
    def brakes(self) -> tuple[str, ...]:
        """What cut the writing short, a sentence each."""
        late = () if self.complete else ("the time budget ended the writing: stored replies were copied for the rest",)
        return (*late, *([f"memory ran out {self.step_downs} times while writing"] if self.step_downs else []))


def reply_room(writer: PromptWriter, rows: Sequence[LabelledTicket]) -> int:
    """Tokens a reply may take: a quarter more than the longest stored reply, within the window's half."""
    longest = max(writer.completion_length(row.ideal_reply) for row in rows)
    return min(int(ROOM_FACTOR * longest), MOST_ROOM, writer.window // 2)


def write_replies(
    questions: Sequence[Question],
    model: torch.nn.Module,
    base: BaseModel,
    writer: PromptWriter,
    *,
    room: int,
    shown: int = EXEMPLARS,
    deadline: float = math.inf,
    label: str = "write replies",
    team: Team = ALONE,
) -> Written:
    """Generates, checks, and replaces what fails; a question that finds no room, no time or no memory is copied.

    Args:
        questions: ids unique.
        model: the base or the base with its adapter.
        base: for its tokenizer.
        writer: the one that wrote the training prompts.
        room: most tokens of a reply.
        shown: at most so many exemplars stand in the prompt; the first of all is what replaces a bad draft.
        deadline: `time.monotonic()` after which no further batch is begun.
        label: for the progress bar.
        team: the processes that share the questions.
    """
    replies: dict[str, Reply] = {}
    missing = step_downs = 0
    for start in range(0, len(questions), BLOCK):
        block = team.share(questions[start : start + BLOCK])
        prompts = {q.row_id: prompt for q in block if (prompt := _prompt(q, writer, room, shown))}
        found = generate(model, base, list(prompts.values()), end_id=writer.end_id, room=room, deadline=deadline, label=label)
        replies |= {question.row_id: _checked(question, prompts, found.written) for question in block}
        missing += len(prompts) - len(found.written) - len(found.too_large)
        step_downs += found.step_downs
    parts = team.gathered((missing, step_downs))
    return Written(team.merged(replies), not sum(part[0] for part in parts), sum(part[1] for part in parts))


def _prompt(question: Question, writer: PromptWriter, room: int, shown: int) -> Prompt | None:
    try:
        return writer.prompt(question.row_id, question.ticket, question.exemplars[:shown], intent=question.intent, room=room)
    except NoPrompt:
        return None


def _checked(question: Question, prompts: Mapping[str, Prompt], written: Mapping[str, Generation]) -> Reply:
    if question.row_id not in written:
        return copy_reply(question)
    draft = written[question.row_id]
    shown = question.exemplars[: prompts[question.row_id].exemplars]
    found = findings(draft.text, [*(row.ideal_reply for row in shown), question.ticket], ended=draft.ended)
    if found:
        return Reply(question.exemplars[0].ideal_reply, "replaced", found, draft.text, draft.tokens, draft.seconds)
    return Reply(draft.text, "generated", (), "", draft.tokens, draft.seconds)
