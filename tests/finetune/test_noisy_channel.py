"""LM intent scores: what a score is, what is asked once, and which tickets get none."""

from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from finetune import noisy_channel
from finetune.base_model import BaseModel
from finetune.distributed import Processes
from finetune.lora import attach
from finetune.memory import OutOfMemory
from finetune.noisy_channel import MEASURED, UNSURE, NoisyChannel, log_likelihoods, scoring_for
from finetune.prompt import prompt_writer
from retrieval.known_models import QWEN_CODER, SMOLLM
from retrieval.prompt_text import ticket_request
from retrieval.retrieve import IntentQuestion, retrieve
from retrieval.tickets import LabelledTicket, Ticket
from tests.fakes import ROWS, HashEncoder, base
from tests.finetune.helpers import classifier_for, no_memory, score_every_ticket, writer_for


def question(ticket: str, text: str = "why?", rows: tuple[LabelledTicket, ...] = ROWS[:4]) -> IntentQuestion:
    return IntentQuestion(Ticket(ticket, text), rows, confidence=0.5)


def scorer(tiny: BaseModel, **options: Any) -> NoisyChannel:
    return NoisyChannel(tiny.model, writer_for(tiny), 1.0, **{"given": ("reply",)} | options)


def whole_text(tiny: BaseModel, prompt: list[int], ticket: list[int]) -> float:
    """The log-likelihood of a ticket computed in the plainest way."""
    ids = torch.tensor([[*prompt, *ticket]])
    with torch.inference_mode():
        logits = tiny.model(input_ids=ids).logits[0, :-1].log_softmax(-1)
    return logits.gather(1, ids[0, 1:, None])[-len(ticket) :].sum().item()


def test_likelihoods_upon_a_cached_prompt_are_those_of_the_whole_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noisy_channel, "BATCH_TOKENS", 40)  # several batches, and padding within them
    tiny = base()
    writer = writer_for(tiny)
    prompt = writer.request(ticket_request(ROWS[2]), max_new_tokens=40)
    tickets = [writer.continuation(text) for text in ("a long ticket about a token", "seat?", "x", "more seats")]
    found = log_likelihoods(tiny.model, prompt, tickets)
    assert found == [pytest.approx(whole_text(tiny, prompt, ticket), abs=1e-3) for ticket in tickets]
    assert log_likelihoods(tiny.model, prompt, [[], [7]])[0] == 0.0, "a ticket without a token"


def test_an_intent_has_the_score_of_its_best_row_of_the_ticket_given_the_reply() -> None:
    tiny = base()
    writer = writer_for(tiny)
    found = scorer(tiny).score([question("v1", "one more seat")])["v1"]
    ticket = writer.continuation("one more seat")
    of_row = [whole_text(tiny, writer.request(ticket_request(row), max_new_tokens=9), ticket) for row in ROWS[:4]]
    assert found == {
        "billing.seat": pytest.approx(max(of_row[:2]), abs=1e-3),
        "api.token": pytest.approx(max(of_row[2:]), abs=1e-3),
    }


def test_every_ticket_is_scored_and_each_stored_reply_goes_through_the_base_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, compute = list[int](), noisy_channel.log_likelihoods

    def counted(model: Any, prompt: Any, tickets: Any) -> list[float]:
        asked.append(len(tickets))
        return compute(model, prompt, tickets)

    monkeypatch.setattr(noisy_channel, "log_likelihoods", counted)
    found = scorer(base())
    scores = found.score([question("v1", "why?"), question("v2", "how?"), question("v3", "how?")])
    assert set(scores) == {"v1", "v2", "v3"}
    assert scores["v2"] == scores["v3"]
    assert asked == [2] * 4, "four replies, two different tickets"
    assert (found.timed_out, found.without_memory, found.limits) == (False, 0, ())


def test_a_ticket_is_scored_to_its_limit_and_no_further() -> None:
    long = "seat " * 200
    scores = scorer(base()).score([question("v1", long), question("v2", long + "and more")])
    assert scores["v1"] == scores["v2"]


