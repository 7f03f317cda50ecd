from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from evaluation import generation
from evaluation.benchmarks import restatements
from evaluation.benchmarks.prompt_variants import RESTATED, answer
from evaluation.benchmarks.restatements import facts_kept, restate, restating_adapter, restating_replies, training_examples
from finetune.base_model import BaseModel
from finetune.generate import Generation, Generations
from finetune.prompt import Prompt
from finetune.training_data import TrainingConfig
from retrieval.intent_classifier import fit_classifier
from retrieval.retrieve import retrieve
from tests.evaluation.samples import tiny_split
from tests.fakes import ROWS, base, train_set

PLAIN = {row.ideal_reply: f"plain {i}" for i, row in enumerate(ROWS)}
CLASSIFIER = fit_classifier(train_set(), with_names=False)


@pytest.fixture(scope="module")
def tiny() -> BaseModel:
    return base()


def writes(monkeypatch: pytest.MonkeyPatch, text: str, *, ended: bool = True) -> list[str]:
    """Makes the model write this; returns the ids of the prompts that it got."""
    asked: list[str] = []

    def fake(model: Any, found: BaseModel, prompts: Sequence[Prompt], **_: Any) -> Generations:
        asked.extend(found.tokenizer.decode(prompt.ids) for prompt in prompts)
        return Generations({prompt.row_id: Generation(text, 1, 0.0, ended) for prompt in prompts})

    monkeypatch.setattr(restatements, "generate", fake)
    return asked


def test_every_stored_reply_is_restated_once_and_one_that_came_out_empty_stays(
    tiny: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = writes(monkeypatch, "plain")
    assert restate([*ROWS, ROWS[0]], tiny) == dict.fromkeys(PLAIN, "plain")
    assert len(asked) == len(PLAIN)
    assert all(row.ideal_reply in prompt for row, prompt in zip(ROWS, asked, strict=True))
    writes(monkeypatch, "")
    assert restate(ROWS, tiny) == {}
    writes(monkeypatch, "plain", ended=False)
    assert restate(ROWS, tiny) == {}


def test_facts_that_the_plain_words_keep_are_counted() -> None:
    assert facts_kept({"Open Billing and choose 3 seats.": "choose 3", "Call 555.": "call"}) == pytest.approx(1 / 3, abs=0.17)
    assert facts_kept({"Pay 12 euros by 7 May.": "12 euros are due", "Take 3 seats.": "3 seats"}) == pytest.approx(2 / 3)
    assert facts_kept({}) == 0.0


def test_a_training_prompt_shows_the_own_reply_restated_and_the_target_is_the_reply_itself(tiny: BaseModel) -> None:
    examples = training_examples(CLASSIFIER, tiny, TrainingConfig(exemplars=2), PLAIN)
    assert len(examples) == len(ROWS)
    for row, example in zip(sorted(ROWS, key=lambda one: one.id), sorted(examples, key=lambda one: one.row_id), strict=True):
        prompt, target = (
            tiny.tokenizer.decode(ids) for ids in (example.ids[: -example.supervised], example.ids[-example.supervised :])
        )
        assert f"reply: {PLAIN[row.ideal_reply]}\n\nTicket:" in prompt, "best last, next to the ticket"
        assert prompt.count("\nreply: plain") == 2
        assert row.ideal_reply in target


def test_a_row_whose_reply_was_not_restated_is_not_learned_from(tiny: BaseModel) -> None:
    first, *others = PLAIN
    examples = training_examples(CLASSIFIER, tiny, TrainingConfig(), {reply: PLAIN[reply] for reply in others})
    assert {example.row_id for example in examples} == {row.id for row in ROWS if row.ideal_reply != first}


def test_drafts_are_written_from_plain_words_and_checked_against_the_stored_replies(
    tiny: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = tiny_split()
    found = retrieve(CLASSIFIER, split.tickets, split.vectors)
    asked = writes(monkeypatch, good := found[0].exemplars[0].ideal_reply)
    first = restating_replies(found, tiny.model, tiny, ROWS, PLAIN, exemplars=2)[0]
    assert (first.text, first.source) == (good, "generated")
    assert all("reply: plain" in prompt and not any(reply in prompt for reply in PLAIN) for prompt in asked)
    writes(monkeypatch, good, ended=False)
    (first, *_) = restating_replies(found, tiny.model, tiny, ROWS, PLAIN, exemplars=2)
    assert (first.source, first.draft) == ("replaced", good)
    (first, *_) = restating_replies(found, tiny.model, replace(tiny, max_length=60), ROWS, PLAIN, exemplars=2)
    assert first.source == "copied", "no prompt fits"


def test_the_variant_restates_trains_and_answers(tiny: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    split, trained = tiny_split(), list[int]()
    writes(monkeypatch, "A seat.")
    monkeypatch.setattr(generation, "train", lambda model, epochs, **_: trained.append(len(epochs)))
    found = retrieve(CLASSIFIER, split.tickets, split.vectors)
    replies, losses = answer(split, CLASSIFIER, found, RESTATED, tiny, seed=0)
    assert (len(replies), losses, trained) == (len(found), [], [TrainingConfig().epochs])
    with restating_adapter(CLASSIFIER, tiny, TrainingConfig(), PLAIN, seed=0, label="x") as model:
        assert type(model).__name__ == "PeftModelForCausalLM"
