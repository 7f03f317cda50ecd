"""The words of a prompt: rules, stored replies, ticket, and what the reply begins with.

    system     the rules
    user       what the intents named below are about, if a taxonomy says it; the stored replies that retrieval chose, best
               last, next to the ticket; then the ticket
    assistant  "intent: NAME\\nreply:" is given, the model writes the rest

No model is needed to build it, so `retrieval.inspect` shows the very words. Other requests, of a single turn, ask for a ticket:
about what an intent is named after, or that a stored reply answers (`finetune.noisy_channel`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from retrieval.encoder import humanised
from retrieval.tickets import LabelledTicket

RULES = (
    "You answer support tickets of one product. Write the reply in the words of the stored replies, "
    "and use only facts that stand in the stored replies or in the ticket."
)
DESCRIPTION_CHARACTERS = 200  # of an intent's description: it tells intents apart, and the stored replies need the space
NO_DESCRIPTIONS: Mapping[str, str] = MappingProxyType({})
# What a model writes that goes on with the prompt after the reply, and how any of it is found.
FORM_LINES = ("\nintent:", "\nreply:", "\nTicket:", "\nticket:", "\nStored replies:", "\nIntents:")
FORM = re.compile(r"^\s*(?:intents?|reply|ticket|stored replies):", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class PromptText:
    """What the three roles of a prompt say; the assistant's text is the beginning of the completion."""

    system: str
    user: str
    assistant: str


def reply_prompt_text(
    ticket: str,
    exemplars: Sequence[LabelledTicket],
    *,
    intent: str,
    descriptions: Mapping[str, str] = NO_DESCRIPTIONS,
) -> PromptText:
    """The words that ask for a reply.

    Args:
        ticket: the customer's words.
        exemplars: best first.
        intent: what the completion is prefilled with.
        descriptions: what intents are about, by name; those of the intents that the prompt names are shown.
    """
    stored = "\n\n".join(f"intent: {row.intent}\nreply: {row.ideal_reply}" for row in reversed(exemplars))
    user = f"Stored replies:\n\n{stored}\n\nTicket:\n{ticket}" if exemplars else f"Ticket:\n{ticket}"
    about = intents_text((*(row.intent for row in reversed(exemplars)), intent), descriptions)
    return PromptText(RULES, f"{about}{user}", f"intent: {intent}\nreply:")


def intents_text(intents: Iterable[str], descriptions: Mapping[str, str]) -> str:
    """The paragraph that says what these intents are about; empty if none of them has a description."""
    lines = [f"{name}: {_cut(descriptions[name])}\n" for name in dict.fromkeys(intents) if name in descriptions]
    return f"Intents:\n{''.join(lines)}\n" if lines else ""


def _cut(description: str) -> str:
    line = " ".join(description.split())
    return line if len(line) <= DESCRIPTION_CHARACTERS else f"{line[: DESCRIPTION_CHARACTERS - 1]}…"


def named_ticket_request(row: LabelledTicket) -> str:
    """What a base is asked so that the likelihood of a ticket says whether it is about what the row's intent is named after."""
    return f"Write a customer's ticket about this: {humanised(row.intent)}."


def ticket_request(row: LabelledTicket) -> str:
    """What a base is asked so that the likelihood of a ticket says whether the row's reply answers it.

    A row without a reply is a ticket of its intent, and asked about as such.
    """
    if row.ideal_reply:
        return f"A support agent sent this reply:\n{row.ideal_reply}\n\nWrite the customer's ticket that it answers."
    return f"A customer wrote this ticket:\n{row.text}\n\nWrite another customer's ticket about the same thing."
