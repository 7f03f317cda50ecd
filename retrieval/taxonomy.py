"""The taxonomy of --taxonomy: all intents of a product, those that no train row has among them.

    {"billing.refund": {"description": "The customer wants money back.", "synonyms": ["refund", "money_back"]},
     "billing.invoice": "Where invoices are, and what stands on them."}

A bare string is a description, and both parts may be left out. Synonyms are other names that train labels may use; they become
the intent's own name before anything else is done. A label that the taxonomy does not know is a problem of the input.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retrieval.files import sha256
from retrieval.tickets import LabelledTicket, bytes_of, field_problem, kind_of, quoted, read_train

PARTS = ("description", "synonyms")
EXPECTED = "expected one JSON object with the name of every intent, and its description or an object with description, synonyms"

Entries = Mapping[str, Mapping[str, Any]]  # by an intent's name its description and its synonyms, as far as it has them


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """All intents of a product."""

    descriptions: Mapping[str, str]  # of every intent by its name, empty where there is none
    canonical: Mapping[str, str]  # every name and every synonym -> the intent's name
    sha256: str = ""  # of the file

    @property
    def described(self) -> Mapping[str, str]:
        """What the intents are about, by name; those that have a description."""
        return {name: text for name, text in self.descriptions.items() if text}

    def without_descriptions(self) -> "Taxonomy":
        """The names and synonyms alone."""
        return replace(self, descriptions=dict.fromkeys(self.descriptions, ""))

    def entries(self) -> Entries:
        """The taxonomy in the form of its file."""
        found: dict[str, dict[str, Any]] = {
            name: {"description": text} if text else {} for name, text in self.descriptions.items()
        }
        for label, name in self.canonical.items():
            if label != name:
                found[name].setdefault("synonyms", []).append(label)
        return found

    def label_problems(self, row: Mapping[str, Any]) -> list[str]:
        """What is wrong with the intent of a train row: a sentence, or nothing."""
        label = row["intent"]
        if label in self.canonical:
            return []
        near = [name for name in self.canonical if name.casefold() == label.strip().casefold()]
        but = f" (but {quoted(near[0])} is one)" if near else ""
        return [f"found the intent {quoted(label)}{but}, expected a name or a synonym of --taxonomy"]

    def renamed(self, rows: Sequence[LabelledTicket]) -> tuple[LabelledTicket, ...]:
        """The rows with their intents' own names."""
        return tuple(replace(row, intent=self.canonical[row.intent]) for row in rows)


def read_train_and_taxonomy(
    train: Path, taxonomy: Path | None, *, columns: Mapping[str, str]
) -> tuple[tuple[LabelledTicket, ...], Taxonomy | None, list[str]]:
    """Train rows, their labels made the taxonomy's own names if there is one; the taxonomy; a sentence for every problem."""
    known, problems = read_taxonomy(taxonomy) if taxonomy else (None, [])
    if known is None:
        rows, more = read_train(train, columns=columns)
        return rows, None, [*problems, *more]
    rows, problems = read_train(train, columns=columns, more_problems=known.label_problems)
    return known.renamed(rows), known, problems


def read_taxonomy(path: Path) -> tuple[Taxonomy | None, list[str]]:
    """Reads a taxonomy; None and a sentence for every problem if there is one."""
    data, unreadable = bytes_of(path, kind="JSON")
    if unreadable:
        return None, [unreadable]
    found, problems = _parsed(data)
    entries = {name: {"description": entry} if isinstance(entry, str) else entry for name, entry in found.items()}
    problems += [problem for name, entry in entries.items() for problem in _entry_problems(name, entry)]
    problems = problems or _synonym_problems(entries)
    if problems:
        return None, [f"{path}: {problem}" for problem in problems]
    synonyms = {synonym: name for name, entry in entries.items() for synonym in entry.get("synonyms", ())}
    descriptions = {name: entry.get("description", "").strip() for name, entry in entries.items()}
    return Taxonomy(descriptions, {name: name for name in entries} | synonyms, sha256(path)), []


def _parsed(data: bytes) -> tuple[dict[str, Any], list[str]]:
    """The object in a file, and a sentence for every problem."""
    repeated: list[str] = []
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=lambda pairs: _noting_repeats(pairs, repeated))
    except UnicodeDecodeError as error:
        return {}, [f"found byte 0x{data[error.start]:02x} at position {error.start + 1}, expected UTF-8"]
    except (ValueError, RecursionError) as error:
        where = f" ({error.msg} in line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        return {}, [f"found no JSON{where}, {EXPECTED}"]
    if not isinstance(found, dict) or not found:
        return {}, [f"found {'no intents' if found == {} else kind_of(found)}, {EXPECTED}"]
    return found, [f"found the key {quoted(key)} more than once in one object, expected it once" for key in repeated]


def _noting_repeats(pairs: list[tuple[str, Any]], repeated: list[str]) -> dict[str, Any]:
    repeated += [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    return dict(pairs)


def _entry_problems(name: str, entry: Any) -> list[str]:
    if problem := field_problem({"name": name}, "name"):
        return [f"intent {quoted(name)}: {problem}"]
    if not isinstance(entry, dict):
        return [f"intent {quoted(name)}: found {kind_of(entry)}, expected a description or an object with {', '.join(PARTS)}"]
    found = [f"found the key {quoted(key)}, expected {' or '.join(PARTS)}" for key in entry if key not in PARTS]
    if entry.get("description", "") != "":
        found.append(field_problem(entry, "description"))
    synonyms = entry.get("synonyms", [])
    if isinstance(synonyms, list):
        found += [field_problem({"synonyms": synonym}, "synonyms") for synonym in synonyms]
    else:
        found.append(f'found {kind_of(synonyms)} in "synonyms", expected a list of names')
    return [f"intent {quoted(name)}: {problem}" for problem in found if problem]


def _synonym_problems(entries: Entries) -> list[str]:
    """Labels that would have two meanings."""
    owners: dict[str, list[str]] = {}
    for name, entry in entries.items():
        for synonym in entry.get("synonyms", ()):
            owners.setdefault(synonym, []).append(name)
    found = [
        f"found the synonym {quoted(synonym)} of {quoted(names[0])}, which is the name of an intent, expected another name"
        for synonym, names in owners.items()
        if synonym in entries
    ]
    found += [
        f"found the synonym {quoted(synonym)} more than once, of {', '.join(map(quoted, names))}, expected it once"
        for synonym, names in owners.items()
        if len(names) > 1
    ]
    return found


def taxonomy_record(taxonomy: Taxonomy, intents_without_rows: int) -> dict[str, Any]:
    """What run.json says about a taxonomy."""
    return {"sha256": taxonomy.sha256, "intents": len(taxonomy.descriptions), "intents_without_rows": intents_without_rows}


def rowless_warnings(intents_without_rows: int, predicted: Mapping[str, str], *, names_used: bool) -> list[str]:
    """What a user should know about intents without a train row.

    Args:
        intents_without_rows: how many there are.
        predicted: by ticket id the predicted intent, of the tickets for which it is one of them.
        names_used: whether the label names passed their test.
    """
    found = []
    if intents_without_rows and not names_used:
        found.append(
            f"the label names are ignored, so the {intents_without_rows} intents without a train row cannot be predicted"
        )
    if predicted:
        key, intent = next(iter(predicted.items()))
        reply = "no stored reply is about them, so each got that of the nearest row, which has another intent"
        found.append(f"{len(predicted)} ticket(s) have an intent without a train row, first {quoted(key)} ({intent}): {reply}")
    return found
