"""The words of a prompt: rules, stored replies, ticket, and what the reply begins with.

    system     the rules
    user       the stored replies that retrieval chose, best last, next to the ticket; then the ticket
    assistant  "intent: NAME\\nreply:" is given, the model writes the rest

A second, shorter prompt asks for the intent alone; its exemplars are tickets with their intents. No model is needed to build
either, so `retrieval.inspect` shows the very words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.tickets import LabelledTicket

RULES = (
    "You answer support tickets of one product. Write the reply in the words of the stored replies, "
    "and use only facts that stand in the stored replies or in the ticket."
)

INTENT_RULES = (
    "You sort support tickets of one product by their intent. Answer with the name of the intent that fits the last ticket."
)


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


def intent_prompt_text(ticket: str, exemplars: Sequence[LabelledTicket]) -> PromptText:
    """The words that ask for a ticket's intent.

    Args:
        ticket: the customer's words.
        exemplars: a row of each candidate intent, the likeliest intent first.
    """
    shown = "\n\n".join(f"ticket: {row.text}\nintent: {row.intent}" for row in reversed(exemplars))
    user = f"Sorted tickets:\n\n{shown}\n\nTicket:\n{ticket}" if exemplars else f"Ticket:\n{ticket}"
    return PromptText(INTENT_RULES, user, "intent:")
