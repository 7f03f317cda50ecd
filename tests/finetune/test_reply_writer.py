from dataclasses import replace
from math import inf
from typing import Any

import pytest

from finetune.generate import Generation, Generations
from finetune.prompt import Prompt, prompt_writer
from finetune.reply_writer import WrittenReplies, max_reply_tokens, write_replies
from retrieval.exemplars import EXEMPLARS
from retrieval.prediction import copy_reply
from retrieval.retrieve import IntentScore, Retrieval
from retrieval.tickets import Ticket
from tests.fakes import ROWS, base
from tests.finetune.helpers import no_memory, writer_for


def retrieval(ticket: str = "v", text: str = "why?") -> Retrieval:
    return Retrieval(Ticket(ticket, text), (IntentScore("billing.seat", 1.0, {}),), 1.0, 0.3, (), ROWS[:2])


def test_a_draft_that_fails_the_check_is_replaced_by_the_first_exemplars_reply() -> None:
    tiny = base()
    found = write_replies([retrieval()], tiny.model, tiny, writer_for(tiny), max_new_tokens=6, exemplars=EXEMPLARS)
    reply = found.replies["v"]  # random weights never end a turn
    assert found.complete
    assert (reply.source, reply.text) == ("replaced", ROWS[0].ideal_reply)
    assert "it never ended" in reply.findings
    assert reply.draft
    assert reply.tokens > 0


def drafts(patch: pytest.MonkeyPatch, texts: dict[str, str]) -> None:
    """Lets the model write these texts."""

    def written(_: Any, __: Any, prompts: list[Prompt], **___: Any) -> Generations:
        return Generations({prompt.row_id: Generation(texts[prompt.row_id], 9, 0.5, True) for prompt in prompts})

    patch.setattr("finetune.reply_writer.generate", written)


def test_a_draft_that_passes_the_check_is_the_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = base()
    drafts(monkeypatch, {"good": "One more seat is $12.", "bad": "One more seat is $13."})
    tickets = [retrieval("good"), retrieval("bad")]
    found = write_replies(tickets, tiny.model, tiny, writer_for(tiny), max_new_tokens=6, exemplars=EXEMPLARS).replies
    assert (found["good"].source, found["good"].text, found["good"].seconds) == ("generated", "One more seat is $12.", 0.5)
    assert (found["bad"].source, found["bad"].draft) == ("replaced", "One more seat is $13.")


def test_where_a_stored_reply_has_lines_like_the_prompts_form_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = base()
    drafts(monkeypatch, {"v": "Please send us:"})  # what would be left of a copy that is cut at its own line
    listing = replace(ROWS[1], ideal_reply="Please send us:\nTicket: its number\nDate: of the order")
    found = replace(retrieval(), exemplars=(ROWS[0], listing))
    assert write_replies([found], tiny.model, tiny, writer_for(tiny), max_new_tokens=6, exemplars=EXEMPLARS).replies == {
        "v": copy_reply(found)
    }
    alone = write_replies([found], tiny.model, tiny, writer_for(tiny), max_new_tokens=6, exemplars=1)
    assert alone.replies["v"].source != "copied", "what is not in the prompt does not matter"


def test_only_what_the_model_was_shown_supports_a_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = base()
    drafts(monkeypatch, {"v": "One more seat is $12.", "w": "Order 77 needs no seat."})
    tickets = [retrieval("v"), retrieval("w", "where is order 77?")]
    found = write_replies(tickets, tiny.model, tiny, writer_for(tiny), max_new_tokens=6, exemplars=1).replies
    assert (found["v"].source, found["w"].source) == ("replaced", "generated"), "the price stands in the second exemplar"


def test_a_ticket_without_tokens_or_time_gets_a_copy() -> None:
    tiny, ticket = base(), retrieval(text="why? " * 50)
    small = prompt_writer(tiny.tokenizer, 100)
    copied = {"v": copy_reply(ticket)}
    assert write_replies([ticket], tiny.model, tiny, small, max_new_tokens=60, exemplars=EXEMPLARS) == WrittenReplies(
        copied, True
    )
    late = write_replies([ticket], tiny.model, tiny, writer_for(tiny), max_new_tokens=6, exemplars=EXEMPLARS, deadline=-inf)
    assert late == WrittenReplies(copied, False)
    assert "the time budget ended the writing" in late.limits[0]


def test_a_ticket_without_memory_gets_a_copy_and_the_run_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = base()
    monkeypatch.setattr(tiny.model, "generate", no_memory)
    tickets = [retrieval("v"), retrieval("w")]
    found = write_replies(tickets, tiny.model, tiny, writer_for(tiny), max_new_tokens=6, exemplars=EXEMPLARS)
    assert found.replies == {ticket.ticket.id: copy_reply(ticket) for ticket in tickets}
    assert found.complete, "a second run with as much memory copies as well, so this is not the deadline's doing"
    assert found.memory_retries > 0
    assert found.limits == (f"memory ran out {found.memory_retries} times while writing",)


def test_a_reply_may_be_a_quarter_longer_than_the_longest_stored_one_within_half_of_the_base() -> None:
    writer = writer_for(base())
    longest = max(len(f" {row.ideal_reply}".encode()) + 1 for row in ROWS)
    assert max_reply_tokens(writer, ROWS) == int(1.25 * longest)
    huge = [replace(ROWS[0], ideal_reply="z" * 900)]
    assert max_reply_tokens(writer, huge) == 320
    assert max_reply_tokens(replace(writer, max_length=200), huge) == 100


def test_a_ticket_whose_intent_has_no_row_gets_a_copy_and_the_model_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = base()
    drafts(monkeypatch, {"known": "One more seat is $12."})  # a prompt of the other ticket would be a KeyError
    tickets = [retrieval("known"), replace(retrieval("rowless"), intent_has_rows=False)]
    found = write_replies(tickets, tiny.model, tiny, writer_for(tiny), max_new_tokens=6, exemplars=EXEMPLARS)
    assert found.complete
    assert (found.replies["known"].source, found.replies["rowless"]) == ("generated", copy_reply(tickets[1]))
