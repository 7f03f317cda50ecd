"""The language model as run.py uses it: which base it ends with, and what it lets its gates allow."""

import json
from collections.abc import Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pytest

from finetune import language_model, lora
from finetune.base_model import BaseModel
from finetune.base_selection import QWEN_1_5B, QWEN_7B, BaseCandidate, candidates
from finetune.distributed import SINGLE_PROCESS, Processes
from finetune.fit import FineTuned
from finetune.language_model import LanguageModel, fit_language_model
from finetune.memory import OutOfMemory
from retrieval.command_line import Settings
from retrieval.errors import ModelUnavailable
from retrieval.prediction import copy_reply
from retrieval.progress import Group
from retrieval.retrieve import Retrieval, retrieve
from retrieval.tickets import Ticket
from tests.fakes import HashEncoder, base
from tests.finetune.helpers import classifier_for, no_memory, score_every_ticket, undisturbed

FULL, QUANTISED, SMALLER = f"{QWEN_7B[0]} in bf16", f"{QWEN_7B[0]} in nf4", f"{QWEN_1_5B[0]} in bf16"
HERE = Path()


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A large GPU for which every base can be loaded; the candidates that were tried."""
    return machine(monkeypatch, {})


def machine(patch: pytest.MonkeyPatch, outcomes: dict[str, Exception], *, gib: float | None = 40.0) -> list[str]:
    """Lets loading come to these outcomes, by the candidate's label; returns the list of what was tried."""
    tried: list[str] = []

    def loaded(candidate: BaseCandidate, *, deadline: float) -> BaseModel:
        tried.append(candidate.label)
        if error := outcomes.get(candidate.label):
            raise error
        return base()

    patch.setattr(language_model, "load_candidate", loaded)
    patch.setattr(language_model, "free_gpu_gib", lambda: gib)
    patch.setattr(language_model, "cpu_runs_large", lambda: False)
    patch.setattr(language_model, "deterministic_kernels", lambda: None)  # it stays for all later tests, and takes 2 s
    return tried


def tuning(patch: pytest.MonkeyPatch, *outcomes: Exception | FineTuned) -> list[Any]:
    """Lets fine-tuning come to these outcomes, one after the other, the last again and again; returns the options it got."""
    left, asked = list(outcomes), list[Any]()

    def tuned(*given: Any, **options: Any) -> FineTuned:
        asked.append(options)
        found = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(found, Exception):
            raise found
        return found

    patch.setattr(language_model, "fine_tune", tuned)
    return asked


def fitted(choice: str = "auto", *, budget: float = 1e9) -> LanguageModel:
    settings = Settings(HERE, HERE, HERE, HERE, base_model=choice, encoder="auto", seed=0, time_budget_s=budget)
    return fit_language_model(settings, classifier_for(), HashEncoder())


