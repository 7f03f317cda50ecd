import json
from dataclasses import replace

import pytest

from retrieval.intent_classifier import fit_classifier
from retrieval.prediction import Reply, copy_reply, predictions, retrieval_record
from retrieval.prompt_text import reply_prompt_text, ticket_request
from retrieval.retrieve import Retrieval, retrieve
from retrieval.tickets import Ticket
from tests.fakes import ROWS, HashEncoder, train_set

TICKETS = [Ticket("v1", "rotate the token"), Ticket("v2", "one more seat")]


@pytest.fixture(scope="module")
def found() -> tuple[Retrieval, ...]:
    vectors = HashEncoder().encode([ticket.text for ticket in TICKETS])
    return retrieve(fit_classifier(train_set(), with_names=True), TICKETS, vectors)


def test_a_copied_reply_is_that_of_the_first_exemplar(found: tuple[Retrieval, ...]) -> None:
    assert copy_reply(found[1]) == Reply(found[1].exemplars[0].ideal_reply, "copied")


def test_time_is_shared_out_beside_what_the_model_took_for_a_reply(found: tuple[Retrieval, ...]) -> None:
    replies = [Reply("one", "generated", tokens=7, seconds=2.0), Reply("two", "copied")]
    first, second = predictions(found, replies, seconds=3.0)
    assert (first.latency_ms, second.latency_ms) == (2500.0, 500.0)
    assert predictions(found, replies, seconds=1.0)[1].latency_ms == 0.0, "never negative"
    expected = {"id": "v1", "prediction": "one", "predicted_intent": "api.token", "latency_ms": 2500.0, "tokens_used": 7}
    assert first.result() == expected


def test_an_explanation_is_the_record_of_the_retrieval_and_of_the_reply(found: tuple[Retrieval, ...]) -> None:
    replies = [Reply("kept", "replaced", findings=("24 hours",), draft="in 24 hours"), Reply("two", "copied")]
    first, _ = predictions(found, replies, seconds=1.0)
    own = {"prediction": "kept", "source": "replaced", "findings": ["24 hours"], "draft": "in 24 hours"}
    assert first.explanation() == retrieval_record(found[0]) | own


def test_a_record_holds_all_that_retrieval_found_to_five_decimals(found: tuple[Retrieval, ...]) -> None:
    record = retrieval_record(found[0])
    scores = "confidence, in_scope_score, in_scope_threshold, out_of_scope, intent_has_rows"
    assert ", ".join(record) == f"id, ticket, predicted_intent, {scores}, intents, neighbours, exemplars, tied"
    assert ", ".join(record["intents"][0]) == "intent, probability, regression, ticket_vote, reply_vote, bm25"
    keys = "id, intent, cosine, vote_share, reply_cosine, bm25, exemplar_score, shared_words"
    assert ", ".join(record["neighbours"][0]) == keys
    assert record["confidence"] == record["intents"][0]["probability"] == round(found[0].confidence, 5)
    assert record["exemplars"] == [row.id for row in found[0].exemplars]
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_a_reply_prompt_shows_exemplars_best_last_next_to_the_ticket() -> None:
    prompt = reply_prompt_text("seat?", ROWS[:2], intent="billing.seat")
    assert prompt.user == (
        f"Stored replies:\n\nintent: billing.seat\nreply: {ROWS[1].ideal_reply}\n\n"
        f"intent: billing.seat\nreply: {ROWS[0].ideal_reply}\n\nTicket:\nseat?"
    )
    assert prompt.assistant == "intent: billing.seat\nreply:"
    assert reply_prompt_text("seat?", [], intent="x").user == "Ticket:\nseat?"


def test_a_ticket_request_holds_the_stored_reply_or_else_the_ticket() -> None:
    assert ROWS[0].ideal_reply in ticket_request(ROWS[0])
    assert ROWS[0].text not in ticket_request(ROWS[0])
    assert ROWS[0].text in ticket_request(replace(ROWS[0], ideal_reply=""))


def test_a_reply_prompt_says_what_the_intents_that_it_names_are_about_once_each_and_cut() -> None:
    plain = reply_prompt_text("seat?", ROWS[:3], intent="security.audit")
    about = {"billing.seat": "Seats  and\nguests.", "security.audit": "x" * 500, "data.export": "Not named here."}
    prompt = reply_prompt_text("seat?", ROWS[:3], intent="security.audit", descriptions=about)
    beginning, _, rest = prompt.user.partition("\n\n")
    assert rest == plain.user
    assert beginning.split("\n") == ["Intents:", "billing.seat: Seats and guests.", f"security.audit: {'x' * 199}…"]
    assert (prompt.system, prompt.assistant) == (plain.system, plain.assistant)
    assert reply_prompt_text("seat?", ROWS[:3], intent="a", descriptions={"other": "x"}).user == plain.user
