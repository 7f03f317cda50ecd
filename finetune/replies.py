"""From a question to a reply that the model wrote and the check let pass.

What it does not know: whether a copied reply would be better here (`gates.reply_gate`).
"""

import math
from collections.abc import Mapping, Sequence

import torch

from finetune.base_model import BaseModel
from finetune.generate import Generation, generate
from finetune.grounding import findings
from finetune.prompt import NoPrompt, Prompt, PromptWriter
from retrieval.exemplars import EXEMPLARS
from retrieval.reply import Question, Reply, copy_reply
from retrieval.tickets import LabelledTicket

ROOM_FACTOR = 1.25  # a reply may be this much longer than the longest stored one
MOST_ROOM = 320  # tokens


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
) -> tuple[dict[str, Reply], bool]:
    """Generates, checks, and replaces what fails; a question that finds no room or no time is copied.

    Returns the replies by row id, and whether all that could be written were: False if the deadline struck.

    Args:
        questions: ids unique.
        model: the base or the base with its adapter.
        base: for its tokenizer.
        writer: the one that wrote the training prompts.
        room: most tokens of a reply.
        shown: at most so many exemplars stand in the prompt; the first of all is what replaces a bad draft.
        deadline: `time.monotonic()` after which no further batch is begun.
        label: for the progress bar.
    """
    prompts = {q.row_id: prompt for q in questions if (prompt := _prompt(q, writer, room, shown))}
    written = generate(model, base, list(prompts.values()), end_id=writer.end_id, room=room, deadline=deadline, label=label)
    return {question.row_id: _checked(question, prompts, written) for question in questions}, len(written) == len(prompts)


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
