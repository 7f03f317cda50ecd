"""The words of a prompt: rules, stored replies, ticket, and what the reply begins with.

    system     the rules
    user       the stored replies that retrieval chose, best last, next to the ticket; then the ticket
    assistant  "intent: NAME\\nreply:" is given, a model writes the rest

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


@dataclass(frozen=True, slots=True)
class Wording:
    """What the three speakers of a prompt say; the assistant's words are a beginning."""

    system: str
    user: str
    assistant: str


def wording(ticket: str, exemplars: Sequence[LabelledTicket], *, intent: str, exemplar_tickets: bool = False) -> Wording:
    """The words for a ticket.

    Args:
        ticket: the customer's words.
        exemplars: best first.
        intent: what the reply is prefilled with.
        exemplar_tickets: whether an exemplar shows the ticket that it answered, too.
    """
    stored = "\n\n".join(_exemplar(row, with_ticket=exemplar_tickets) for row in reversed(exemplars))
    user = f"Stored replies:\n\n{stored}\n\nTicket:\n{ticket}" if exemplars else f"Ticket:\n{ticket}"
    return Wording(RULES, user, f"intent: {intent}\nreply:")


def _exemplar(row: LabelledTicket, *, with_ticket: bool) -> str:
    asked = f"ticket: {row.text}\n" if with_ticket else ""
    return f"{asked}intent: {row.intent}\nreply: {row.ideal_reply}"
