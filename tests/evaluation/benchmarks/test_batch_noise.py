import pytest
import torch

from evaluation.benchmarks.batch_noise import logit_movement, measure
from retrieval.retrieve import retrieve
from retrieval.tickets import Ticket
from tests.fakes import HashEncoder, base
from tests.finetune.helpers import classifier_for, writer_for

TICKETS = [Ticket("v1", "a guest seat?"), Ticket("v2", "my token is gone, and everybody has seen it")]


def test_an_fp32_base_answers_together_as_alone_and_its_logits_hardly_move() -> None:
    found = retrieve(classifier_for(), TICKETS, HashEncoder().encode([ticket.text for ticket in TICKETS]))
    measured = measure(base(), found, tokens=8)
    assert (measured["precision"], measured["tickets"], measured["replies that differ"]) == ("fp32", 2, 0)
    assert measured["logits move by"] < 1e-4


def test_the_largest_difference_of_any_logit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = base()
    writer = writer_for(tiny)
    prompts = [writer.prompt(one.id, one.text, (), intent="a", max_new_tokens=8) for one in TICKETS]
    real = tiny.model.forward

    def disturbed(**given: torch.Tensor) -> object:
        out = real(**given)
        if len(given["input_ids"]) > 1:
            out.logits[1, -1, 3] += 2.0
        return out

    monkeypatch.setattr(tiny.model, "forward", disturbed)
    assert logit_movement(tiny, prompts) == pytest.approx(2.0, abs=1e-3)
