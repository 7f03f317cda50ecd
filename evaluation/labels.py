"""Label files: what a good answer is.

JSONL with `id`, `intent`, `ideal_reply`, and where they apply `accepted_intents` (a list of names), `must_mention` (a list of
groups of alternatives; one of each group has to occur), `must_not_mention` (a list of strings), `ticket` (its text, to be shown
where an answer falls short) and `kind` ("row", or "probe" for a fresh paraphrase that shows whether tuning broke the base).
Strings are compared without regard to case and to the number of spaces.

What it does not know: results.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.tickets import InputProblems, folded, read_rows, shown

LABEL_FIELDS = ("id", "intent", "ideal_reply")
KINDS = ("row", "probe")


@dataclass(frozen=True, slots=True)
class Label:
    """What a good answer to one ticket is."""

    id: str
    intents: tuple[str, ...]  # the intent, then those that are accepted too
    ideal_reply: str
    must_mention: tuple[tuple[str, ...], ...]
    must_not_mention: tuple[str, ...]
    kind: str = "row"
    ticket: str = ""

    def missing_facts(self, reply: str) -> tuple[tuple[str, ...], ...]:
        """The groups of `must_mention` that a reply does not meet."""
        return tuple(group for group in self.must_mention if not any(folded(phrase) in folded(reply) for phrase in group))

    def wrong_facts(self, reply: str) -> tuple[str, ...]:
        """Which strings of `must_not_mention` stand in a reply."""
        return tuple(phrase for phrase in self.must_not_mention if folded(phrase) in folded(reply))


def read_labels(path: Path) -> dict[str, Label]:
    """Labels by id.

    Raises:
        InputProblems: with a sentence for every problem in the file.
    """
    rows, problems = read_rows(path, LABEL_FIELDS, more_problems=_optional_problems)
    if problems:
        raise InputProblems(problems)
    return {row["id"]: _label(row) for row in rows}


def _optional_problems(row: dict[str, Any]) -> list[str]:
    found = [
        f'found {shown(repr(row[field]))} in "{field}", expected a list of strings'
        for field in ("accepted_intents", "must_not_mention")
        if not _is_strings(row.get(field, []))
    ]
    groups = row.get("must_mention", [])
    if not isinstance(groups, list) or not all(_is_strings(group) and group for group in groups):
        found.append(f'found {shown(repr(groups))} in "must_mention", expected a list of lists of strings')
    if row.get("kind", "row") not in KINDS:
        found.append(f'found {shown(repr(row["kind"]))} in "kind", expected "row" or "probe"')
    if not isinstance(row.get("ticket", ""), str):
        found.append(f'found {shown(repr(row["ticket"]))} in "ticket", expected a string')
    return found


def _is_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item.strip() for item in value)


def _label(row: dict[str, Any]) -> Label:
    return Label(
        id=row["id"],
        intents=(row["intent"], *row.get("accepted_intents", [])),
        ideal_reply=row["ideal_reply"],
        must_mention=tuple(tuple(group) for group in row.get("must_mention", [])),
        must_not_mention=tuple(row.get("must_not_mention", [])),
        kind=row.get("kind", "row"),
        ticket=row.get("ticket", ""),
    )
