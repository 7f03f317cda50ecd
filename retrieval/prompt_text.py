"""The words of a prompt: rules, stored replies, ticket, and what the reply begins with.

    system     the rules
    user       the stored replies that retrieval chose, best last, next to the ticket; then the ticket
    assistant  "intent: NAME\\nreply:" is given, the model writes the rest

No model is needed to build it, so `retrieval.inspect` shows the very words. A second request, of a single turn, asks for the
ticket that a stored reply answers (`finetune.noisy_channel`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.tickets import LabelledTicket

RULES = (
    "You answer support tickets of one product. Write the reply in the words of the stored replies, "
    "and use only facts that stand in the stored replies or in the ticket."
)
# What a model writes that goes on with the prompt after the reply, and how any of it is found.
FORM_LINES = ("\nintent:", "\nreply:", "\nTicket:", "\nticket:", "\nStored replies:")
FORM = re.compile(r"^\s*(?:intent|reply|ticket|stored replies):", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class PromptText:
    """What the three roles of a prompt say; the assistant's text is the beginning of the completion."""

    system: str
    user: str
    assistant: str


def reply_prompt_text(ticket: str, exemplars: Sequence[LabelledTicket], *, intent: str) -> PromptText:
    """The words that ask for a reply.

    Args:
        ticket: the customer's words.
        exemplars: best first.
        intent: what the completion is prefilled with.
    """
    stored = "\n\n".join(f"intent: {row.intent}\nreply: {row.ideal_reply}" for row in reversed(exemplars))
    user = f"Stored replies:\n\n{stored}\n\nTicket:\n{ticket}" if exemplars else f"Ticket:\n{ticket}"
    return PromptText(RULES, user, f"intent: {intent}\nreply:")


def ticket_request(row: LabelledTicket) -> str:
    """What a base is asked so that the likelihood of a ticket says whether the row's reply answers it.

    A row without a reply is a ticket of its intent, and asked about as such.
    """
    if row.ideal_reply:
        return f"A support agent sent this reply:\n{row.ideal_reply}\n\nWrite the customer's ticket that it answers."
    return f"A customer wrote this ticket:\n{row.text}\n\nWrite another customer's ticket about the same thing."
