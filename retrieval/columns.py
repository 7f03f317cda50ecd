"""The value of --columns: under which names the fields of a row stand in a user's files."""

import argparse
import csv
from collections import Counter

from retrieval.tickets import TRAIN_FIELDS, quoted

HELP = "other names of id, ticket, intent, ideal_reply in {files}, as ticket=body,intent=label"


def add_columns_option(parser: argparse.ArgumentParser, *, files: str = "the files") -> None:
    """--columns, for every command that reads train rows or tickets; `files` says in its help where the names stand."""
    parser.add_argument("--columns", default="", metavar="FIELD=NAME,...", help=HELP.format(files=files))


def parse_columns(text: str) -> tuple[dict[str, str], list[str]]:
    """The good parts of a value of --columns, field -> column or JSON key, and a sentence for every problem.

    A part that holds a comma stands in quotes, as in a CSV file: `"ticket=Body, cleaned",intent=label`.
    """
    try:
        parts = [part.strip() for part in next(csv.reader([text]), [])]
    except csv.Error:  # the end of a line outside of quotes
        return {}, [f"--columns: found {quoted(text)}, expected FIELD=NAME,... on one line"]
    pairs = [(field.strip(), name.strip()) for field, _, name in (part.partition("=") for part in parts)]
    problems = [
        f"--columns: found {quoted(part)}, expected FIELD=NAME, as ticket=body"
        for part, (field, name) in zip(parts, pairs, strict=True)
        if not field or not name
    ]
    named = [(field, name) for field, name in pairs if field and name]
    known = f"expected {', '.join(TRAIN_FIELDS)}"
    problems += [f"--columns: found the field {quoted(field)}, {known}" for field, _ in named if field not in TRAIN_FIELDS]
    counts = Counter(field for field, _ in named)
    problems += [
        f"--columns: found {quoted(field)} {n} times, expected one name for it" for field, n in counts.items() if n > 1
    ]
    return {field: name for field, name in named if field in TRAIN_FIELDS}, problems