def test_an_adapter_on_the_base_is_off_while_scoring_and_on_again_afterwards() -> None:
    tiny = base()
    bare = scorer(tiny).score([question("v")])
    model = attach(tiny, seed=0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.ones_(weight)
    ids = torch.tensor([[1, 2, 3]])
    with torch.inference_mode():
        before = model(input_ids=ids).logits
        assert NoisyChannel(model, writer_for(tiny), 1.0, ("reply",)).score([question("v")]) == bare
        assert torch.equal(model(input_ids=ids).logits, before)
    assert scorer(tiny).score([question("v")]) != bare, "the adapter would change the scores"


def test_scores_reach_the_tickets_that_are_retrieved(monkeypatch: pytest.MonkeyPatch) -> None:
    score_every_ticket(monkeypatch)
    encoder, ticket = HashEncoder(), Ticket("v", "one more seat")
    (found,) = retrieve(classifier_for(), [ticket], encoder.encode([ticket.text]), lm_scorer=scorer(base()))
    assert {score.intent for score in found.intents if score.lm_score is not None} == {"billing.seat", "api.token"}


def test_control_tokens_in_ticket_and_reply_are_scored_as_text() -> None:
    tiny = base()
    rows = tuple(replace(row, ideal_reply=f"<|im_end|>{row.ideal_reply}") for row in ROWS[:4])
    found = scorer(tiny).score([question("v", "<|im_end|> why?", rows)])
    assert all(score < 0 for score in found["v"].values())
    assert not {*writer_for(tiny).continuation("<|im_end|> why?")} & {*writer_for(tiny).controls}


def test_a_ticket_with_a_row_that_is_too_long_gets_no_score_and_that_is_no_limit_of_the_run() -> None:
    tiny = base()
    found = NoisyChannel(tiny.model, prompt_writer(tiny.tokenizer, 60), 1.0, ("reply",))
    assert found.score([question("v")]) == {}
    assert found.limits == ()


def test_after_the_deadline_nothing_is_scored_and_the_run_says_so() -> None:
    found = scorer(base(), deadline=-inf)
    assert found.score([question("v")]) == {}
    assert found.timed_out
    assert "the time budget ended" in found.limits[0]


def prompt_pass(patch: pytest.MonkeyPatch, tiny: BaseModel) -> None:
    patch.setattr(tiny.model, "forward", no_memory)


def tickets_pass(patch: pytest.MonkeyPatch, _: BaseModel) -> None:
    patch.setattr(DynamicCache, "batch_repeat_interleave", no_memory)


@pytest.mark.parametrize("runs_out", [prompt_pass, tickets_pass])
def test_tickets_without_memory_get_no_score_and_the_run_says_so(
    runs_out: Callable[[pytest.MonkeyPatch, BaseModel], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = base()
    found = scorer(tiny)
    with monkeypatch.context() as patch:
        runs_out(patch, tiny)
        assert found.score([question("v1"), question("v2", "how?")]) == {}
        with pytest.raises(OutOfMemory, match="scoring tickets does not fit"):
            log_likelihoods(tiny.model, [1, 2], [(1, 2)])
    assert found.without_memory == 2
    assert "memory ran out for the LM intent scores of 2 different tickets" in found.limits[0]
    assert set(found.score([question("v3")])) == {"v3"}


@pytest.mark.parametrize("with_names", [True, False])
@pytest.mark.parametrize("known", [SMOLLM, QWEN_CODER])
def test_a_measured_base_scores_as_measured_and_others_as_the_one_of_their_size(known: Any, with_names: bool) -> None:
    size = 135_000_000 if known == SMOLLM else 7_000_000_000
    measured = scoring_for(replace(base(), parameters=size, digest=f"sha256:{known.sha256}"), with_names=with_names)
    other = scoring_for(replace(base(), parameters=size, digest="commit:1"), with_names=with_names)
    assert measured.given == other.given
    assert ("name" in measured.given) == with_names
    assert measured.weight.value == other.weight.value == MEASURED[known.sha256, with_names][1]
    assert measured.weight.origin == "was measured with this base"
    assert other.weight.origin == f"is that of {known.name}, not measured with this base"


def test_all_processes_score_what_the_first_one_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, first = [question("v1"), question("v2")], [question("v2")]

    def gather(_: Processes, value: Any) -> list[Any]:
        return [first if value is mine else value]

    monkeypatch.setattr(Processes, "gather", gather)
    assert set(scorer(base()).score(mine)) == {"v2"}


def test_given_the_names_the_base_is_asked_once_for_each_intent(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, prompts = base(), list[str]()
    compute = noisy_channel.log_likelihoods

    def noted(model: Any, prompt: Any, tickets: Any) -> list[float]:
        prompts.append(tiny.tokenizer.decode(prompt))
        return compute(model, prompt, tickets)

    monkeypatch.setattr(noisy_channel, "log_likelihoods", noted)
    scores = scorer(tiny, given=("name",)).score([question("v1"), question("v2", "seats?")])
    assert [set(of_ticket) for of_ticket in scores.values()] == [{"billing.seat", "api.token"}] * 2
    assert len(prompts) == 2, "four rows of two intents"
    assert all(f"about this: {name}." in prompt for name, prompt in zip(("billing seat", "api token"), prompts, strict=True))


def test_given_name_and_reply_the_scores_are_added_up_for_tickets_that_are_unsure_enough_for_both() -> None:
    tiny, both = base(), ("name", "reply")
    each = [scorer(tiny, given=given).score([question("v")])["v"] for given in (("name",), ("reply",), both)]
    of_name, of_reply, of_both = each
    assert of_both == pytest.approx({intent: of_name[intent] + of_reply[intent] for intent in of_name})
    surer = replace(question("v"), confidence=(UNSURE["name"] + UNSURE["reply"]) / 2)
    assert scorer(tiny, given=both).score([surer])["v"] == of_name
    assert scorer(tiny, given=both).below == UNSURE["name"]


def test_a_ticket_that_cannot_be_scored_given_both_gets_no_score() -> None:
    tiny = base()
    found = NoisyChannel(tiny.model, prompt_writer(tiny.tokenizer, 260), 1.0, ("name", "reply"))
    assert found.score([question("v")]) == {}, "a name is short enough for this base and a reply is not"
    assert NoisyChannel(tiny.model, prompt_writer(tiny.tokenizer, 260), 1.0, ("name",)).score([question("v")]) != {}


def test_name_and_reply_are_shown_as_one_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr("finetune.noisy_channel.bar", lambda items, label: shown.append((label, len(items))) or items)
    scorer(base(), given=("name", "reply")).score([question("v1")])
    names, replies = {row.intent for row in ROWS[:4]}, {row.ideal_reply for row in ROWS[:4]}
    assert shown == [("LM intent scores", len(names) + len(replies))]
