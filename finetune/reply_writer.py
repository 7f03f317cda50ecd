"""From a question to a reply that the model wrote and the check let pass.

Questions are taken in blocks, so that memory does not grow with their number, and the processes of a run share each block.

What it does not know: whether a copied reply would be better here (`gates.reply_gate`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from finetune.base_model import BaseModel
from finetune.distributed import SINGLE_PROCESS, Processes
from finetune.generate import Generation, generate
from finetune.grounding import findings
from finetune.prompt import NoPrompt, Prompt, PromptWriter
from retrieval.exemplars import EXEMPLARS
from retrieval.replies import Question, Reply, copy_reply
from retrieval.tickets import LabelledTicket

REPLY_LENGTH_FACTOR = 1.25  # a reply may be this much longer than the longest stored one
MAX_REPLY_TOKENS = 320  # tokens
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
    def timeouts(self) -> tuple[str, ...]:
        """What cut the writing short, a sentence each."""
        timed_out = () if self.complete else ("the time budget ended the writing: stored replies were copied for the rest",)
        return (*timed_out, *([f"memory ran out {self.step_downs} times while writing"] if self.step_downs else []))


def max_reply_tokens(writer: PromptWriter, rows: Sequence[LabelledTicket]) -> int:
    """Tokens a reply may take: a quarter more than the longest stored reply, within the max_length's half."""
    longest = max(writer.completion_length(row.ideal_reply) for row in rows)
    return min(int(REPLY_LENGTH_FACTOR * longest), MAX_REPLY_TOKENS, writer.max_length // 2)


def write_replies(
    questions: Sequence[Question],
    model: torch.nn.Module,
    base: BaseModel,
    writer: PromptWriter,
    *,
    max_new_tokens: int,
    shown: int = EXEMPLARS,
    deadline: float = math.inf,
    label: str = "write replies",
    processes: Processes = SINGLE_PROCESS,
) -> Written:
    """Generates, checks, and replaces what fails; a question that finds no max_new_tokens, no time or no memory is copied.

    Args:
        questions: ids unique.
        model: the base or the base with its adapter.
        base: for its tokenizer.
        writer: the one that wrote the training prompts.
        max_new_tokens: most tokens of a reply.
        shown: at most so many exemplars stand in the prompt; the first of all is what replaces a bad draft.
        deadline: `time.monotonic()` after which no further batch is begun.
        label: for the progress bar.
        processes: the processes that share the questions.
    """
    replies: dict[str, Reply] = {}
    missing = step_downs = 0
    for start in range(0, len(questions), BLOCK):
        block = processes.share(questions[start : start + BLOCK])
        prompts = {q.row_id: prompt for q in block if (prompt := _prompt(q, writer, max_new_tokens, shown))}
        found = generate(
            model,
            base,
            list(prompts.values()),
            end_id=writer.end_id,
            max_new_tokens=max_new_tokens,
            deadline=deadline,
            label=label,
        )
        replies |= {question.row_id: _checked(question, prompts, found.written) for question in block}
        missing += len(prompts) - len(found.written) - len(found.too_large)
        step_downs += found.step_downs
    parts = processes.gathered((missing, step_downs))
    return Written(processes.merged(replies), not sum(part[0] for part in parts), sum(part[1] for part in parts))


def _prompt(question: Question, writer: PromptWriter, max_new_tokens: int, shown: int) -> Prompt | None:
    try:
        return writer.prompt(
            question.row_id, question.ticket, question.exemplars[:shown], intent=question.intent, max_new_tokens=max_new_tokens
        )
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
