"""Label files: what a good reply to each ticket is.

JSONL with `id`, `intent`, `ideal_reply`, and where they apply `accepted_intents` (a list of names), `must_mention` (a list of
groups of alternatives; one of each group has to occur), `must_not_mention` (a list of strings), `ticket` (its text, to be shown
where a reply falls short) and `kind`: "probe" for a paraphrase that shows whether tuning broke the base; any other is an
ordinary row. Strings are compared without regard to case and to the number of spaces.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from evaluation.command import read_or_note
from retrieval.tickets import InputProblems, normalised, quoted, read_rows

Kind = Literal["row", "probe"]
KINDS: tuple[Kind, ...] = ("row", "probe")


@dataclass(frozen=True, slots=True)
class Label:
    """What a good reply to one ticket is."""

    id: str
    intents: tuple[str, ...]  # the intent, then those that are accepted too
    ideal_reply: str
    must_mention: tuple[tuple[str, ...], ...] = ()
    must_not_mention: tuple[str, ...] = ()
    kind: Kind = "row"
    ticket: str = ""

    def missing_facts(self, reply: str) -> tuple[tuple[str, ...], ...]:
        """The groups of `must_mention` that a reply does not meet."""
        text = normalised(reply)
        return tuple(group for group in self.must_mention if not any(normalised(phrase) in text for phrase in group))

    def wrong_facts(self, reply: str) -> tuple[str, ...]:
        """Which strings of `must_not_mention` stand in a reply."""
        return tuple(phrase for phrase in self.must_not_mention if normalised(phrase) in normalised(reply))


def read_labels(path: Path) -> dict[str, Label]:
    """Labels by id; raises InputProblems with a sentence for every problem in the file."""
    rows, problems = read_rows(path, ("id", "intent", "ideal_reply"), more_problems=_optional_problems)
    if problems:
        raise InputProblems(problems)
    return {row["id"]: _label(row) for row in rows}


def read_label_files(paths: Sequence[Path]) -> dict[str, Label]:
    """The labels of several files by id, in their order; raises InputProblems, an id that stands in two files among them."""
    problems: list[str] = []
    files = [(path, read_or_note(partial(read_labels, path), problems) or {}) for path in paths]
    for (first, ours), (second, theirs) in combinations(files, 2):
        if both := ", ".join(quoted(key) for key in theirs if key in ours):
            problems.append(f"{first} and {second}: found {both} in both, expected every id in one label file")
    if problems:
        raise InputProblems(problems)
    return {key: label for _, labels in files for key, label in labels.items()}


def _optional_problems(row: dict[str, Any]) -> list[str]:
    groups = row.get("must_mention", [])
    checks = (
        ("accepted_intents", _is_strings(row.get("accepted_intents", [])), "a list of strings"),
        ("must_not_mention", _is_strings(row.get("must_not_mention", [])), "a list of strings"),
        ("must_mention", isinstance(groups, list) and all(g and _is_strings(g) for g in groups), "a list of lists of strings"),
        ("kind", isinstance(row.get("kind", ""), str), "a string"),
        ("ticket", isinstance(row.get("ticket", ""), str), "a string"),
    )
    return [f'found {quoted(repr(row[name]))} in "{name}", expected {expected}' for name, good, expected in checks if not good]


def _is_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item.strip() for item in value)


def _label(row: dict[str, Any]) -> Label:
    facts = tuple(map(tuple, row.get("must_mention", []))), tuple(row.get("must_not_mention", []))
    kind: Kind = "probe" if row.get("kind") == "probe" else "row"
    return Label(
        row["id"], (row["intent"], *row.get("accepted_intents", [])), row["ideal_reply"], *facts, kind, row.get("ticket", "")
    )