@pytest.mark.parametrize(
    ("fast", "budget", "expected"),
    [(True, 900.0, "qwen2.5-coder-1.5b in bf16"), (True, 899.0, "smollm2-135m"), (False, 1e9, "smollm2-135m")],
)
def test_auto_on_a_cpu_depends_on_its_speed_and_the_time_budget(
    fast: bool, budget: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = machine(monkeypatch, {}, gib=None)
    monkeypatch.setattr(language_model, "cpu_runs_large", lambda: fast)
    tuning(monkeypatch, undisturbed())
    fitted(budget=budget)
    assert tried == [expected]


def test_processes_with_different_encoders_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class TwoProcesses(Processes):
        def gather(self, mine: Any) -> list[Any]:
            return [mine, "another"]

    monkeypatch.setattr(language_model, "start_processes", lambda **_: TwoProcesses())
    with pytest.raises(ModelUnavailable, match="found different encoders, another and hash: fetch it on every machine"):
        fitted()


def test_auto_goes_to_the_next_candidate_with_the_reason_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = machine(monkeypatch, {FULL: ModelUnavailable("no network"), QUANTISED: ModelUnavailable("no disk")})
    tuning(monkeypatch, undisturbed())
    found = fitted()
    assert tried == [FULL, QUANTISED, SMALLER]
    assert found.reasons == found.warnings == ("no network", "no disk")
    assert found.base is not None
    assert (found.out_of_memory, found.limits()) == (False, ())


def test_memory_that_runs_out_while_loading_or_training_leads_to_the_next_candidate_and_is_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine(monkeypatch, {FULL: OutOfMemory("the base model does not fit into memory")})
    tuning(monkeypatch, OutOfMemory("a row of 900 tokens does not fit into memory"), undisturbed())
    found = fitted()
    assert found.reasons == (
        f"{FULL} was given up: the base model does not fit into memory",
        f"{QUANTISED} was given up: a row of 900 tokens does not fit into memory",
    )
    assert (found.base is not None, found.out_of_memory) == (True, True)
    assert "memory ran out" in found.limits()[0]


def test_memory_that_runs_out_for_a_real_adapter_leads_to_the_next_candidate(
    tried: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = lora.get_peft_model

    def attached(*given: Any, **options: Any) -> Any:
        return no_memory() if len(tried) == 1 else real(*given, **options)

    monkeypatch.setattr(lora, "get_peft_model", attached)
    found = fitted()
    assert tried == [FULL, QUANTISED]
    assert found.reasons == (f"{FULL} was given up: the adapter does not fit into memory",)
    assert found.tuned is not None
    assert found.tuned.model is not None
    assert len(found.gates) == 3


@pytest.mark.parametrize(("error", "short"), [(ModelUnavailable("gone"), False), (OutOfMemory("gone"), True)])
def test_under_the_last_candidate_lies_retrieval_alone(error: Exception, short: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, {candidate.label: error for candidate in candidates("auto", 40.0)})
    found = fitted()
    assert (found.base, found.tuned, found.out_of_memory, found.gates) == (None, None, short, ())
    assert found.reasons[-1].startswith("retrieval alone: ")
    assert found.reasons[-1].endswith("gone")
    assert found.record()["base"] == {"name": "none"}
    assert (found.intent_scorer(), found.write_replies([]), found.losses()) == (None, None, None)


def test_a_named_base_that_cannot_be_loaded_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, {"a/b in bf16": ModelUnavailable("x"), "a/b in nf4": ModelUnavailable("y")})
    with pytest.raises(ModelUnavailable, match="x; y"):
        fitted("a/b")


def test_a_named_base_without_memory_to_train_leaves_retrieval_alone(tried: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    tuning(monkeypatch, OutOfMemory("too small"))
    found = fitted("a/b")
    assert tried == ["a/b in bf16", "a/b in nf4"]
    assert (found.base, found.out_of_memory) == (None, True)


def test_stages_end_in_their_order_within_the_time_budget(tried: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tuning(monkeypatch, undisturbed())
    found = fitted(budget=1000.0)
    deadlines = asked[0]["deadlines"]
    assert deadlines.loading < deadlines.scoring < deadlines.training < deadlines.evidence < found.deadline
    assert found.deadline - deadlines.loading < 1000.0


def retrievals(*texts: str) -> Sequence[Retrieval]:
    tickets = [Ticket(f"v{i}", text) for i, text in enumerate(texts)]
    return retrieve(classifier_for(), tickets, HashEncoder().encode(texts))


def model_with(*, deadline: float = inf, **changes: Any) -> LanguageModel:
    tuned = replace(undisturbed(), **changes)
    return LanguageModel(base(), tuned, (), tuned.memory_retries > 0, SINGLE_PROCESS, deadline)


def test_what_its_gates_keep_out_is_not_used() -> None:
    found = model_with()
    assert (found.intent_scorer(), found.write_replies(retrievals("guest seat"))) == (None, None)


@pytest.mark.parametrize(
    ("changes", "left_out"),
    [
        ({}, {Group.SCORES, Group.REPLIES}),
        ({"lm_weight": 0.4}, {Group.REPLIES}),
        ({"generates": True}, {Group.SCORES}),
        ({"lm_weight": 0.4, "generates": True}, set()),
    ],
)
def test_the_remaining_time_counts_what_the_gates_let_answer(changes: dict[str, Any], left_out: set[Group]) -> None:
    assert set(model_with(**changes).left_out) == left_out


def test_without_a_base_no_part_of_the_model_is_waited_for() -> None:
    assert set(LanguageModel(None, None, ("no base",), False, SINGLE_PROCESS, inf).left_out) == {Group.SCORES, Group.REPLIES}


def test_what_ended_answering_early_is_said_once_however_often_it_happens() -> None:
    found = model_with()
    found.note(["the time budget ended it"])
    found.note(["the time budget ended it", "memory ran out"])
    assert found.limits()[:2] == ("the time budget ended it", "memory ran out")


def test_lm_scores_with_a_weight_move_the_probabilities_of_new_tickets(monkeypatch: pytest.MonkeyPatch) -> None:
    score_every_ticket(monkeypatch)
    scorer = model_with(lm_weight=0.5).intent_scorer()
    assert scorer is not None
    ticket, encoder = Ticket("v", "leaked seat"), HashEncoder()
    (plain,) = retrieve(classifier_for(), [ticket], encoder.encode([ticket.text]))
    (moved,) = retrieve(classifier_for(), [ticket], encoder.encode([ticket.text]), lm_scorer=scorer)
    assert [score.lm_score is not None for score in moved.intents] == [True, True]
    before, after = ({score.intent: score.probability for score in found.intents} for found in (plain, moved))
    assert before != after
    assert sum(after.values()) == pytest.approx(1.0)


def test_replies_are_written_in_the_order_of_the_tickets_and_after_the_deadline_copied() -> None:
    found = retrievals("a long question about the seat of a guest", "token")
    replies = model_with(generates=True).write_replies(found)
    assert replies is not None
    assert {reply.source for reply in replies} <= {"generated", "replaced"}
    late = model_with(generates=True, deadline=-inf)
    assert late.write_replies(found) == [copy_reply(one) for one in found]
    assert "the time budget ended the writing" in late.limits()[0]
    assert "a second run may answer otherwise" in late.limits()[-1]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"timed_out": True}, "the time budget cut the training"), ({"memory_retries": 1}, "memory ran out")],
)
def test_what_time_or_memory_decided_is_told(changes: dict[str, Any], expected: str) -> None:
    assert model_with().limits() == ()
    assert expected in model_with(**changes).limits()[0]


def test_the_record_says_what_was_used_and_is_json() -> None:
    found = model_with()
    record = json.loads(json.dumps(found.record(), allow_nan=False))
    assert undisturbed().run is not None
    assert record["memory_plan"] == {"micro_batch": 2, "recompute": False}
    assert record["losses"] == list(undisturbed().run.losses)
    assert (record["base"]["name"], record["scale"], record["processes"]) == ("tiny", 1.0, 1)
    losses = found.losses()
    assert losses is not None
    assert (expected := undisturbed().losses) is not None
    assert losses[0] == (expected.seen, expected.unseen)
    assert "without the row's own reply" in losses[1]
    assert model_with(losses=None).losses() is None


def test_the_adapter_is_saved_at_its_scale_and_without_an_adapter_nothing_is(tmp_path: Path) -> None:
    model_with(model=None).save(tmp_path)
    assert list(tmp_path.iterdir()) == []
    model_with(scale=0.5).save(tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["lora_alpha"] == 16
