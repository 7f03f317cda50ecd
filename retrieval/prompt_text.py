"""The words of a prompt: rules, stored replies, ticket, and what the reply begins with.

    system     the rules
    user       the stored replies that retrieval chose, best last, next to the ticket; then the ticket
    assistant  "intent: NAME\\nreply:" is given, a model writes the rest

A second, shorter prompt asks for the intent alone; its exemplars are tickets with their intents.

No model is needed to say them, so whoever looks into a run can read the very words.

What it does not know: tokens, templates, windows (`finetune.prompt`).
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
    """What the three speakers of a prompt say; the assistant's words are a beginning."""

    system: str
    user: str
    assistant: str


def prompt_text(ticket: str, exemplars: Sequence[LabelledTicket], *, intent: str, exemplar_tickets: bool = False) -> PromptText:
    """The words for a ticket.

    Args:
        ticket: the customer's words.
        exemplars: best first.
        intent: what the reply is prefilled with.
        exemplar_tickets: whether an exemplar shows the ticket that it answered, too.
    """
    stored = "\n\n".join(_exemplar(row, with_ticket=exemplar_tickets) for row in reversed(exemplars))
    user = f"Stored replies:\n\n{stored}\n\nTicket:\n{ticket}" if exemplars else f"Ticket:\n{ticket}"
    return PromptText(RULES, user, f"intent: {intent}\nreply:")


def intent_prompt_text(ticket: str, exemplars: Sequence[LabelledTicket]) -> PromptText:
    """The words that ask for a ticket's intent.

    Args:
        ticket: the customer's words.
        exemplars: a row of each candidate, the likeliest intent first.
    """
    shown = "\n\n".join(f"ticket: {row.text}\nintent: {row.intent}" for row in reversed(exemplars))
    user = f"Sorted tickets:\n\n{shown}\n\nTicket:\n{ticket}" if exemplars else f"Ticket:\n{ticket}"
    return PromptText(INTENT_RULES, user, "intent:")


def _exemplar(row: LabelledTicket, *, with_ticket: bool) -> str:
    asked = f"ticket: {row.text}\n" if with_ticket else ""
    return f"{asked}intent: {row.intent}\nreply: {row.ideal_reply}"
