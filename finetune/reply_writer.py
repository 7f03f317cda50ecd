"""From a retrieval to a reply that the model wrote and the check let pass.

Tickets are taken in blocks, so that memory does not grow with their number, and the processes of a run share each block.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from finetune.base_model import BaseModel
from finetune.distributed import SINGLE_PROCESS, Processes
from finetune.generate import Generation, generate
from finetune.grounding import checked
from finetune.prompt import NoPrompt, Prompt, PromptWriter
from retrieval.prediction import Reply, copy_reply
from retrieval.prompt_text import FORM
from retrieval.retrieve import Retrieval
from retrieval.tickets import LabelledTicket

REPLY_LENGTH_FACTOR = 1.25  # a reply may be this much longer than the longest stored one
MAX_REPLY_TOKENS = 320
BLOCK = 256  # tickets whose prompts are in memory together


@dataclass(frozen=True, slots=True)
class WrittenReplies:
    """Replies to tickets."""

    replies: dict[str, Reply]  # by ticket id, one for every ticket
    complete: bool  # False if the deadline came before all that could be written were, near ties once more alone
    memory_retries: int = 0  # how often memory ran out and smaller batches, or copies, took over

    @property
    def limits(self) -> tuple[str, ...]:
        """What cut the writing short in a way that a second run may not repeat, a sentence each."""
        timed_out = (
            ()
            if self.complete
            else ("the time budget ended the writing: stored replies fill in, or a second run may say it otherwise",)
        )
        return (*timed_out, *([f"memory ran out {self.memory_retries} times while writing"] if self.memory_retries else []))


def max_reply_tokens(writer: PromptWriter, rows: Sequence[LabelledTicket]) -> int:
    """Tokens that a reply may take: a quarter more than the longest stored one, within the limits of this file and the base."""
    longest = max(writer.completion_length(row.ideal_reply) for row in rows)
    return min(int(REPLY_LENGTH_FACTOR * longest), MAX_REPLY_TOKENS, writer.max_length // 2)


def write_replies(
    retrievals: Sequence[Retrieval],
    model: torch.nn.Module,
    base: BaseModel,
    writer: PromptWriter,
    *,
    max_new_tokens: int,
    exemplars: int,
    deadline: float = math.inf,
    label: str = "write replies",
    processes: Processes = SINGLE_PROCESS,
) -> WrittenReplies:
    """Generates, checks, replaces what fails; where length, time or memory do not allow it, or no row has the intent, copies.

    Args:
        retrievals: ids of the tickets unique.
        model: the base or the base with its adapter.
        base: for its tokenizer.
        writer: the one that wrote the training prompts.
        max_new_tokens: most tokens of a reply.
        exemplars: at most so many stand in the prompt; the first of all is what replaces a bad draft.
        deadline: `time.monotonic()` at which writing stops.
        label: for the progress bar.
        processes: that share the tickets.
    """
    replies: dict[str, Reply] = {}
    missing = memory_retries = 0
    for start in range(0, len(retrievals), BLOCK):
        block = processes.share(retrievals[start : start + BLOCK])
        prompts = {r.ticket.id: prompt for r in block if (prompt := reply_prompt(r, writer, max_new_tokens, exemplars))}
        options = {"end_id": writer.end_id, "max_new_tokens": max_new_tokens}
        found = generate(model, base, list(prompts.values()), **options, deadline=deadline, label=label)
        replies |= {retrieval.ticket.id: checked_reply(retrieval, prompts, found.written) for retrieval in block}
        missing += len(prompts) - len(found.written) - len(found.too_large) + found.unsettled
        memory_retries += found.memory_retries
    parts = processes.gather((missing, memory_retries))
    return WrittenReplies(processes.merge(replies), not sum(part[0] for part in parts), sum(part[1] for part in parts))


def reply_prompt(found: Retrieval, writer: PromptWriter, max_new_tokens: int, exemplars: int) -> Prompt | None:
    """The prompt for a ticket; None where it gets a stored reply, whatever the model would write.

    So it is where a stored reply has a line as the prompt's form has: what is written from it would be cut there.
    """
    ticket, shown = found.ticket, found.exemplars[:exemplars]
    if any(FORM.search(row.ideal_reply) for row in shown):
        return None
    if not found.intent_has_rows:  # no evidence is about such tickets, and what is untested is copied
        return None
    try:
        return writer.prompt(ticket.id, ticket.text, shown, intent=found.intent, max_new_tokens=max_new_tokens)
    except NoPrompt:
        return None


def checked_reply(found: Retrieval, prompts: Mapping[str, Prompt], written: Mapping[str, Generation]) -> Reply:
    """The draft, or the stored reply where there is none or the check finds something; both by the ticket's id."""
    if found.ticket.id not in written:
        return copy_reply(found)
    draft = written[found.ticket.id]
    shown = found.exemplars[: prompts[found.ticket.id].exemplars]
    reply = Reply(draft.text, "generated", tokens=draft.tokens, seconds=draft.seconds)
    return checked(reply, found, shown, ended=draft.ended)
