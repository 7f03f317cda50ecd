"""A remote model through the whole command: tried, used where it helps, replaced by the local parts wherever it fails."""

import json
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

import run
from finetune.remote import client as client_module
from finetune.remote.endpoint import KEY_VARIABLE, URL_VARIABLE
from finetune.remote.gates import remote_intents_untested, remote_replies_untested
from finetune.remote.remote_model import RemoteModel, try_remote_model
from retrieval import encoder
from retrieval.command_line import parse
from retrieval.intent_classifier import IntentClassifier, fit_classifier
from retrieval.retrieve import IntentQuestion
from retrieval.tickets import LabelledTicket, Ticket
from retrieval.train_set import embed_train_set
from tests.fakes import HashEncoder, save_base
from tests.finetune.remote.stub import (
    KEY,
    Responder,
    Said,
    Stub,
    asks_for_intents,
    endpoint,
    refused,
    said,
    sure_of,
    ticket_of,
    use,
    user_text,
)
from tests.test_run import arguments, check_result, write

INTENTS = ("mail.signature", "mail.folder", "mail.filter", "mail.forward")
ROWS = [
    {"id": f"t{i}", "ticket": f"please help me {i}", "intent": INTENTS[i % 4], "ideal_reply": f"Open the menu number {i}."}
    for i in range(24)
]
NUMBERS = (104, 105, 106, 107)
TICKETS = [{"id": f"v{i}", "ticket": f"please help me {number}"} for i, number in enumerate(NUMBERS)]
MODEL = "gpt-4.1-mini"


class NumberBlind(HashEncoder):
    """To it all tickets are the same, and all replies."""

    def _row(self, text: str) -> Any:
        return super()._row(re.sub(r"\d+", "", text))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    async def pause(_: float) -> None:
        pass

    monkeypatch.setattr(client_module, "pause", pause)
    monkeypatch.setattr(encoder, "load_encoder", lambda *_, **__: NumberBlind())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Rows of which only the number says anything: intent and reply follow from it."""
    write(tmp_path / "train.jsonl", *ROWS)
    write(tmp_path / "val.jsonl", *TICKETS)
    return tmp_path


def number_in(body: dict[str, Any]) -> int:
    return int(re.findall(r"help me (\d+)", ticket_of(body))[0])


def expert(_: int, body: dict[str, Any]) -> Said:
    """A model that knows the product's rules."""
    number = number_in(body)
    return sure_of(INTENTS[number % 4]) if asks_for_intents(body) else said({"reply": f"Open the menu number {number}."})


def parrot(_: int, body: dict[str, Any]) -> Said:
    """A model that knows nothing: no intent is likelier than another, and the reply is the best exemplar's."""
    last = re.findall(r"reply: (.*)", user_text(body))[-1]
    return said({"scores": []} if asks_for_intents(body) else {"reply": last})


def about_tickets(body: dict[str, Any]) -> bool:
    return ticket_of(body) in {row["ticket"] for row in TICKETS}


def on_tickets(respond: Responder, before: Responder = expert) -> Responder:
    """Passes its trial as `before`, then does otherwise."""
    return lambda number, body: respond(number, body) if about_tickets(body) else before(number, body)


@contextmanager
def finished(folder: Path, respond: Responder, **options: object) -> Iterator[Stub]:
    with endpoint(respond) as stub, pytest.MonkeyPatch.context() as patch:
        use(patch, stub)
        assert run.main(arguments(folder, remote_model=MODEL, **options)) == 0
        yield stub


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "weights" / "run.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def explanations(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "weights" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def local_answers(folder: Path) -> list[dict[str, Any]]:
    assert run.main(arguments(folder)) == 0
    return explanations(folder)


