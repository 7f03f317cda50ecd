"""The file of --taxonomy: what it may say, what labels become, and what is wrong with it, all at once."""

import json
from pathlib import Path
from typing import Any

import pytest

from retrieval.taxonomy import Taxonomy, read_taxonomy, read_train_and_taxonomy, rowless_warnings, taxonomy_record
from retrieval.tickets import AS_NAMED
from tests.test_run import GOOD, write

GIVEN = {
    "billing.seat": {"description": " Seats and guests. ", "synonyms": ["seat", "seats"]},
    "billing.refund": "Money back.",
    "api.token": {},
}


def given(path: Path, content: Any = GIVEN) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def read(path: Path, content: Any = GIVEN) -> Taxonomy:
    found, problems = read_taxonomy(given(path, content))
    assert problems == []
    assert found is not None
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "taxonomy.json"


def test_a_string_is_a_description_and_both_parts_may_be_left_out(file: Path) -> None:
    found = read(file)
    assert found.descriptions == {"billing.seat": "Seats and guests.", "billing.refund": "Money back.", "api.token": ""}
    assert {label for label, name in found.canonical.items() if name == "billing.seat"} == {"billing.seat", "seat", "seats"}


def test_a_taxonomy_is_written_in_the_form_in_which_it_is_read(file: Path) -> None:
    found = read(file)
    again = read(file, found.entries())
    assert (again.descriptions, again.canonical) == (found.descriptions, found.canonical)
    names = read(file, found.without_descriptions().entries())
    assert not any(names.descriptions.values())
    assert names.canonical == found.canonical


def test_synonyms_in_labels_become_the_intent_s_own_name(file: Path, tmp_path: Path) -> None:
    write(tmp_path / "t.jsonl", GOOD | {"intent": "seats"}, GOOD | {"id": "b"})
    rows, taxonomy, problems = read_train_and_taxonomy(tmp_path / "t.jsonl", given(file), columns=AS_NAMED)
    assert problems == []
    assert [row.intent for row in rows] == ["billing.seat", "billing.seat"]
    assert taxonomy is not None
    record = taxonomy_record(taxonomy, len(taxonomy.descriptions) - len({row.intent for row in rows}))
    assert (record["intents"], record["intents_without_rows"]) == (3, 2)


def test_a_label_that_the_taxonomy_does_not_know_is_a_problem_with_file_and_line(file: Path, tmp_path: Path) -> None:
    write(tmp_path / "t.jsonl", GOOD, GOOD | {"id": "b", "intent": "Seats "}, GOOD | {"id": "c", "intent": "other"})
    _, _, problems = read_train_and_taxonomy(tmp_path / "t.jsonl", given(file), columns=AS_NAMED)
    assert problems == [
        f'{tmp_path}/t.jsonl:2: found the intent "Seats" (but "seats" is one), expected a name or a synonym of --taxonomy',
        f'{tmp_path}/t.jsonl:3: found the intent "other", expected a name or a synonym of --taxonomy',
    ]


def test_the_problems_of_both_files_come_at_once(file: Path, tmp_path: Path) -> None:
    write(tmp_path / "t.jsonl", GOOD, {"id": "b"})
    _, taxonomy, problems = read_train_and_taxonomy(tmp_path / "t.jsonl", given(file, "{"), columns=AS_NAMED)
    assert taxonomy is None
    assert problems[0].startswith(f"{file}: found no JSON (")
    assert any("t.jsonl:2:" in problem for problem in problems[1:])


BAD = {
    "no JSON": ("nonsense", "found no JSON ("),
    "too deep": ("[" * 100_000, "found no JSON"),
    "a list": ([{"name": "a"}], "found a list, expected one JSON object"),
    "a false value": ("0", "found a number, expected one JSON object"),
    "nothing": ({}, "found no intents, expected"),
    "an empty name": ({" ": ""}, 'intent "": found an empty "name"'),
    "half a surrogate pair": ('{"a\\ud800": ""}', "found half a surrogate pair"),
    "null": ({"a": None}, 'intent "a": found null, expected a description or an object'),
    "a further key": ({"a": {"name": "x"}}, 'intent "a": found the key "name", expected description or synonyms'),
    "a list as description": ({"a": {"description": ["x"]}}, 'intent "a": found a list in "description"'),
    "one synonym as a string": ({"a": {"synonyms": "x"}}, 'intent "a": found a string in "synonyms", expected a list'),
    "a number as synonym": ({"a": {"synonyms": [3]}}, 'intent "a": found a number in "synonyms"'),
    "a name twice": ('{"a": "x", "a": "y"}', 'found the key "a" more than once'),
    "a synonym twice": (
        {"a": {"synonyms": ["x"]}, "b": {"synonyms": ["x"]}},
        'found the synonym "x" more than once, of "a", "b"',
    ),
    "a synonym that is a name": ({"a": {"synonyms": ["b"]}, "b": ""}, 'found the synonym "b" of "a", which is the name'),
}


@pytest.mark.parametrize(("content", "said"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_a_sentence(file: Path, content: Any, said: str) -> None:
    found, (problem,) = read_taxonomy(given(file, content))
    assert found is None
    assert problem.startswith(f"{file}: ")
    assert said in problem
    assert "expected" in problem


def test_all_problems_of_a_taxonomy_come_at_once(file: Path) -> None:
    _, problems = read_taxonomy(given(file, {"a": None, "b": {"x": 1, "description": 2}}))
    assert len(problems) == 3


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path: Path, name: str) -> None:
    found, (problem,) = read_taxonomy(tmp_path / name)
    assert found is None
    assert "expected a JSON file" in problem


def test_bytes_that_are_no_text_are_a_sentence(file: Path) -> None:
    file.write_bytes(b'{"a": "\xff"}')
    assert read_taxonomy(file)[1] == [f"{file}: found byte 0xff at position 8, expected UTF-8"]


def test_tickets_of_intents_without_rows_are_counted_and_the_first_is_named() -> None:
    (said,) = rowless_warnings(5, {"v1": "a.b", "v2": "c"}, names_used=True)
    assert said.startswith('2 ticket(s) have an intent without a train row, first "v1" (a.b): no stored reply is about them')
    assert rowless_warnings(5, {}, names_used=True) == rowless_warnings(0, {}, names_used=False) == []
    (said,) = rowless_warnings(5, {}, names_used=False)
    assert "the 5 intents without a train row cannot be predicted" in said
