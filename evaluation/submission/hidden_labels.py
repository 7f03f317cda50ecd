"""Are there evaluation files in a submission? Files of labels, by name or by content.

The content is looked at as text, as JSON, JSONL and CSV. What is packed or encoded once more inside of a member is not seen:
this finds mistakes, it does not stop a cheat.
"""

import csv
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from evaluation.command import read_or_note
from evaluation.score.labels import read_labels
from retrieval.tickets import normalised, printable, quoted, read_train, read_val

LABEL_NAME = re.compile(r"(^|[^a-z])labels?([^a-z][^/]*)?\.(jsonl?|ndjson|csv|tsv|txt|ya?ml|parquet|xlsx|pkl|zip|gz)$")
LABEL_FIELDS = ("ideal_reply", "intent", "accepted_intents", "must_mention", "must_not_mention")
SHORT = 20  # characters: a shorter reply stands in some file by chance


@dataclass(frozen=True, slots=True)
class Hidden:
    """What no submission may hold."""

    ids: frozenset[str]  # of the val rows; none that a train row has, too
    replies: frozenset[str]  # normalised ideal replies of the val rows, where labels are known; none of a train row


def read_hidden(train: Path, val: Path, labels: Path | None, problems: list[str]) -> Hidden:
    """What train, val and label files say must be hidden; what is wrong with them is added to `problems`."""
    rows, train_problems = read_train(train)
    tickets, val_problems = read_val(val)
    problems += [*train_problems, *val_problems]
    known = (read_or_note(lambda: read_labels(labels), problems) if labels else None) or {}
    stored = {normalised(row.ideal_reply) for row in rows}
    replies = {normalised(label.ideal_reply) for label in known.values()} - stored
    ids = {ticket.id for ticket in tickets} - {row.id for row in rows}
    return Hidden(frozenset(ids), frozenset(reply for reply in replies if len(reply) >= SHORT))


def label_problem(name: str, content: bytes, hidden: Hidden) -> str:
    """Why a file of the submission is an evaluation file; empty if it is none."""
    expected = "expected no evaluation files"
    if LABEL_NAME.search(name.rpartition("/")[2].lower()):
        return f"found {printable(name)}, a file of labels by its name, {expected}"
    text = content.decode("utf-8", errors="replace").removeprefix("\ufeff")
    rows = list(_rows(text))
    for row in rows:
        if (key := str(row.get("id"))) in hidden.ids and (fields := [field for field in LABEL_FIELDS if row.get(field)]):
            return f"found {', '.join(fields)} of the val row {quoted(key)} in {printable(name)}, {expected}"
    values = (value for row in rows for value in row.values() if isinstance(value, str))  # JSON may write them with escapes
    plain = normalised("\n".join([text, *values]))
    for reply in sorted(hidden.replies):
        if reply in plain:
            return f"found the ideal reply of a val row, {quoted(reply)}, in {printable(name)}, {expected}"
    return ""


def _rows(text: str) -> Iterator[dict[str, Any]]:
    """All objects in a text that is JSON, JSONL or CSV; an object that stands under a key counts as the row with that id."""
    documents = [_json(text), *(_json(line) for line in text.splitlines() if line.lstrip().startswith("{"))]
    for document in documents:
        yield from _objects(document)
    head = text.partition("\n")[0]
    separators = [sign for sign in "\t,;" if "id" in [cell.strip().strip('"') for cell in head.split(sign)]]
    with suppress(csv.Error):  # it is no table then
        for separator in separators:
            yield from csv.DictReader(StringIO(text), delimiter=separator)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _objects(document: Any) -> Iterator[dict[str, Any]]:
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting += [{"id": key} | item if isinstance(item, dict) else item for key, item in value.items()]
        elif isinstance(value, list):
            waiting += value
