import json
from pathlib import Path

import pytest

from retrieval.tickets import LabelledTicket, Ticket, input_warnings, quoted, read_train, read_val

GOOD = {"id": "a", "ticket": "hello", "intent": "x.y", "ideal_reply": "hi"}


def write(path: Path, *lines: object, end: str = "\n") -> Path:
    path.write_text(end.join(line if isinstance(line, str) else json.dumps(line) for line in lines) + end, encoding="utf-8")
    return path


def test_byte_order_mark_crlf_blank_lines_and_unknown_fields_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD | {"extra": 1}).encode() + b"\r\n\r\n  \r\n")
    assert read_train(path) == ((LabelledTicket("a", "hello", "x.y", "hi"),), [])


def test_line_separators_inside_a_string_do_not_cut_a_line(tmp_path: Path) -> None:
    rows, problems = read_val(write(tmp_path / "v.jsonl", '{"id": "a", "ticket": "one\u2028two\x85three"}'))
    assert (rows, problems) == ((Ticket("a", "one\u2028two\x85three"),), [])


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("[1, 2]", "found a list, expected a JSON object"),
        ("3", "found a number, expected a JSON object"),
        ('"x"', "found a string, expected a JSON object"),
        ("{bad", "expected a JSON object"),
        ("[" * 100_000, "expected a JSON object"),
        ('{"id": "a"}', 'found no field "ticket"'),
        ('{"id": "a", "Ticket": "x"}', 'found no field "ticket" (but "Ticket")'),
        ('{"id": 7, "ticket": "x"}', 'found a number in "id", expected a non-empty string'),
        ('{"id": true, "ticket": "x"}', 'found true or false in "id"'),
        ('{"id": "a", "ticket": null}', 'found null in "ticket"'),
        ('{"id": "a", "ticket": {}}', 'found an object in "ticket"'),
        ('{"id": "a", "ticket": " \\n"}', 'found an empty "ticket"'),
        ('{"id": "a", "ticket": "\\u200b"}', 'found an empty "ticket"'),
        ('{"id": "a", "ticket": "x", "n": ' + "9" * 5000 + "}", "expected a JSON object"),
        ('{"id": "ok", "ticket": "again"}', 'found the id "ok" again, first in line 1'),
        ('{"id": "a", "ticket": "\\ud800"}', "half a surrogate pair"),
    ],
)
def test_a_bad_line_is_named_by_file_and_line(tmp_path: Path, line: str, found: str) -> None:
    path = write(tmp_path / "v.jsonl", {"id": "ok", "ticket": "fine"}, line)
    _, (problem,) = read_val(path)
    assert problem.startswith(f"{path}:2: ")
    assert found in problem


def test_all_problems_are_collected(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", "nonsense", GOOD, GOOD, {"id": "b", "ticket": ""})
    _, problems = read_train(path)
    assert [problem.split(": ")[0].rpartition(":")[2] for problem in problems] == ["1", "3", "4", "4", "4"]


def test_a_byte_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / "v.jsonl").write_bytes(b'{"id": "a", "ticket": "caf\xe9"}\n')
    assert read_val(tmp_path / "v.jsonl")[1] == [f"{tmp_path / 'v.jsonl'}:1: found byte 0xe9 at column 27, expected UTF-8"]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_a_file_without_rows_is_a_problem(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v.jsonl").write_bytes(content)
    assert "found no rows" in read_val(tmp_path / "v.jsonl")[1][0]


def test_a_missing_file_a_folder_and_a_device_are_problems(tmp_path: Path) -> None:
    assert "cannot be read" in read_val(tmp_path / "none.jsonl")[1][0]
    assert "found a folder" in read_val(tmp_path)[1][0]
    assert "found a device" in read_val(Path("/dev/null"))[1][0]


def test_odd_but_valid_input_is_warned_about() -> None:
    train = [
        LabelledTicket("a", "Same words", "x.y", "1"),
        LabelledTicket("b", "same  words", "x.z", "2"),
        LabelledTicket("c", "other", "X.Y", "3"),
    ]
    said = " | ".join(input_warnings(train, [Ticket("a", "q")]))
    assert "stand in both files" in said
    assert 'conflicting intents: "x.y", "x.z"' in said
    assert 'differ only in case or spaces count as different: "X.Y", "x.y"' in said
    assert "1 train ticket(s) repeat another one" in said
    assert input_warnings(train[:1], [Ticket("q", "q")]) == []


def test_what_a_message_quotes_has_no_character_that_commands_a_terminal() -> None:
    assert quoted("a\x1b[2J\x9b2J\u202eb") == '"a\\u001b[2J\\u009b2J\\u202eb"'
