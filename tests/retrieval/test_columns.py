import json
from pathlib import Path

import pytest

from retrieval.columns import parse_columns
from retrieval.tickets import LabelledTicket, read_train


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("ticket=body", {"ticket": "body"}),
        (" ticket = body , intent=The label", {"ticket": "body", "intent": "The label"}),
        ("id=a=b", {"id": "a=b"}),
        ('"ticket=Body, cleaned",id=no', {"ticket": "Body, cleaned", "id": "no"}),
    ],
)
def test_fields_are_given_the_names_that_they_have_in_the_files(text: str, found: dict[str, str]) -> None:
    assert parse_columns(text) == (found, [])


def test_all_problems_come_at_once_and_the_good_parts_are_used() -> None:
    found, problems = parse_columns("subject=a,ticket,=b,id=,intent=x,intent=y,ideal_reply=z")
    assert found["ideal_reply"] == "z"
    assert problems == [
        '--columns: found "ticket", expected FIELD=NAME, as ticket=body',
        '--columns: found "=b", expected FIELD=NAME, as ticket=body',
        '--columns: found "id=", expected FIELD=NAME, as ticket=body',
        '--columns: found the field "subject", expected id, ticket, intent, ideal_reply',
        '--columns: found "intent" 2 times, expected one name for it',
    ]


def test_the_keys_of_json_objects_are_mapped_too(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    rows = [{"no": "a", "body": "hello", "intent": "x", "ideal_reply": "hi", "ticket": 7}, {"id": "b", "body": " "}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, problems = read_train(path, columns={"id": "no", "ticket": "body"})
    assert found == (LabelledTicket("a", "hello", "x", "hi"),)
    assert [problem.partition("t.jsonl:")[2].partition(",")[0] for problem in problems] == [
        '2: found no field "no"',
        '2: found an empty "body"',
        '2: found no field "intent"',
        '2: found no field "ideal_reply"',
    ]
