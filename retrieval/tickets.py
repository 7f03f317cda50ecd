"""Tickets as they are read from JSONL and CSV files.

A file is read whole and every problem in it is collected, each as `file:line: found ..., expected ...`, so that a user
mends a file once and not once per line.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from retrieval.csv_rows import read_csv

TRAIN_FIELDS = ("id", "ticket", "intent", "ideal_reply")
VAL_FIELDS = ("id", "ticket")
AS_NAMED: Mapping[str, str] = MappingProxyType({})  # every field under its own name

MoreProblems = Callable[[dict[str, Any]], list[str]]  # what else is wrong with a row whose fields are good
Record = tuple[int, dict[str, Any], list[str]]  # the line of a row, what stands there, what is wrong with it


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


def read_train(
    path: Path, *, columns: Mapping[str, str] = AS_NAMED, more_problems: MoreProblems = lambda row: []
) -> tuple[tuple[LabelledTicket, ...], list[str]]:
    """Reads train rows; returns the good rows and a sentence for every problem (no problem: every row is there)."""
    rows, problems = read_rows(path, TRAIN_FIELDS, columns=columns, more_problems=more_problems)
    return tuple(LabelledTicket(r["id"], r["ticket"], r["intent"], r["ideal_reply"]) for r in rows), problems


def read_val(path: Path, *, columns: Mapping[str, str] = AS_NAMED) -> tuple[tuple[Ticket, ...], list[str]]:
    """Reads rows to be answered; returns the good rows and a sentence for every problem."""
    rows, problems = read_rows(path, VAL_FIELDS, columns=columns)
    return tuple(Ticket(r["id"], r["ticket"]) for r in rows), problems


def read_rows(
    path: Path,
    fields: Sequence[str],
    *,
    columns: Mapping[str, str] = AS_NAMED,
    more_problems: MoreProblems = lambda row: [],
) -> tuple[list[dict[str, Any]], list[str]]:
    """Reads a JSONL file, or a CSV file if its name ends so, of rows with a non-empty string in each field and a unique `id`.

    Byte-order mark, CRLF and blank lines are fine; unknown fields are kept and may be ignored.

    Args:
        path: of the file.
        fields: that every row must have.
        columns: where a field stands in the file, if not under its own name.
        more_problems: what else is wrong with a row whose fields are good, each as `found ..., expected ...`.
    """
    is_csv = path.suffix.lower() == ".csv"
    data, unreadable = bytes_of(path, kind="CSV" if is_csv else "JSONL")
    if unreadable:
        return [], [unreadable]
    names = {field: columns.get(field, field) for field in fields}
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    first_line: dict[str, int] = {}
    for number, read, wrong in _csv_records(data, names) if is_csv else _json_records(data, names):
        row = read | {field: read[name] for field, name in names.items() if name in read}
        complete = names.keys() <= row.keys()  # a column that a CSV file lacks is no row's problem
        found = wrong or (more_problems(row) if complete else [])
        key = row.get("id")
        if isinstance(key, str) and first_line.setdefault(key, number) != number:
            found = [*found, f"found the id {quoted(key)} again, first in line {first_line[key]}, expected unique ids"]
        problems += [f"{path}:{number}: {what}" for what in found]
        rows += [row] if complete and not found else []
    if not rows and not problems:
        expected = "a first line that names the columns, and rows" if is_csv else "one JSON object per line"
        problems.append(f"{path}: found no rows, expected {expected} with {', '.join(names.values())}")
    return rows, problems


def bytes_of(path: Path, *, kind: str) -> tuple[bytes, str]:
    """The bytes of a file without a byte-order mark, or a sentence that says why it cannot be read as a file of this kind."""
    try:
        if path.is_char_device():
            return b"", f"{path}: found a device, expected a {kind} file"
        return path.read_bytes().removeprefix(b"\xef\xbb\xbf"), ""
    except IsADirectoryError:
        return b"", f"{path}: found a folder, expected a {kind} file"
    except OSError as error:
        return b"", f"{path}: cannot be read ({error.strerror}), expected a {kind} file"


def _csv_records(data: bytes, names: Mapping[str, str]) -> Iterator[Record]:
    wanted = list(names.values())
    table = read_csv(data, wanted)
    present = [name for name in wanted if name in table.columns]  # one that is missing is said once, not for every row
    wrong: list[Record] = [(line, {}, [problem]) for line, problem in table.problems]
    rows: list[Record] = [(line, row, _field_problems(row, present)) for line, row in table.rows]
    yield from sorted([*wrong, *rows], key=lambda record: record[0])


def _json_records(data: bytes, names: Mapping[str, str]) -> Iterator[Record]:
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            yield number, *_parse(line, list(names.values()))


def _parse(line: bytes, fields: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return {}, [f"found byte 0x{line[error.start]:02x} at column {error.start + 1}, expected UTF-8"]
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is a plain ValueError
        where = f" ({error.msg} at column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        return {}, [f"found {quoted(line.decode('utf-8'))}{where}, expected a JSON object"]
    if not isinstance(row, dict):
        return {}, [f"found {kind_of(row)}, expected a JSON object with {', '.join(fields)}"]
    return row, _field_problems(row, fields)


def _field_problems(row: Mapping[str, Any], fields: Sequence[str]) -> list[str]:
    return [problem for field in dict.fromkeys(fields) if (problem := field_problem(row, field))]


def field_problem(row: Mapping[str, Any], field: str) -> str:
    """What is wrong with a field that must be a non-empty string; empty if nothing is."""
    if field not in row:
        near = [key for key in row if key.strip().lower() == field.lower()]
        return f'found no field "{field}"' + (f" (but {quoted(near[0])})" if near else "") + ", expected a non-empty string"
    value = row[field]
    if not isinstance(value, str):
        return f'found {kind_of(value)} in "{field}", expected a non-empty string'
    if any("\ud800" <= character <= "\udfff" for character in value):
        return f'found half a surrogate pair in "{field}", expected text that can be written as UTF-8'
    if not any(character.isprintable() and not character.isspace() for character in value):
        return f'found an empty "{field}", expected a non-empty string'
    return ""


def kind_of(value: object) -> str:
    """What a JSON value is, for a message."""
    if value is None:
        return "null"
    kinds: dict[type, str] = {bool: "true or false", int: "a number", float: "a number", str: "a string", list: "a list"}
    return kinds.get(type(value), "an object")


def quoted(text: str, *, limit: int = 40) -> str:
    """A piece of user text, quoted on one line and cut, for a message."""
    line = " ".join(text.split())
    found = json.dumps(line if len(line) <= limit else line[: limit - 1] + "…", ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in found)  # JSON leaves the controls above 0x7e


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
