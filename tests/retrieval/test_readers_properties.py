"""Whatever stands in a file, it is read as it was written, or said in sentences."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from retrieval.columns import parse_columns
from retrieval.tickets import TRAIN_FIELDS, LabelledTicket, read_train
from tests.hostile import ANY, SEEN, TEXTS

ROW = st.builds(LabelledTicket, SEEN, SEEN, SEEN, SEEN)
ROWS = st.lists(ROW, min_size=1, max_size=4, unique_by=lambda row: row.id)
HEADER = b"id,ticket,intent,ideal_reply\n"
GOOD = b'{"id": "a", "ticket": "b", "intent": "c", "ideal_reply": "d"}\n'
PIECES = st.sampled_from(
    [b'"', b"\r", b"\n", b"\0", b";", b"\t", b",", b"\xff", b"\xef\xbb\xbf", b"{", b"\\ud800", b"a", b"\xc2\x9b"]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("read")


def cells(row: LabelledTicket) -> list[str]:
    return [row.id, row.text, row.intent, row.ideal_reply]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv"])
@given(
    st.one_of(st.binary(max_size=200), st.lists(st.one_of(PIECES, st.just(HEADER), st.just(GOOD)), max_size=12).map(b"".join))
)
@example(HEADER + b"a,b\rc,d,e\n")
@example(b"id,\rticket\n")
@example(GOOD.replace(b'"b"', b'"' + b"[" * 100_000 + b'"') + b"[" * 100_000)
def test_any_bytes_give_good_rows_or_a_line_for_each_problem(folder: Path, name: str, data: bytes) -> None:
    path = folder / name
    path.write_bytes(data)
    rows, problems = read_train(path)
    assert rows or problems
    assert len({row.id for row in rows}) == len(rows)
    assert all(cell.strip() and cell.encode() for row in rows for cell in cells(row))
    assert all(problem.startswith(str(path)) and problem.isprintable() for problem in problems), problems


@given(ROWS, st.sampled_from(["\n", "\r\n"]), st.booleans(), st.booleans())
def test_rows_come_out_of_jsonl_as_they_were_written(
    folder: Path, rows: list[LabelledTicket], end: str, mark: bool, ascii_only: bool
) -> None:
    lines = [json.dumps(dict(zip(TRAIN_FIELDS, cells(row), strict=True)), ensure_ascii=ascii_only) + end for row in rows]
    (folder / "a.jsonl").write_bytes((b"\xef\xbb\xbf" if mark else b"") + "".join(lines).encode())
    assert read_train(folder / "a.jsonl") == (tuple(rows), [])


def written(rows: list[LabelledTicket], names: tuple[str, ...], delimiter: str) -> bytes:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([names, *map(cells, rows)])
    return file.getvalue().encode()


@given(ROWS, st.sampled_from(",;\t"))
def test_rows_come_out_of_csv_as_they_were_written(folder: Path, rows: list[LabelledTicket], delimiter: str) -> None:
    (folder / "a.csv").write_bytes(written(rows, TRAIN_FIELDS, delimiter))
    assert read_train(folder / "a.csv") == (tuple(rows), [])


NAME = SEEN.map(str.strip).filter(lambda name: name and name.isprintable())


def option(names: Mapping[str, str]) -> str:
    """The value of --columns, quoted as in a CSV file."""
    file = io.StringIO(newline="")
    csv.writer(file).writerow([f"{field}={name}" for field, name in names.items()])
    return file.getvalue().removesuffix("\r\n")


@given(ROWS, st.lists(NAME, min_size=4, max_size=4, unique=True))
def test_columns_of_any_names_are_found_by_them(folder: Path, rows: list[LabelledTicket], names: list[str]) -> None:
    columns, problems = parse_columns(option(dict(zip(TRAIN_FIELDS, names, strict=True))))
    assert problems == []
    (folder / "a.csv").write_bytes(written(rows, tuple(names), ","))
    assert read_train(folder / "a.csv", columns=columns) == (tuple(rows), [])


@given(st.one_of(ANY, st.lists(st.sampled_from(["ticket", "=", ",", '"', "\r", "\n", "\x1b", "x"]), max_size=12).map("".join)))
def test_any_value_of_columns_gives_names_or_a_line_for_each_problem(text: str) -> None:
    columns, problems = parse_columns(text)
    assert set(columns) <= set(TRAIN_FIELDS)
    assert all(problem.startswith("--columns: found ") and problem.isprintable() for problem in problems), problems


@pytest.mark.parametrize("name", TEXTS)
def test_every_hostile_text_is_read_from_both_kinds_of_file(folder: Path, name: str) -> None:
    row = LabelledTicket("a", TEXTS[name], "b", TEXTS[name])
    (folder / "a.jsonl").write_text(json.dumps(dict(zip(TRAIN_FIELDS, cells(row), strict=True)), ensure_ascii=False))
    (folder / "a.csv").write_bytes(written([row], TRAIN_FIELDS, ","))
    assert read_train(folder / "a.jsonl") == read_train(folder / "a.csv") == ((row,), [])
