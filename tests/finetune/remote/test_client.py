"""Calls to an endpoint: what is sent, what it costs, and every way in which it can fail."""

import time
from collections.abc import Callable
from email.utils import formatdate
from math import inf
from typing import Any

import pytest

from finetune.remote import client as module
from finetune.remote.budget import Budget
from finetune.remote.client import Answer, RemoteClient
from finetune.remote.endpoint import Endpoint
from finetune.remote.prices import Price, Usage
from finetune.remote.questions import BadAnswer, Question
from finetune.remote.retries import WAITS_S
from tests.finetune.remote.stub import KEY, Responder, Said, Stub, endpoint, fails_first, refused, said, user_text

PRICE = Price(10.0, 100.0, known=True)
SCHEMA = {"type": "object"}
QUESTIONS = [Question(f"q{i}", "rules", f"ticket {i}", 100, SCHEMA) for i in range(6)]


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, which take no time here; one call at a time, so that the order is certain."""
    found = list[float]()

    async def pause(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr(module, "pause", pause)
    monkeypatch.setattr(module, "CONCURRENCY", 1)
    return found


def client_of(stub: Stub, *, budget_usd: float = 10.0) -> RemoteClient:
    return RemoteClient(stub.endpoint(), Budget(budget_usd, PRICE), seed=7)


def ask(client: RemoteClient, *, deadline: float = inf, read: Callable[[str], str] = str) -> dict[str, Answer[str]]:
    return client.ask(QUESTIONS, read, label="ask", deadline=deadline)


def echo(number: int, body: dict[str, Any]) -> Said:
    return said(f"answer to {user_text(body)}")


def outcome(respond: Responder) -> tuple[list[str], RemoteClient, int]:
    """The keys that were answered, the client afterwards, and how many requests there were."""
    with endpoint(respond) as stub:
        client = client_of(stub)
        return list(ask(client)), client, len(stub.asked)


ALL = [question.key for question in QUESTIONS]


def test_a_request_is_what_the_protocol_wants_with_temperature_0_and_the_seed() -> None:
    with endpoint(echo) as stub:
        ask(client_of(stub))
    body = stub.asked[0]
    assert (body["path"], body["authorization"]) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert (body["model"], body["temperature"], body["seed"], body["max_completion_tokens"]) == ("gpt-4.1-mini", 0, 7, 100)
    assert body["messages"] == [{"role": "system", "content": "rules"}, {"role": "user", "content": "ticket 0"}]
    form = {"name": "answer", "strict": True, "schema": SCHEMA}
    assert body["response_format"] == {"type": "json_schema", "json_schema": form}


def test_plain_chat_asks_for_no_form_and_no_empty_role() -> None:
    with endpoint(echo) as stub:
        client_of(stub).ask([Question("q", "", "hello", 10)], str, label="ask", deadline=inf)
    assert "response_format" not in stub.asked[0]
    assert [message["role"] for message in stub.asked[0]["messages"]] == ["user"]


def test_answers_have_the_order_of_the_questions_however_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONCURRENCY", len(QUESTIONS))
    with endpoint(echo) as stub:
        found = ask(client_of(stub))
    assert {key: answer.value for key, answer in found.items()} == {
        question.key: f"answer to {question.user}" for question in QUESTIONS
    }
    assert list(found) == ALL


def test_no_more_calls_than_allowed_are_under_way_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONCURRENCY", 2)
    under_way, most, send = 0, 0, module._Calls._send

    async def counted(self: Any, *args: Any) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await send(self, *args)
        finally:
            under_way -= 1

    monkeypatch.setattr(module._Calls, "_send", counted)
    assert outcome(echo)[0] == ALL
    assert most == 2


def test_the_cost_is_counted_from_reported_tokens() -> None:
    _, client, _ = outcome(lambda number, _: said("yes", prompt=1000, completion=10))
    assert client.usage == Usage(6000, 60)
    assert client.budget.spent == pytest.approx(6 * (1000 * 10 + 10 * 100) / 1e6)
    assert (client.calls, client.budget.idle) == (6, True)


def test_a_budget_that_runs_out_in_the_middle_keeps_what_was_answered_and_is_not_exceeded() -> None:
    with endpoint(echo) as stub:
        client = client_of(stub, budget_usd=0.05)  # a call costs 0.02, twice what its length lets expect
        found = ask(client)
    assert list(found) == ["q0", "q1"]
    assert client.budget.spent <= 0.05
    assert len(stub.asked) == 2
    assert client.given_up == "0.0400 of 0.05 USD are spent, and the next call could cost 0.0200"


def test_calls_under_way_together_wait_for_the_money_that_others_give_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONCURRENCY", 6)
    with endpoint(lambda *_: said("yes", prompt=1, completion=1)) as stub:
        client = client_of(stub, budget_usd=0.0115)  # one call can be held at a time
        assert list(ask(client)) == ALL
    assert client.given_up == ""


def test_an_endpoint_that_is_busy_for_a_while_is_asked_again(waits: list[float]) -> None:
    answered, client, asked = outcome(fails_first(2, refused(429), echo))
    assert (answered, asked, waits) == (ALL, 8, [*WAITS_S[:2]])
    assert (client.given_up, client.failed) == ("", [])
    assert client.usage == Usage(6000, 600), "a refused call is not billed"


@pytest.mark.parametrize(("header", "expected"), [("3", 3.0), ("0", 0.0), ("soon", WAITS_S[0])])
def test_the_endpoint_says_how_long_to_wait(header: str, expected: float, waits: list[float]) -> None:
    assert outcome(fails_first(1, refused(429, Retry_After=header), echo))[0] == ALL
    assert waits == [expected]


def test_the_endpoint_may_say_until_when_to_wait(waits: list[float]) -> None:
    until = formatdate(time.time() + 20, usegmt=True)
    assert outcome(fails_first(1, refused(503, Retry_After=until), echo))[0] == ALL
    assert 15 < waits[0] <= 20


def test_an_endpoint_that_asks_for_minutes_is_given_up(waits: list[float]) -> None:
    answered, client, asked = outcome(lambda *_: refused(429, Retry_After="3600"))
    assert (answered, asked, waits) == ([], 1, [])
    assert "says 429" in client.given_up


def test_an_endpoint_that_stays_busy_is_given_up_after_all_attempts() -> None:
    answered, client, asked = outcome(lambda *_: refused(429))
    assert (answered, asked) == ([], 1 + len(WAITS_S))
    assert "says 429" in client.given_up


def test_a_quota_that_is_used_up_does_not_pass() -> None:
    _, client, asked = outcome(lambda *_: refused(429, "insufficient_quota"))
    assert asked == 1
    assert client.given_up.endswith('says 429 "insufficient_quota"'), "the message alone, not the JSON around it"


def test_what_an_endpoint_says_without_a_message_is_quoted_as_it_is() -> None:
    _, client, _ = outcome(lambda *_: Said(402, b"<p>pay</p>", {"Content-Type": "text/html"}))
    assert client.given_up.endswith('says 402 "<p>pay</p>"')


@pytest.mark.parametrize("status", [401, 402, 403, 404, 307])
def test_an_endpoint_that_refuses_for_good_ends_all_calls_and_what_came_before_is_kept(status: int) -> None:
    answered, client, asked = outcome(lambda number, body: echo(number, body) if number <= 2 else refused(status))
    assert (answered, asked) == (["q0", "q1"], 3)
    assert f"says {status}" in client.given_up
    assert client.budget.spent == pytest.approx(2 * (1000 * 10 + 100 * 100) / 1e6)


def test_a_redirect_is_not_followed() -> None:
    with endpoint(echo) as elsewhere:
        location = {"Location": f"{elsewhere.url}/chat/completions"}
        outcome(lambda *_: Said(307, "", location))
        assert elsewhere.asked == []


def test_an_error_of_the_endpoint_may_pass() -> None:
    assert outcome(fails_first(3, refused(500), echo))[0] == ALL


def test_errors_that_stay_end_after_three_questions() -> None:
    answered, client, asked = outcome(lambda *_: refused(500))
    assert (answered, asked) == ([], 3 * (1 + len(WAITS_S)))
    assert client.given_up.startswith("3 answers one after another could not be used: ")
    assert len(client.failed) == 3


def test_one_question_that_is_refused_costs_its_own_answer_alone() -> None:
    answered, client, _ = outcome(lambda number, body: refused(400) if number == 2 else echo(number, body))
    assert answered == ["q0", "q2", "q3", "q4", "q5"]
    assert client.given_up == ""
    assert client.failed[0].startswith("q1: ")


BAD = {
    "a refusal": said(None, message={"content": None, "refusal": "I can't help with that"}),
    "a page": Said(200, b"<html>log in</html>", {"Content-Type": "text/html"}),
    "malformed JSON": Said(200, b'{"choices": [{"mess'),
    "an empty list": Said(200, {"choices": []}),
    "a cut answer": said("{", finish_reason="length"),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_an_answer_that_cannot_be_used_costs_itself_and_three_in_a_row_end_it(bad: Said) -> None:
    answered, client, _ = outcome(lambda number, body: bad if number in (1, 2, 4) else echo(number, body))
    assert answered == ["q2", "q4", "q5"]
    assert [line[:2] for line in client.failed] == ["q0", "q1", "q3"]
    answered, client, asked = outcome(lambda *_: bad)
    assert (answered, asked, len(client.failed)) == ([], 3, 3)
    assert client.budget.spent > 0, "a bad answer is billed, too"


def test_an_answer_that_the_reader_refuses_is_a_bad_one() -> None:
    def picky(text: str) -> str:
        if text.endswith("3"):
            raise BadAnswer("found 3, expected another")
        return text

    with endpoint(echo) as stub:
        client = client_of(stub)
        assert "q3" not in ask(client, read=picky)
    assert client.failed == ["q3: found 3, expected another"]


def test_a_call_without_an_answer_ends_in_time_and_may_have_been_billed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CALL_TIMEOUT_S", 0.1)
    with endpoint(lambda *_: silent(stub)) as stub:
        client = client_of(stub)
        assert ask(client) == {}
        assert len(stub.asked) == 3 * 2, "each of three questions twice"
    assert "does not answer" in client.given_up
    assert client.usage.prompt > 0
    assert client.budget.spent > 0


def silent(stub: Stub) -> Said:
    stub.ended.wait(10.0)
    return said("too late")


def test_the_deadline_ends_a_call_that_is_under_way_and_all_others() -> None:
    with endpoint(lambda *_: silent(stub)) as stub:
        client = client_of(stub)
        began = time.monotonic()
        assert ask(client, deadline=began + 0.2) == {}
        assert time.monotonic() - began < 5.0
    assert client.given_up == "the time budget ended the calls"


def test_after_the_deadline_nothing_is_sent() -> None:
    with endpoint(echo) as stub:
        assert ask(client_of(stub), deadline=-inf) == {}
        assert stub.asked == []


def test_an_endpoint_that_is_not_there_ends_all_calls_and_costs_nothing() -> None:
    with endpoint(echo) as stub:
        pass
    client = client_of(stub)
    assert ask(client) == {}
    assert "does not answer" in client.given_up
    assert client.budget.spent == 0
    assert ask(client) == {}, "and nobody asks again"
    assert client.calls == 1 + len(WAITS_S)


def test_a_name_that_no_host_can_have_is_a_clause() -> None:
    client = RemoteClient(Endpoint("m", f"http://{'a' * 300}/v1", KEY), Budget(1.0, PRICE), seed=0)
    assert ask(client) == {}
    assert "does not answer" in client.given_up


def test_the_key_never_reaches_a_message() -> None:
    _, client, _ = outcome(lambda *_: refused(401, f"Incorrect API key provided: {KEY}"))
    assert "says 401" in client.given_up
    assert KEY not in client.given_up + "".join(client.failed)


def test_a_proxy_that_cannot_be_used_is_a_clause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "nonsense://x")
    _, client, asked = outcome(echo)
    assert asked == 0
    assert "the connection cannot be made" in client.given_up
