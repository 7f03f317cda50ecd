"""Reads the body of a chat completion: endpoints differ in what they leave out, and a proxy may send a page instead."""

import json
from dataclasses import dataclass

from finetune.remote.prices import Usage
from finetune.remote.questions import BadAnswer
from retrieval.tickets import quoted


@dataclass(frozen=True, slots=True)
class Completion:
    """What a call brought."""

    text: str  # the answer, empty where there is none
    problem: str  # why it cannot be used, the half of a sentence; empty if it can
    usage: Usage


def read_completion(body: str, most: Usage) -> Completion:
    """The answer and the tokens that the endpoint reports, or `most` where it reports none that can be true."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    usage = _reported_usage(found) or most
    try:
        return Completion(_text(found), "", usage)
    except BadAnswer as error:
        return Completion("", str(error), usage)
    except (LookupError, TypeError, AttributeError):
        return Completion("", f"found {quoted(body)}, expected a chat completion", usage)


def _text(found: object) -> str:
    choice = found["choices"][0]  # type: ignore[index]  # whatever it is: `read_completion` catches it
    message = choice["message"]
    if refusal := message.get("refusal"):
        raise BadAnswer(f"the model refused: {quoted(str(refusal))}")
    if choice.get("finish_reason") == "content_filter":
        raise BadAnswer("the endpoint's filter refused")
    if choice.get("finish_reason") == "length":
        raise BadAnswer("the answer was cut, expected a shorter one")
    if not isinstance(message["content"], str):
        raise TypeError
    return str(message["content"])


def _reported_usage(found: object) -> Usage | None:
    usage = found.get("usage") if isinstance(found, dict) else None
    reported = usage if isinstance(usage, dict) else {}
    prompt, completion = reported.get("prompt_tokens"), reported.get("completion_tokens")
    if not isinstance(prompt, int) or not isinstance(completion, int) or prompt <= 0 or completion < 0:
        return None
    return Usage(prompt, completion)
