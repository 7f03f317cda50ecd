"""Rows of a CSV file: its first line names the columns, and every row knows the line on which it begins.

The delimiter is the one of comma, semicolon and tab by which the first line holds most of the columns that are wanted:
`csv.Sniffer` counts characters in the whole text, and tickets are full of commas.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
MAX_CELL = 2**31 - 1  # characters: a ticket may be long, and a quote that is never closed is found by `strict`


@dataclass(frozen=True, slots=True)
class CsvTable:
    """The rows of a CSV file, and what is wrong with it."""

    columns: tuple[str, ...]  # as the first line names them, without spaces around them; none in an empty file
    rows: tuple[tuple[int, dict[str, str]], ...]  # the line and the cells of each row, by column
    problems: tuple[tuple[int, str], ...]  # the line of each problem, and a sentence


def read_csv(data: bytes, wanted: Sequence[str]) -> CsvTable:
    """Reads the bytes of a CSV file, quoted as RFC 4180 has it; rows of nothing but empty cells are left out.

    Args:
        data: in UTF-8.
        wanted: the columns that are read; any other may be missing or doubled.
    """
    csv.field_size_limit(MAX_CELL)
    text = data.decode("utf-8", errors="replace")
    problems = list(_bytes_that_are_not_utf_8(data))
    columns: tuple[str, ...] = ()
    rows: list[tuple[int, dict[str, str]]] = []
    delimiter = _delimiter(text, wanted)
    for line, cells, problem in _records(text, delimiter):
        if problem:
            problems.append((line, problem))
        elif not columns:
            columns = tuple(name.strip() for name in cells)
            problems += [(line, sentence) for sentence in _header_problems(columns, wanted)]
        elif len(cells) != len(columns):
            between = f"between {DELIMITERS[delimiter]}, expected {len(columns)} as in the first line"
            problems.append((line, f"found {len(cells)} fields {between}; a text that holds one stands in quotes"))
        else:
            rows.append((line, dict(zip(columns, cells, strict=True))))
    return CsvTable(columns, tuple(rows), tuple(sorted(problems)))


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str], str]]:
    """The first line, the cells and what is wrong with each record that is not empty; after a wrong quote nothing follows."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error:
            expected = 'expected a quote at both ends of a field, and "" for one inside; the lines below were not read'
            yield line, [], f"found a quoted field that does not end well, {expected}"
            return
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield line, cells, ""


def _delimiter(text: str, wanted: Sequence[str]) -> str:
    """Ties go to the delimiter that cuts the line into more columns, then to the comma."""

    def columns(delimiter: str) -> tuple[int, int]:
        """How many wanted columns, and how many at all, it cuts the first line into."""
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        names = next(([cell.strip() for cell in cells] for cells in reader if any(cells)), [])
        return len(set(wanted) & set(names)), len(names)

    return max(DELIMITERS, key=columns)


def _header_problems(columns: Sequence[str], wanted: Sequence[str]) -> Iterator[str]:
    for name in dict.fromkeys(wanted):
        if name not in columns:
            near = [column for column in columns if column.lower() == name.lower()]
            but = f' (but "{near[0]}")' if near else ""
            yield f'found no column "{name}"{but}, expected one in the first line, or another name for it by --columns'
        elif (count := columns.count(name)) > 1:
            yield f'found the column "{name}" {count} times, expected it once'


def _bytes_that_are_not_utf_8(data: bytes) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            yield number, f"found byte 0x{line[error.start]:02x} at column {error.start + 1}, expected UTF-8"
