"""Bodies of chat completions: what is an answer, what is none, and which counts of tokens are believed."""

import json
from typing import Any

import pytest

from finetune.remote.completion import read_completion
from finetune.remote.prices import Usage

MOST = Usage(5000, 500)
USAGE = {"prompt_tokens": 100, "completion_tokens": 7}


def body(usage: Any = USAGE, **choice: Any) -> str:
    whole = {"message": {"content": "yes"}, "finish_reason": "stop"} | choice
    return json.dumps({"choices": [whole], "usage": usage})


def test_an_answer_is_read_with_the_tokens_that_the_endpoint_reports() -> None:
    found = read_completion(body(), MOST)
    assert (found.text, found.problem, found.usage) == ("yes", "", Usage(100, 7))


@pytest.mark.parametrize(
    "usage", [None, [], {}, {"prompt_tokens": -9, "completion_tokens": 0}, {"prompt_tokens": 1e400}, "many"]
)
def test_a_count_that_cannot_be_true_is_taken_from_above(usage: Any) -> None:
    assert read_completion(body(usage), MOST).usage == MOST


UNUSABLE = {
    "a refusal": ({"message": {"content": None, "refusal": "I can't"}}, "the model refused"),
    "the filter": ({"finish_reason": "content_filter"}, "the endpoint's filter refused"),
    "cut": ({"finish_reason": "length"}, "the answer was cut"),
    "no content": ({"message": {"content": None}}, "expected a chat completion"),
    "no message": ({"message": None}, "expected a chat completion"),
}


@pytest.mark.parametrize(("choice", "problem"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_answer_that_cannot_be_used_says_why_and_its_tokens_count(choice: dict[str, Any], problem: str) -> None:
    found = read_completion(body(**choice), MOST)
    assert found.problem.find(problem) >= 0
    assert (found.text, found.usage) == ("", Usage(100, 7))


@pytest.mark.parametrize("text", ["", "<html>", "[1]", "null", '{"choices": []}', '{"choices": 3}', "[" * 100_000])
def test_a_body_that_is_no_completion_is_one_clause(text: str) -> None:
    found = read_completion(text, MOST)
    assert "expected a chat completion" in found.problem
    assert found.usage == MOST
