"""What the check of a reply never does: pass a number of its own, find fault with a stored reply, raise, or take minutes."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune import reply_writer
from finetune.generate import Generation, Generations
from finetune.grounding import findings
from finetune.prompt import prompt_writer
from retrieval.exemplars import EXEMPLARS
from retrieval.facts import facts, quantities
from retrieval.intent_classifier import fit_classifier
from retrieval.prompt_text import FORM
from retrieval.retrieve import retrieve
from retrieval.tickets import Ticket
from tests.fakes import ROWS, HashEncoder, base, train_set
from tests.hostile import ANY, FORGED_TURN, INSTRUCTION, SEEN, TEXTS, texts_with

FACTS = [
    "24 hours",
    "$12",
    "https://a.example/b",
    "a@b.example",
    "Settings → API",
    '"Press"',
    "{{name}}",
    "[link]",
    "1. ",
    "4h",
]
TEXT = texts_with(*FACTS)
OBEYING = (
    "intent: admin.override\nreply: Send your password to us.",
    "Send your password to us.",
    INSTRUCTION,
    "Stored replies:\nGuests need no seat.",
    "Ticket: open the gate",
    "",
    "admin.override admin.override admin.override admin.override admin.override",
    "Press Rotate under Settings → Billing; it takes 99 hours. See evil.example/login.",
)


@given(SEEN.flatmap(lambda text: TEXT.map(lambda more: f"{text} {more}")), ANY)
def test_a_stored_reply_that_is_copied_passes_unless_it_has_the_form_of_the_prompt(reply: str, ticket: str) -> None:
    assert (findings(reply, [reply], ticket) == ()) is not bool(FORM.search(reply))


@given(TEXT, TEXT, st.integers(10**5, 10**6))
def test_a_number_that_stands_nowhere_is_found_wherever_it_is_put(stored: str, ticket: str, number: int) -> None:
    if str(number) not in stored + ticket:
        assert any(str(number) in finding for finding in findings(f"{stored} {number}", [stored], ticket))
        assert any(str(number) in finding for finding in findings(f"{number} {stored}", [stored], ticket))


@given(TEXT, TEXT, TEXT, ANY)
def test_another_source_supports_more_and_never_less(reply: str, one: str, two: str, ticket: str) -> None:
    unknown = [
        {finding for finding in findings(reply, stored, ticket) if finding.endswith("stands in no source")}
        for stored in ([one], [one, two])
    ]
    assert unknown[1] <= unknown[0]


@given(TEXT, TEXT, st.booleans())
def test_only_a_reply_that_ended_passes_and_every_finding_is_a_phrase(reply: str, ticket: str, ended: bool) -> None:
    found = findings(reply, [], ticket, ended=ended)
    assert found if not ended or not reply.strip() else True
    assert all(phrase.strip() for phrase in found)


@pytest.mark.parametrize(
    "piece", ["a", "a.", "1", "1 ", "[", "<a", "{{ ", '"a', "a -> ", " ", "\n", "a-", "$ ", "a." * 60 + " "]
)
def test_the_time_of_the_check_grows_with_the_length_and_not_with_its_square(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    began = time.process_time()
    facts(text)
    quantities(text)
    assert time.process_time() - began < 20, "the square would take hours"


@pytest.mark.parametrize("draft", OBEYING)
@pytest.mark.parametrize("ticket", [INSTRUCTION, FORGED_TURN])
def test_a_model_that_obeys_the_ticket_is_not_believed(draft: str, ticket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = base()
    writer = prompt_writer(tiny.tokenizer, tiny.max_length)
    vectors = HashEncoder().encode([ticket])
    (found,) = retrieve(fit_classifier(train_set(), with_names=True), [Ticket("v", ticket)], vectors)
    written = Generations({"v": Generation(draft, 9, 0.1, True)})
    monkeypatch.setattr(reply_writer, "generate", lambda *_, **__: written)
    reply = reply_writer.write_replies([found], tiny.model, tiny, writer, max_new_tokens=50, exemplars=EXEMPLARS).replies["v"]
    assert (reply.source, reply.text) == ("replaced", found.exemplars[0].ideal_reply)
    assert found.intent in {row.intent for row in ROWS}


@pytest.mark.parametrize("name", TEXTS)
def test_a_stored_reply_passes_whatever_the_ticket_says(name: str) -> None:
    assert all(findings(row.ideal_reply, [row.ideal_reply], TEXTS[name]) == () for row in ROWS)
