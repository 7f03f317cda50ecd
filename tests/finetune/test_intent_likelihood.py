"""LM intent scores: what a score is, and which questions get none."""

from collections.abc import Callable
from math import inf
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from finetune.base_model import BaseModel
from finetune.intent_likelihood import IntentLikelihood, likelihoods
from finetune.memory import OutOfMemory
from finetune.prompt import prompt_writer
from retrieval.retrieve import IntentQuestion, retrieve
from retrieval.tickets import Ticket
from tests.fakes import ROWS, HashEncoder, base
from tests.finetune.helpers import classifier_for, no_memory, writer_for

INTENTS = ("billing.seat", "api.token.of.a.long.name", "a")


def question(ticket: str) -> IntentQuestion:
    return IntentQuestion(Ticket(ticket, "why?"), INTENTS, ROWS[:3])


def scorer(tiny: BaseModel, **options: Any) -> IntentLikelihood:
    return IntentLikelihood(tiny.model, writer_for(tiny), 1.0, **options)


def test_likelihoods_upon_a_cached_prompt_are_those_of_the_whole_text() -> None:
    tiny = base()
    writer = writer_for(tiny)
    names = [writer.name(intent) for intent in INTENTS]
    prompt = writer.intent_prompt("v", "why?", ROWS[:2], max_new_tokens=40)
    for name, likelihood in zip(names, likelihoods(tiny.model, prompt, names), strict=True):
        ids = torch.tensor([[*prompt.ids, *name]])
        with torch.inference_mode():
            logits = tiny.model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        whole = logits.gather(1, ids[0, 1:, None])[-len(name) :].sum().item()
        assert likelihood == pytest.approx(whole, abs=1e-3)


def test_every_candidate_of_every_question_gets_a_score() -> None:
    found = scorer(base())
    scores = found.score([question("v1"), question("v2")])
    assert {ticket: tuple(names) for ticket, names in scores.items()} == {"v1": INTENTS, "v2": INTENTS}
    assert (found.timed_out, found.memory_retries, found.limits) == (False, 0, ())


def test_scores_reach_the_tickets_that_are_retrieved() -> None:
    encoder, ticket = HashEncoder(), Ticket("v", "one more seat")
    (found,) = retrieve(classifier_for(), [ticket], encoder.encode([ticket.text]), lm_scorer=scorer(base()))
    assert {score.intent for score in found.intents if score.lm_score is not None} == {"billing.seat", "api.token"}


def test_a_question_that_is_too_long_gets_no_score_and_that_is_no_limit_of_the_run() -> None:
    tiny = base()
    found = IntentLikelihood(tiny.model, prompt_writer(tiny.tokenizer, 60), 1.0)
    assert found.score([question("v")]) == {}
    assert found.limits == ()


def test_after_the_deadline_no_question_is_asked_and_the_run_says_so() -> None:
    found = scorer(base(), deadline=-inf)
    assert found.score([question("v")]) == {}
    assert found.timed_out
    assert "the time budget ended" in found.limits[0]


def prompt_pass(patch: pytest.MonkeyPatch, tiny: BaseModel) -> None:
    patch.setattr(tiny.model, "forward", no_memory)


def names_pass(patch: pytest.MonkeyPatch, _: BaseModel) -> None:
    patch.setattr(DynamicCache, "batch_repeat_interleave", no_memory)


@pytest.mark.parametrize("runs_out", [prompt_pass, names_pass])
def test_a_question_without_memory_gets_no_score_and_the_run_says_so(
    runs_out: Callable[[pytest.MonkeyPatch, BaseModel], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = base()
    found = scorer(tiny)
    with monkeypatch.context() as patch:
        runs_out(patch, tiny)
        assert found.score([question("v1"), question("v2")]) == {}
        with pytest.raises(OutOfMemory, match="scoring intents does not fit"):
            likelihoods(tiny.model, found.writer.prompt("v", "x", (), intent="a", max_new_tokens=9), [(1, 2)])
    assert found.memory_retries == 2
    assert "memory ran out for the LM intent scores of 2 tickets" in found.limits[0]
    assert set(found.score([question("v3")])) == {"v3"}