def test_a_model_that_helps_scores_intents_and_writes_replies(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with finished(folder, expert) as stub:
        pass
    result = check_result(folder / "results.json", [row["id"] for row in TICKETS], set(INTENTS))
    assert [row["predicted_intent"] for row in result["predictions"]] == list(INTENTS)
    assert [row["prediction"] for row in result["predictions"]] == [f"Open the menu number {number}." for number in NUMBERS]
    assert {row["source"] for row in explanations(folder)} == {"remote"}
    assert all(row["tokens_used"] == 1100 for row in result["predictions"])
    found = record(folder)
    remote, sent = found["remote"], len(stub.asked)
    assert remote["gates"] == {"remote intent scores": "weight 0.5", "remote replies": "used"}
    assert (remote["model"], remote["host"], remote["calls"]) == (MODEL, stub.url[7:-3], sent)
    assert (remote["prompt_tokens"], remote["completion_tokens"]) == (1000 * sent, 100 * sent)
    assert remote["cost_usd"] == pytest.approx(sent * (1000 * 0.40 + 100 * 1.60) / 1e6)
    assert remote["sent"] == {"train_rows": 24, "tickets": 4}
    assert (remote["given_up"], remote["unanswered"]) == ("", [])
    assert found["deterministic"] is False
    assert remote["lm_scores"]["weight"] == 0.5
    assert {gate["name"] for gate in found["gates"]} >= {"remote intent scores", "remote replies"}
    summary = " ".join(capsys.readouterr().err.split())
    assert f"{MODEL} at {remote['host']}: {sent} calls" in summary
    assert "sent were 24 train rows and 4 tickets" in summary
    assert "4 remote" in summary
    assert KEY not in summary + json.dumps(found)


def test_a_row_is_hidden_from_itself_while_the_model_is_tried(folder: Path) -> None:
    with finished(folder, expert) as stub:
        asked = [body for body in stub.asked if not about_tickets(body)]
    assert len({number_in(body) for body in asked}) == len(ROWS)
    for body in asked:
        stored = user_text(body).rpartition(ticket_of(body))[0]
        assert f"menu number {number_in(body)}." not in stored
        assert f"help me {number_in(body)}\n" not in stored


def test_a_model_that_does_not_help_sees_no_ticket_and_changes_no_answer(folder: Path) -> None:
    expected = local_answers(folder)
    with finished(folder, parrot) as stub:
        assert not any(about_tickets(body) for body in stub.asked)
    assert explanations(folder) == expected
    found = record(folder)
    assert set(found["remote"]["gates"].values()) == {"not used"}
    assert (found["remote"]["sent"]["tickets"], found["deterministic"], found["remote"]["given_up"]) == (0, False, "")
    assert "lm_scores" not in found
    first = [body for body in stub.asked if not asks_for_intents(body)]
    assert len(first) == 12, "the first fold shows that replies will not do: the second is not paid for"


def silent(stub: Stub) -> Said:
    stub.ended.wait(5.0)
    return said("too late")


FAILURES: dict[str, Callable[[Stub], Said]] = {
    "no money": lambda _: refused(402, "payment required"),
    "a wrong key": lambda _: refused(401, "invalid key"),
    "busy for good": lambda _: refused(429),
    "errors": lambda _: refused(500),
    "refusals": lambda _: said(None, message={"content": None, "refusal": "I can't"}),
    "malformed JSON": lambda _: said("not JSON"),
    "an unknown intent": lambda _: said({"scores": [{"intent": "made.up", "percent": 90}], "reply": 3}),
    "silence": silent,
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("when", ["in its trial", "on the tickets"])
def test_whatever_fails_the_local_parts_answer_and_the_record_says_why(
    folder: Path, failure: Callable[[Stub], Said], when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "CALL_TIMEOUT_S", 0.5)
    expected = local_answers(folder)

    def fails(number: int, body: dict[str, Any]) -> Said:
        return failure(stub)

    respond = on_tickets(fails) if when == "on the tickets" else fails
    with endpoint(respond) as stub:
        use(monkeypatch, stub)
        assert run.main(arguments(folder, remote_model=MODEL)) == 0
    assert explanations(folder) == expected
    found = record(folder)
    assert found["remote"]["given_up"] in " ".join(found["warnings"])
    assert found["remote"]["given_up"]
    assert found["deterministic"] is False
    assert (set(found["remote"]["gates"].values()) == {"not used"}) == (when == "in its trial")


def test_a_model_that_fails_in_the_middle_keeps_what_it_gave(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "CONCURRENCY", 1)

    def third_reply_unpaid(_: int, body: dict[str, Any]) -> Said:
        return refused(402) if not asks_for_intents(body) and ticket_of(body) == TICKETS[2]["ticket"] else expert(0, body)

    with finished(folder, on_tickets(third_reply_unpaid)):
        pass
    found = explanations(folder)
    assert [row["source"] for row in found[:2]] == ["remote", "remote"]
    assert [row["source"] for row in found[2:]] == ["copied", "copied"]
    assert "says 402" in record(folder)["remote"]["given_up"]
    assert [row["predicted_intent"] for row in found] == list(INTENTS)
    best = [next(row for row in ROWS if row["id"] == answer["exemplars"][0]) for answer in found[2:]]
    assert [row["prediction"] for row in found[2:]] == [row["ideal_reply"] for row in best], "the copy of the best exemplar"
    assert [row["intent"] for row in best] == list(INTENTS[2:]), "which the remote model's intents helped to choose"


def test_a_budget_that_ends_among_the_tickets_is_not_exceeded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune.remote.remote_model.planned_usd", lambda *_: 0.0)
    monkeypatch.setattr(client_module, "CONCURRENCY", 1)
    one = (1000 * 0.40 + 100 * 1.60) / 1e6
    with finished(folder, expert, remote_budget_usd=one * (24 + 12 + 4 + 2)):
        pass
    found = record(folder)["remote"]
    assert found["cost_usd"] <= round(found["budget_usd"], 6)
    assert "are spent" in found["given_up"]
    assert [row["source"] for row in explanations(folder)] == ["remote", "remote", "copied", "copied"]


def test_a_budget_that_cannot_pay_trial_and_tickets_sends_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = local_answers(folder)
    with finished(folder, expert, remote_budget_usd=0.001) as stub:
        assert stub.asked == []
    assert explanations(folder) == expected
    found = record(folder)
    assert re.search(
        r"its trial and 4 tickets would cost about 0\.\d\d USD, --remote-budget-usd allows 0.001", found["warnings"][-1]
    )
    assert (found["deterministic"], found["remote"]["calls"], found["remote"]["cost_usd"]) == (True, 0, 0)
    assert "nothing was sent" in capsys.readouterr().err


def test_a_time_budget_that_is_gone_sends_nothing_and_another_run_may_have_more(folder: Path) -> None:
    with finished(folder, expert, time_budget_s=0.001) as stub:
        assert stub.asked == []
    found = record(folder)
    assert found["remote"]["given_up"] == "the time budget ended the calls"
    assert found["deterministic"] is False


def test_an_unknown_model_is_paid_at_the_dearest_price_and_the_record_says_so(folder: Path) -> None:
    with endpoint(expert) as stub, pytest.MonkeyPatch.context() as patch:
        use(patch, stub)
        assert run.main(arguments(folder, remote_model="somebody/new", remote_budget_usd=9)) == 0
    assert record(folder)["remote"]["usd_per_million_tokens"] == {"prompt": 10.0, "completion": 30.0, "known": False}


def test_a_reply_with_an_invented_fact_is_replaced(folder: Path) -> None:
    def invents(_: int, body: dict[str, Any]) -> Said:
        return expert(0, body) if asks_for_intents(body) else said({"reply": "It costs $99."})

    with finished(folder, on_tickets(invents)):
        pass
    for row in explanations(folder):
        assert (row["source"], row["draft"]) == ("replaced", "It costs $99.")
        assert row["findings"] == ["number $99 stands in no source"]
        assert row["prediction"].startswith("Open the menu number ")


def test_two_runs_with_the_same_answers_give_the_same_bytes(folder: Path) -> None:
    found = []
    for _ in range(2):
        with finished(folder, expert):
            found.append((folder / "weights" / "predictions.jsonl").read_bytes())
    assert found[0] == found[1]


def test_the_local_adapter_is_trained_either_way(folder: Path) -> None:
    with finished(folder, expert, base_model=save_base(folder / "base")):
        pass
    assert record(folder)["training"]["steps"] > 0
    assert (folder / "weights" / "adapter_model.safetensors").exists()
    assert {row["source"] for row in explanations(folder)} == {"remote"}


def test_a_run_that_names_no_remote_model_opens_no_connection(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*address: object, **_: object) -> NoReturn:
        pytest.fail(f"a connection was tried: {address[1:]}")

    with endpoint(expert) as stub:
        use(monkeypatch, stub)
        for name in ("connect", "connect_ex", "sendto"):
            monkeypatch.setattr(socket.socket, name, refuse)
        for name in ("getaddrinfo", "gethostbyname", "create_connection"):
            monkeypatch.setattr(socket, name, refuse)
        assert run.main(arguments(folder)) == 0
        assert stub.asked == []
    found = record(folder)
    assert "remote" not in found
    assert found["deterministic"] is True


def test_what_is_missing_before_the_start_is_reported_with_everything_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.setenv(URL_VARIABLE, "ftp://x")
    write(folder / "val.jsonl", {"id": "v"})
    assert run.main(arguments(folder, remote_model=MODEL)) == 2
    said_ = capsys.readouterr().err
    for piece in (KEY_VARIABLE, URL_VARIABLE, "val.jsonl:1:", "3 problem(s) found; nothing was written"):
        assert piece in said_
    assert not (folder / "weights").exists()


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "much"])
def test_a_budget_that_is_no_positive_number_is_refused(folder: Path, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run.main([*arguments(folder), f"--remote-budget-usd={value}"])
    assert stop.value.code == 2
    assert f"found {value}, expected a number of US dollars above 0" in capsys.readouterr().err


def classifier() -> IntentClassifier:
    rows = [LabelledTicket(row["id"], row["ticket"], row["intent"], row["ideal_reply"]) for row in ROWS]
    return fit_classifier(embed_train_set(rows, NumberBlind()), with_names=False)


class Local:
    """A local scorer, which remembers what it was asked."""

    weight, candidates, below = 1.0, 6, 2.0
    asked: tuple[str, ...] = ()

    def score(self, questions: Sequence[IntentQuestion]) -> dict[str, Mapping[str, float]]:
        self.asked = tuple(question.ticket.id for question in questions)
        return {question.ticket.id: {row.intent: -1.0 for row in question.rows} for question in questions}


def tried(folder: Path, tickets: Sequence[Ticket]) -> RemoteModel:
    settings, _ = parse(arguments(folder, remote_model=MODEL))
    return try_remote_model(settings, classifier(), NumberBlind(), tickets)


def test_tickets_that_the_model_leaves_out_get_the_scores_of_the_local_base(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_the_first(_: int, body: dict[str, Any]) -> Said:
        return expert(0, body) if ticket_of(body) == TICKETS[0]["ticket"] else said("not JSON")

    tickets = [Ticket(row["id"], row["ticket"]) for row in TICKETS]
    with endpoint(on_tickets(only_the_first)) as stub:
        use(monkeypatch, stub)
        remote, local = tried(folder, tickets), Local()
        vectors = NumberBlind().encode([ticket.text for ticket in tickets])
        found = remote.retrieve(tickets, vectors, local=local)
    assert local.asked == ("v1", "v2", "v3")
    assert [one.ticket.id for one in found] == [ticket.id for ticket in tickets]
    assert found[0].intent == INTENTS[0]
    assert all(any(score.lm_score is not None for score in one.intents) for one in found)


def test_without_a_gate_that_lets_it_in_the_local_base_scores_every_ticket(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tickets, local = [Ticket(row["id"], row["ticket"]) for row in TICKETS], Local()
    with endpoint(parrot) as stub:
        use(monkeypatch, stub)
        remote = tried(folder, tickets)
        found = remote.retrieve(tickets, NumberBlind().encode([ticket.text for ticket in tickets]), local=local)
        assert remote.write_replies(found) == {}
    assert local.asked == ("v0", "v1", "v2", "v3")
    assert not any(about_tickets(body) for body in stub.asked)


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_too_few_rows_to_try_it_on_cost_nothing(folder: Path, rows: int) -> None:
    write(folder / "train.jsonl", *ROWS[:rows])
    with finished(folder, expert) as stub:
        assert stub.asked == []
    assert all("needed" in gate["reason"] for gate in record(folder)["gates"] if gate["name"].startswith("remote"))
    assert record(folder)["remote"]["gates"] == {
        remote_intents_untested("").name: "not used",
        remote_replies_untested("").name: "not used",
    }
