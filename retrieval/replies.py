"""A question, its reply, and the simplest way from one to the other: copy the stored reply that retrieval ranks first.

What it does not know: language models (`finetune.reply_writer` writes replies of the same form).
"""

from dataclasses import dataclass
from typing import Literal

from retrieval.retrieve import Retrieval
from retrieval.tickets import LabelledTicket

Source = Literal["copied", "generated", "replaced"]


@dataclass(frozen=True, slots=True)
class Question:
    """A ticket to be answered from exemplars: all that a reply is made of."""

    row_id: str
    ticket: str
    intent: str
    exemplars: tuple[LabelledTicket, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer and where it came from.

    Attributes:
        text: the answer.
        source: copied (a stored reply), generated, or replaced (generated, but it failed the check).
        findings: what the check found.
        draft: the rejected reply, empty if none was.
        tokens: that the model read and wrote.
        seconds: that the model took.
    """

    text: str
    source: Source
    findings: tuple[str, ...] = ()
    draft: str = ""
    tokens: int = 0
    seconds: float = 0.0


def asked(found: Retrieval) -> Question:
    """The question that retrieval made of a ticket."""
    return Question(found.ticket.id, found.ticket.text, found.intent, found.exemplars)


def copy_reply(question: Question) -> Reply:
    """The stored reply that retrieval ranks first."""
    return Reply(question.exemplars[0].ideal_reply, "copied")
