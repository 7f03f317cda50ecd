"""Tickets as they are read from JSONL files.

A file is read whole and every problem in it is collected, each as `file:line: found ..., expected ...`, so that a user
mends a file once and not once per line.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TRAIN_FIELDS = ("id", "ticket", "intent", "ideal_reply")
VAL_FIELDS = ("id", "ticket")


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket to be answered."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class LabelledTicket:
    """A train row: a ticket with its intent and the reply the support team wants."""

    id: str
    text: str
    intent: str
    ideal_reply: str


class InputProblems(Exception):
    """Everything that is wrong with what the user gave, one sentence each, all at once."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def read_train(path: Path) -> tuple[tuple[LabelledTicket, ...], list[str]]:
    """Reads train rows; returns the good rows and a sentence for every problem (no problem: every row is there)."""
    rows, problems = read_rows(path, TRAIN_FIELDS)
    return tuple(LabelledTicket(r["id"], r["ticket"], r["intent"], r["ideal_reply"]) for r in rows), problems


def read_val(path: Path) -> tuple[tuple[Ticket, ...], list[str]]:
    """Reads rows to be answered; returns the good rows and a sentence for every problem."""
    rows, problems = read_rows(path, VAL_FIELDS)
    return tuple(Ticket(r["id"], r["ticket"]) for r in rows), problems


def read_rows(
    path: Path, fields: Sequence[str], *, more_problems: Callable[[dict[str, Any]], list[str]] = lambda row: []
) -> tuple[list[dict[str, Any]], list[str]]:
    """Reads a JSONL file of objects that hold a non-empty string in each of `fields` and a unique `id`.

    Byte-order mark, CRLF and blank lines are fine; unknown fields are kept and may be ignored.
    `more_problems` says what else is wrong with a row whose fields are good, each as `found ..., expected ...`.
    """
    try:
        if path.is_char_device():
            return [], [f"{path}: found a device, expected a JSONL file"]
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except IsADirectoryError:
        return [], [f"{path}: found a folder, expected a JSONL file"]
    except OSError as error:
        return [], [f"{path}: cannot be read ({error.strerror}), expected a JSONL file"]
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    first_line: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row, found = _parse(line, fields)
        found += [] if found else more_problems(row)
        key = row.get("id")
        if isinstance(key, str) and first_line.setdefault(key, number) != number:
            found.append(f"found the id {quoted(key)} again, first in line {first_line[key]}, expected unique ids")
        problems += [f"{path}:{number}: {what}" for what in found]
        rows += [] if found else [row]
    if not rows and not problems:
        problems.append(f"{path}: found no rows, expected one JSON object per line with {', '.join(fields)}")
    return rows, problems


def _parse(line: bytes, fields: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return {}, [f"found byte 0x{line[error.start]:02x} at column {error.start + 1}, expected UTF-8"]
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is a plain ValueError
        where = f" ({error.msg} at column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        return {}, [f"found {quoted(line.decode('utf-8'))}{where}, expected a JSON object"]
    if not isinstance(row, dict):
        return {}, [f"found {_kind(row)}, expected a JSON object with {', '.join(fields)}"]
    return row, [problem for field in fields if (problem := _field_problem(row, field))]


def _field_problem(row: dict[str, Any], field: str) -> str:
    if field not in row:
        near = [key for key in row if key.strip().lower() == field]
        return f'found no field "{field}"' + (f" (but {quoted(near[0])})" if near else "") + ", expected a non-empty string"
    value = row[field]
    if not isinstance(value, str):
        return f'found {_kind(value)} in "{field}", expected a non-empty string'
    if any("\ud800" <= character <= "\udfff" for character in value):
        return f'found half a surrogate pair in "{field}", expected text that can be written as UTF-8'
    if not any(character.isprintable() and not character.isspace() for character in value):
        return f'found an empty "{field}", expected a non-empty string'
    return ""


def _kind(value: object) -> str:
    if value is None:
        return "null"
    kinds: dict[type, str] = {bool: "true or false", int: "a number", float: "a number", str: "a string", list: "a list"}
    return kinds.get(type(value), "an object")


def quoted(text: str, *, limit: int = 40) -> str:
    """A piece of user text, quoted on one line and cut, for a message."""
    line = " ".join(text.split())
    return json.dumps(line if len(line) <= limit else line[: limit - 1] + "…", ensure_ascii=False)


def printable(text: str) -> str:
    """Text on one line, without the characters by which a ticket could command the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def input_warnings(train: Sequence[LabelledTicket], val: Sequence[Ticket]) -> list[str]:
    """Warnings about input that is valid and looks wrong, a sentence each."""
    both = sorted({row.id for row in train} & {row.id for row in val})
    found = [f"{len(both)} id(s) stand in both files, first {quoted(both[0])}"] if both else []
    intents_of: dict[str, set[str]] = defaultdict(set)
    for row in train:
        intents_of[normalised(row.text)].add(row.intent)
    for text, intents in intents_of.items():
        if len(intents) > 1:
            found.append(f"the ticket {quoted(text)} has conflicting intents: {', '.join(map(quoted, sorted(intents)))}")
    spellings: dict[str, set[str]] = defaultdict(set)
    for row in train:
        spellings[normalised(row.intent)].add(row.intent)
    for names in spellings.values():
        if len(names) > 1:
            found.append(
                f"intents that differ only in case or spaces count as different: {', '.join(map(quoted, sorted(names)))}"
            )
    repeated = sum(count - 1 for count in Counter(normalised(row.text) for row in train).values())
    if repeated:
        found.append(f"{repeated} train ticket(s) repeat another one word for word")
    return found


def normalised(text: str) -> str:
    """Text without case and with single spaces: what counts as the same ticket."""
    return " ".join(text.casefold().split())
