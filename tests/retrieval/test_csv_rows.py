from pathlib import Path

import pytest

from retrieval.tickets import LabelledTicket, Ticket, read_train, read_val

HEAD = "id,ticket,intent,ideal_reply"


def write(path: Path, text: str, *, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def val(tmp_path: Path, text: str, **columns: str) -> tuple[tuple[Ticket, ...], list[str]]:
    rows, problems = read_val(write(tmp_path / "v.csv", text), columns=columns)
    return rows, [problem.removeprefix(f"{tmp_path / 'v.csv'}") for problem in problems]


def test_train_rows_are_read_whatever_the_order_of_the_columns_and_others_are_ignored(tmp_path: Path) -> None:
    path = write(tmp_path / "t.CSV", "intent,owner,id,ideal_reply,ticket\nx.y,Ann,a,hi,hello\n")
    assert read_train(path) == ((LabelledTicket("a", "hello", "x.y", "hi"),), [])


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_delimiter_is_found_whatever_stands_in_the_tickets(tmp_path: Path, delimiter: str, end: str) -> None:
    quoted = '"one, two; three\tfour"'
    lines = (delimiter.join(("id", "ticket")), delimiter.join(("a", quoted)), delimiter.join(("b", quoted)))
    rows, problems = val(tmp_path, end.join((*lines, "")))
    assert problems == []
    assert rows == (Ticket("a", "one, two; three\tfour"), Ticket("b", "one, two; three\tfour"))


def test_the_delimiter_is_that_of_the_wanted_columns_even_where_another_cuts_the_first_line_into_more(tmp_path: Path) -> None:
    rows, problems = val(tmp_path, "ticket;id;a,b,c,d,e\nhello;1;x\n")
    assert (rows, problems) == ((Ticket("1", "hello"),), [])


def test_a_byte_order_mark_spaces_around_names_and_empty_lines_are_fine(tmp_path: Path) -> None:
    rows, problems = val(tmp_path, '\ufeff"id", ticket \r\n\r\na,"he said ""hi"""\r\n,\r\n \r\n')
    assert (rows, problems) == ((Ticket("a", 'he said "hi"'),), [])


def test_a_problem_is_named_by_the_line_on_which_its_row_begins_whatever_line_ends_stand_in_quotes(tmp_path: Path) -> None:
    rows, problems = val(tmp_path, 'id,ticket\na,"one\ntwo\r\nthree"\nb,"four\n"\nc,"\n"\na,again\n')
    assert rows == (Ticket("a", "one\ntwo\r\nthree"), Ticket("b", "four\n"))
    assert problems == [
        ':7: found an empty "ticket", expected a non-empty string',
        ':9: found the id "a" again, first in line 2, expected unique ids',
    ]


def test_all_problems_of_a_file_come_at_once_in_the_order_of_its_lines(tmp_path: Path) -> None:
    text = f"{HEAD}\na,hello,x.y\nb,,x.y,hi\nc,one,two,x.y,hi\nb,hello,x.y,\n"
    _, problems = read_train(write(tmp_path / "t.csv", text))
    fields = "between commas, expected 4 as in the first line; a text that holds one stands in quotes"
    assert [problem.partition("t.csv:")[2] for problem in problems] == [
        f"2: found 3 fields {fields}",
        '3: found an empty "ticket", expected a non-empty string',
        f"4: found 5 fields {fields}",
        '5: found an empty "ideal_reply", expected a non-empty string',
        '5: found the id "b" again, first in line 3, expected unique ids',
    ]


def test_a_missing_column_is_said_once_and_the_other_columns_are_checked(tmp_path: Path) -> None:
    _, problems = val(tmp_path, "id,Ticket\na,hello\na,again\n")
    assert problems == [
        ':1: found no column "ticket" (but "Ticket"), expected one in the first line, or another name for it by --columns',
        ':3: found the id "a" again, first in line 2, expected unique ids',
    ]


def test_a_doubled_column_is_a_problem_if_it_is_wanted(tmp_path: Path) -> None:
    _, problems = val(tmp_path, "id,ticket,note,ticket,note\na,b,c,d,e\n")
    assert problems == [':1: found the column "ticket" 2 times, expected it once']
    assert val(tmp_path, "id,ticket,note,note\na,b,c,d\n") == ((Ticket("a", "b"),), [])


def test_columns_stand_under_the_names_that_are_given(tmp_path: Path) -> None:
    assert val(tmp_path, "no,ticket,id\n7,the subject,the body\n", id="no", ticket="id") == ((Ticket("7", "the body"),), [])
    _, problems = val(tmp_path, "id,ticket\na,hello\n", ticket="body")
    assert problems == [
        ':1: found no column "body", expected one in the first line, or another name for it by --columns',
    ]
    assert val(tmp_path, "id,body\na,\n", ticket="body")[1] == [':2: found an empty "body", expected a non-empty string']


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff", "id,ticket\n", "id,ticket\r\n,\r\n"])
def test_a_file_without_rows_is_a_problem(tmp_path: Path, content: str) -> None:
    expected = "expected a first line that names the columns, and rows with id, ticket"
    assert val(tmp_path, content)[1] == [f": found no rows, {expected}"]


@pytest.mark.parametrize("text", ['id,ticket\na,fine\nb,"never closed\nc,more\n', 'id,ticket\na,fine\nb,"closed" early\n'])
def test_a_quote_that_does_not_end_its_field_is_a_problem_of_the_row_that_it_begins_in(tmp_path: Path, text: str) -> None:
    rows, (problem,) = val(tmp_path, text)
    assert rows == (Ticket("a", "fine"),)
    assert problem.startswith(":3: found a quoted field that does not end well, expected a quote at both ends of a field")


def test_quotes_inside_of_a_field_without_quotes_are_text(tmp_path: Path) -> None:
    assert val(tmp_path, 'id,ticket\na,a 5" screen\n')[0] == (Ticket("a", 'a 5" screen'),)


def test_every_line_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "v.csv", "id,ticket\na,café\nb,fine\nc,thé\nb,\n", encoding="latin-1")
    _, problems = read_val(path)
    assert [problem.partition("v.csv:")[2] for problem in problems] == [
        "2: found byte 0xe9 at column 6, expected UTF-8",
        "4: found byte 0xe9 at column 5, expected UTF-8",
        '5: found an empty "ticket", expected a non-empty string',
        '5: found the id "b" again, first in line 3, expected unique ids',
    ]


def test_a_ticket_may_be_long(tmp_path: Path) -> None:
    assert val(tmp_path, f'id,ticket\na,"{"x" * 200_000}"\n')[0] == (Ticket("a", "x" * 200_000),)


def test_a_missing_file_and_a_folder_are_problems(tmp_path: Path) -> None:
    assert read_val(tmp_path / "none.csv")[1][0].endswith("cannot be read (No such file or directory), expected a CSV file")
    (tmp_path / "folder.csv").mkdir()
    assert read_val(tmp_path / "folder.csv")[1] == [f"{tmp_path / 'folder.csv'}: found a folder, expected a CSV file"]
