"""The nearer reply: a draft that passed the check against the stored one."""

import pytest

from finetune import reply_choice
from finetune.reply_choice import choose_replies, nearness
from retrieval.prediction import Reply
from retrieval.retrieve import IntentScore, Retrieval
from retrieval.tickets import Ticket
from tests.fakes import ROWS, HashEncoder, train_set

TICKET = "do guests need a seat"
STORED = ROWS[0].ideal_reply  # Guests need no seat on any plan.
NEAR = Reply("guests do need a seat", "generated", tokens=9, seconds=0.5)
FAR = Reply("press rotate at once", "generated", tokens=7, seconds=0.25)


def retrieval(name: str = "v", composed: str = "") -> Retrieval:
    return Retrieval(Ticket(name, TICKET), (IntentScore("billing.seat", 1.0, {}),), 1.0, 0.3, (), ROWS[:2], composed=composed)


def chosen(*replies: Reply, composed: str = "") -> list[Reply]:
    encoder = HashEncoder()
    found = [retrieval(f"v{i}", composed) for i in range(len(replies))]
    return choose_replies(found, replies, encoder.encode([TICKET] * len(replies)), train_set(ROWS), encoder)


def test_a_draft_that_is_nearer_to_the_ticket_is_given() -> None:
    assert chosen(NEAR) == [NEAR]


def test_where_the_stored_reply_is_nearer_it_is_given_and_says_why() -> None:
    (reply,) = chosen(FAR)
    assert (reply.text, reply.source, reply.draft, reply.tokens, reply.seconds) == (STORED, "copied", FAR.text, 7, 0.25)
    assert reply.findings[0].startswith("the stored reply is at least as near to the ticket: cosine 0.")


def test_a_draft_competes_with_the_reply_that_would_have_been_composed() -> None:
    (reply,) = chosen(FAR, composed=f"{STORED} One more seat is $12 a month.")
    assert (reply.source, reply.text) == ("composed", f"{STORED} One more seat is $12 a month.")


def test_a_draft_that_says_the_stored_reply_word_for_word_is_a_copy() -> None:
    (reply,) = chosen(Reply(STORED, "generated"))
    assert (reply.source, reply.draft, reply.findings) == ("copied", STORED, ("it is the stored reply, word for word",))


def test_each_reply_is_compared_for_its_own_ticket_and_others_stay() -> None:
    replaced, remote = Reply(STORED, "replaced", ("it is empty",), "x"), Reply("hello", "remote")
    found = chosen(replaced, FAR, remote, NEAR)
    assert (found[0], found[2], found[3]) == (replaced, remote, NEAR)
    assert found[1].source == "copied"


def test_without_a_draft_nothing_is_embedded() -> None:
    encoder, copied = HashEncoder(), Reply(STORED, "copied")
    vectors = encoder.encode([TICKET])
    encoder.asked.clear()
    assert choose_replies([retrieval()], [copied], vectors, train_set(ROWS), encoder) == [copied]
    assert choose_replies([], [], vectors[:0], train_set(ROWS), encoder) == []
    assert encoder.asked == []


def test_stored_replies_are_not_embedded_again() -> None:
    encoder = HashEncoder()
    rows = train_set(ROWS)
    near = nearness([STORED, "new", "new"], encoder.encode([TICKET] * 3), rows, encoder)
    assert encoder.asked.count("new") == 1
    assert STORED not in encoder.asked
    assert near == pytest.approx([encoder.encode([text])[0] @ encoder.encode([TICKET])[0] for text in (STORED, "new", "new")])


@pytest.mark.parametrize(("margin", "source"), [(-2.0, "generated"), (2.0, "copied")])
def test_the_margin_decides(margin: float, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply_choice, "MARGIN", margin)
    assert {reply.source for reply in chosen(NEAR, FAR)} == {source}
