import numpy as np
import pytest
import torch

from finetune.intent_likelihood import CANDIDATES, ask_intents, intent_question, likelihoods, lm_scores_on
from finetune.prompt import prompt_writer
from retrieval.cross_validation import out_of_fold_scores
from retrieval.intent_classifier import fit_classifier
from retrieval.tickets import Ticket
from tests.fakes import ROWS, HashEncoder, base, train_set


def test_likelihoods_upon_a_cached_prompt_are_those_of_the_whole_text() -> None:
    tiny = base()
    writer = prompt_writer(tiny.tokenizer, tiny.max_length)
    names = [writer.name(intent) for intent in ("a", "billing.seat", "api.token.of.a.long.name")]
    prompt = writer.intent_prompt("v", "why?", ROWS[:2], max_new_tokens=40)
    found = likelihoods(tiny.model, prompt, names)
    for name, likelihood in zip(names, found, strict=True):
        ids = torch.tensor([[*prompt.ids, *name]])
        with torch.inference_mode():
            logits = tiny.model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        whole = logits.gather(1, ids[0, 1:, None])[-len(name) :].sum().item()
        assert likelihood == pytest.approx(whole, abs=1e-3)


def test_a_name_that_begins_another_one_ends_with_its_line() -> None:
    writer = prompt_writer(base().tokenizer, 1024)
    short, long = writer.name("billing"), writer.name("billing.seat")
    assert short != long[: len(short)]


def test_a_train_row_never_shows_its_own_intent_by_itself() -> None:
    classifier = fit_classifier(train_set(), with_names=True)
    intent_scores = out_of_fold_scores(classifier)
    for number, row in enumerate(ROWS):
        question = intent_question(classifier.train_set, intent_scores, number, row.id, row.text, own=number)
        assert row not in question.exemplars
        assert len(question.candidates) == len(classifier.train_set.intents) <= CANDIDATES
        assert question.exemplars[0].intent == question.candidates[0]


def test_every_question_that_fits_is_answered_before_the_deadline_and_none_after() -> None:
    tiny, classifier = base(), fit_classifier(train_set(), with_names=True)
    writer = prompt_writer(tiny.tokenizer, tiny.max_length)
    tickets = [Ticket("v1", "one more seat"), Ticket("v2", "leaked token")]
    vectors = HashEncoder().encode([ticket.text for ticket in tickets])
    found, complete = lm_scores_on(classifier, tickets, vectors, tiny.model, writer, weight=1.0, deadline=float("inf"))
    assert complete
    assert {key: set(value) for key, value in found.of_ticket.items()} == {
        i: set(classifier.train_set.intents) for i in ("v1", "v2")
    }
    assert not np.isnan(found.matrix(["v1"], classifier.train_set.intents)).any()
    question = intent_question(classifier.train_set, classifier.score(vectors, [t.text for t in tickets]), 0, "v1", "x" * 90)
    assert ask_intents([question], tiny.model, writer, deadline=0.0) == ({}, False)
    small = prompt_writer(tiny.tokenizer, 60)
    assert ask_intents([question], tiny.model, small) == ({}, True), "a row that does not fit is the classifier's alone"
