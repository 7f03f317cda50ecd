"""A finding of the audit: what was found, the rows that show it, what to do."""

from dataclasses import dataclass
from typing import Literal

from retrieval.tickets import LabelledTicket

Kind = Literal[
    "doubtful label",
    "other label of a near-duplicate",
    "other number",
    "personal data",
    "alike intents",
    "few rows",
    "to label",
]
HEADS: dict[Kind, str] = {
    "doubtful label": "rows whose label disagrees with their out-of-fold probability",
    "other label of a near-duplicate": "near-duplicates with different labels",
    "other number": "different numbers for the same thing in replies of one intent",
    "personal data": "personal data in stored replies",
    "alike intents": "intents that cannot be told apart",
    "few rows": "intents that need another row",
    "to label": "val tickets that would help most if labelled",
}


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A row beside the others of a finding."""

    id: str
    intent: str  # its label; of a val ticket the predicted one
    note: str  # what it has to do with the finding
    ticket: str = ""
    reply: str = ""  # or the sentence of it that matters


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a person should look at."""

    kind: Kind
    what: str  # a sentence
    advice: str  # a sentence
    rows: tuple[ShownRow, ...]


def shown(row: LabelledTicket, note: str, *, reply: str = "") -> ShownRow:
    """A train row with its ticket, and what of its reply matters."""
    return ShownRow(row.id, row.intent, note, row.text, reply)
