"""The words and schemas of the questions, and which answers can be used."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from finetune.remote.questions import (
    MAX_CHARACTERS,
    MAX_ENUM,
    MAX_REPLY_TOKENS,
    BadAnswer,
    candidate_scores,
    intent_question,
    max_reply_tokens,
    read_percentages,
    read_reply,
    reply_question,
)
from retrieval.prompt_text import reply_prompt_text
from retrieval.retrieve import IntentQuestion, retrieve
from retrieval.tickets import Ticket
from tests.fakes import ROWS, HashEncoder
from tests.finetune.helpers import classifier_for

INTENTS = ("api.token", "billing.seat", "data.export")
ASKED = IntentQuestion(Ticket("v", "my token?"), ROWS[1:4], 0.5)


def enum_of(schema: Any) -> list[str]:
    return list(schema["properties"]["scores"]["items"]["properties"]["intent"]["enum"])


def test_the_answer_may_name_the_intents_of_the_train_set_and_no_others() -> None:
    question = intent_question(ASKED, INTENTS)
    assert question.schema is not None
    assert enum_of(question.schema) == list(INTENTS)
    assert question.schema["additionalProperties"] is False
    assert question.schema["required"] == ["scores"]


def test_more_intents_than_a_schema_can_hold_leave_those_of_the_candidates() -> None:
    many = [*INTENTS, *(f"other.{i}" for i in range(MAX_ENUM))]
    assert enum_of(intent_question(ASKED, many).schema) == ["billing.seat", "api.token"]


def test_a_question_about_intents_shows_rows_and_ticket_and_nothing_else() -> None:
    text = intent_question(ASKED, INTENTS).user
    for row in ASKED.rows:
        assert f"intent: {row.intent}\nticket: {row.text}\nreply: {row.ideal_reply}" in text
    assert text.endswith("\n\nNew ticket:\nmy token?")
    assert ROWS[0].text not in text


def test_both_questions_say_what_the_intents_that_they_name_are_about() -> None:
    about = {"api.token": "Keys of the API.", "data.export": "Not among the rows."}
    plain, told = intent_question(ASKED, INTENTS), intent_question(ASKED, INTENTS, about)
    assert told.user == f"Intents:\napi.token: Keys of the API.\n\n{plain.user}"
    assert told.most().prompt > plain.most().prompt
    ticket = Ticket("v", "rotate my token")
    (found,) = retrieve(classifier_for(ROWS), [ticket], HashEncoder().encode([ticket.text]), exemplars=1)
    assert reply_question(found, max_tokens=77, descriptions=about).user.startswith("Intents:\napi.token: Keys of the API.\n\n")


def test_a_question_for_a_reply_has_the_words_that_a_local_base_gets() -> None:
    ticket = Ticket("v", "one more seat")
    (found,) = retrieve(classifier_for(ROWS), [ticket], HashEncoder().encode([ticket.text]))
    question = reply_question(found, max_tokens=77)
    words = reply_prompt_text(ticket.text, found.exemplars, intent=found.intent)
    assert (question.system, question.user) == (words.system, f"{words.user}\n\nIts intent: {found.intent}")
    assert (question.key, question.max_tokens) == ("v", 77)


def test_what_a_call_takes_at_most_is_never_less_than_what_it_probably_takes() -> None:
    for text in ("seat", "席" * 500):
        question = intent_question(replace(ASKED, ticket=Ticket("v", text)), INTENTS)
        assert question.most().prompt >= len(text.encode()) + len(json.dumps(question.schema))
        assert question.most().prompt > question.expected().prompt
        assert question.most().completion > question.expected().completion


def test_a_long_ticket_is_cut() -> None:
    question = intent_question(replace(ASKED, ticket=Ticket("v", "x" * 100_000)), INTENTS)
    assert question.user.endswith("x" * MAX_CHARACTERS)
    assert len(question.user) < 2 * MAX_CHARACTERS


def test_replies_may_be_longer_than_the_stored_ones_within_limits() -> None:
    assert max_reply_tokens([replace(ROWS[0], ideal_reply="x" * 1000)]) == 500
    assert max_reply_tokens([replace(ROWS[0], ideal_reply="x" * 100_000)]) == MAX_REPLY_TOKENS


def scores(*entries: Any) -> str:
    return json.dumps({"scores": [{"intent": intent, "percent": percent} for intent, percent in entries]})


def test_percentages_are_read_by_intent_the_highest_of_a_repeated_one() -> None:
    text = scores(("api.token", 70), ("billing.seat", 30.5), ("api.token", 10))
    assert read_percentages(text, intents=INTENTS) == {"api.token": 70, "billing.seat": 30.5}
    assert read_percentages('{"scores": []}', intents=INTENTS) == {}


BAD_PERCENTAGES = {
    "not JSON": "the token intent",
    "no object": "[]",
    "another field": '{"intents": []}',
    "no list": '{"scores": 3}',
    "no entries": '{"scores": ["api.token"]}',
    "no percentage": '{"scores": [{"intent": "api.token"}]}',
    "a truth value": scores(("api.token", True)),
    "outside of the enum": scores(("api.token", 60), ("made.up", 40)),
    "negative": scores(("api.token", -1)),
    "above 100": scores(("api.token", 101)),
    "not a number": '{"scores": [{"intent": "api.token", "percent": NaN}]}',
    "a number of 500 digits": '{"scores": [{"intent": "api.token", "percent": ' + "9" * 500 + "}]}",
    "too deep": "[" * 100_000,
}


@pytest.mark.parametrize("text", BAD_PERCENTAGES.values(), ids=BAD_PERCENTAGES)
def test_scores_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(BadAnswer, match=r"found .*, expected "):
        read_percentages(text, intents=INTENTS)


@pytest.mark.parametrize("text", ['{"reply": ""}', '{"reply": "\\u200b"}', '{"reply": 3}', '{"reply": "a\\ud800"}', "Hello."])
def test_replies_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(BadAnswer, match=r"found .*, expected "):
        read_reply(text)


def test_a_reply_is_read_without_the_space_around_it() -> None:
    assert read_reply('{"reply": " Yes.\\n"}') == "Yes."


def test_scores_are_logarithms_of_shares_among_the_candidates() -> None:
    found = candidate_scores({"api.token": 75.0, "billing.seat": 25.0, "data.export": 90.0}, ASKED)
    assert found == {"api.token": pytest.approx(math.log(0.75)), "billing.seat": pytest.approx(math.log(0.25))}


def test_a_candidate_that_is_left_out_keeps_a_small_share_and_none_at_all_says_nothing() -> None:
    found = candidate_scores({"api.token": 99.0}, ASKED)
    assert found["billing.seat"] == pytest.approx(math.log(0.01))
    even = candidate_scores({}, ASKED)
    assert even["api.token"] == even["billing.seat"] == pytest.approx(math.log(0.5))
