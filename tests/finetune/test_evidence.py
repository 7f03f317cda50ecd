"""Evidence: which rows an adapter is trained on, which it is judged on, and that nothing of it is left on the model."""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel

from finetune import generate, noisy_channel
from finetune.distributed import SINGLE_PROCESS, Processes
from finetune.evidence import MAX_LOSS_ROWS, fold_rows, gather_evidence
from finetune.fit import FineTuned, make_setup, training_rows
from finetune.gates import scale_gate
from finetune.lora import attach
from finetune.memory import CPU_PLANS
from retrieval.prediction import Reply
from retrieval.retrieve import retrieve_train_rows
from retrieval.train_set import rows_with_siblings
from tests.fakes import ROWS, HashEncoder, base, row, tokenizer
from tests.finetune.helpers import FEW, ONE_EPOCH, Loss, change_loss, classifier_for, fine_tune_few, gate_of

IDS = {row.id for row in FEW}
OPTIONS: Any = {"seed": 0, "processes": SINGLE_PROCESS}


@dataclass
class Seen:
    """By adapter, the ids of the rows that it was trained on, and of those that it was asked about."""

    trained: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    measured: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    scored: list[tuple[str, bool]] = field(default_factory=list)  # a prompt's text, and whether an adapter was there
    answered: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


def watch(patch: pytest.MonkeyPatch) -> Seen:
    seen, likelihoods, batch_of = Seen(), noisy_channel.log_likelihoods, generate._generate_batch

    def measured(loss: Loss, model: Any, batch: Any) -> torch.Tensor:
        kind = seen.trained if torch.is_grad_enabled() else seen.measured
        kind[model.active_adapter].update(example.row_id for example in batch)
        return loss(model, batch)

    def scored(model: Any, prompt: Any, tickets: Any) -> list[float]:
        seen.scored.append((tokenizer().decode(prompt), isinstance(model, PeftModel)))
        return likelihoods(model, prompt, tickets)

    def answered(job: Any, batch: Any) -> Any:
        seen.answered[job.model.active_adapter].update(prompt.row_id for prompt in batch)
        return batch_of(job, batch)

    change_loss(patch, measured)
    patch.setattr(noisy_channel, "log_likelihoods", scored)
    patch.setattr(generate, "_generate_batch", answered)
    return seen


@pytest.fixture(scope="module")
def watched() -> tuple[Seen, FineTuned]:
    with pytest.MonkeyPatch.context() as patch:
        return watch(patch), fine_tune_few()


def test_a_row_is_judged_by_an_adapter_that_was_not_trained_on_it(watched: tuple[Seen, FineTuned]) -> None:
    seen, _ = watched
    for fold in ("fold0", "fold1"):
        assert seen.trained[fold] == IDS - seen.measured[fold]
        assert seen.measured[fold] == seen.answered[fold]
        assert len(seen.trained[fold]) == 2


def test_every_row_is_judged_once_and_the_final_adapter_learns_from_all(watched: tuple[Seen, FineTuned]) -> None:
    seen, tuned = watched
    for kind in (seen.measured, seen.answered):
        assert kind["fold0"] | kind["fold1"] == IDS
        assert not kind["fold0"] & kind["fold1"]
    assert seen.trained["final"] == IDS
    assert set(seen.trained) == {"final", "fold0", "fold1"}
    assert gate_of(tuned, "replies").n == 0, "random weights end no turn, and a replaced draft is no evidence"


def test_the_bare_base_scores_the_rows_given_the_name_of_each_intent(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watch(monkeypatch)
    tuned = fine_tune_few(given=("name",))
    assert gate_of(tuned, "LM intent scores").n == 4
    assert [adapter for _, adapter in seen.scored] == [False, False]
    for intent in ("api token", "billing seat"):
        assert sum(f"a customer's ticket about this: {intent}." in text for text, _ in seen.scored) == 1


def test_where_names_mean_nothing_it_scores_the_rows_given_each_stored_reply_but_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = watch(monkeypatch)
    tuned = fine_tune_few(with_names=False)
    assert gate_of(tuned, "LM intent scores").n == 4
    assert len(seen.scored) == 4
    assert not any(adapter for _, adapter in seen.scored)
    for one in FEW:
        (prompt,) = (text for text, _ in seen.scored if f"sent this reply:\n{one.ideal_reply}\n" in text)
        assert one.text not in prompt


def test_at_a_scale_of_zero_the_bare_base_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watch(monkeypatch)
    monkeypatch.setattr("finetune.judging.choose_scale", lambda *_, **__: (0.0, scale_gate({1.0: ([1.0], [1.0])}, seed=0)[1]))
    fine_tune_few()
    assert set(seen.trained) == {"final"}, "no fold has an adapter of its own"
    assert set().union(*seen.answered.values()) == IDS


def test_all_processes_take_what_the_first_one_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A last digit of a vector may differ between machines, and decide which reply is nearer."""
    first, plain = ({"a": Reply("seat", "generated")}, {"a": 0.25}), Processes.gather

    def gathered(self: Processes, mine: Any) -> list[Any]:
        replies = isinstance(mine, tuple) and isinstance(mine[0], dict)
        return [first, mine] if replies else plain(self, mine)

    monkeypatch.setattr(Processes, "gather", gathered)
    gate = gate_of(fine_tune_few(), "replies")
    assert (gate.n, gate.value) == (1, 0.25)


def test_too_few_good_replies_in_the_first_fold_end_the_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, rows = watch(monkeypatch), tuple(row(i, f"seat {i}", "billing.seat", f"word{i}") for i in range(12))
    tuned = fine_tune_few(rows=rows, every_fold=False)
    assert set(seen.trained) == {"final", "fold0"}
    replies = gate_of(tuned, "replies")
    assert (
        replies.reason
        == "0 of 6 out-of-fold replies passed the check in the first fold, 5 needed: the second fold was not measured"
    )
    assert (replies.decision, replies.n, tuned.generates, tuned.timed_out) == ("copy", 0, False, False)
    assert tuned.losses is not None
    assert tuned.losses.rows == len(seen.measured["fold0"]) == MAX_LOSS_ROWS


def test_at_a_scale_of_zero_the_first_fold_may_end_the_measuring_too(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, rows = watch(monkeypatch), tuple(row(i, f"seat {i}", "billing.seat", f"word{i}") for i in range(12))
    monkeypatch.setattr("finetune.judging.choose_scale", lambda *_, **__: (0.0, scale_gate({1.0: ([1.0], [1.0])}, seed=0)[1]))
    tuned = fine_tune_few(rows=rows, every_fold=False)
    assert gate_of(tuned, "replies").reason.endswith("5 needed: the second fold was not measured")
    assert len(set().union(*seen.answered.values())) == 6


def test_the_fold_with_more_rows_to_judge_comes_first() -> None:
    sizes = {"a.one": 1, "b.three": 3, "c.one": 1, "d.three": 3, "e.one": 1, "f.three": 3, "g.one": 1, "h.three": 3}
    names = [name for name, size in sizes.items() for _ in range(size)]
    classifier = classifier_for(tuple(row(i, f"about {name} {i}", name, f"reply {i}") for i, name in enumerate(names)))
    judged = [len(rows_with_siblings(classifier.train_set, fold)) for fold in fold_rows(classifier)]
    assert judged == [8, 4]
    assert sorted(np.concatenate(fold_rows(classifier)).tolist()) == list(range(len(names)))


def test_fewer_rows_than_the_gate_needs_train_no_fold() -> None:
    with pytest.MonkeyPatch.context() as patch:
        seen = watch(patch)
        replies = gate_of(fine_tune_few(every_fold=False), "replies")
    assert set(seen.trained) == {"final"}
    assert replies.reason == "untested: 4 rows have another row of their intent, 10 needed"


def test_a_judged_row_is_absent_from_its_exemplars_and_a_single_row_gets_no_reply() -> None:
    classifier = classifier_for((*ROWS, row(7, "audit log please", "security.audit", "See the log.")))
    setup = make_setup(classifier, training_rows(classifier, base()), base(), ONE_EPOCH, **OPTIONS)
    judged = rows_with_siblings(classifier.train_set, training_rows(classifier, base()))
    found = retrieve_train_rows(classifier, judged, setup.log_p[judged])
    assert [retrieval.ticket.id for retrieval in found] == [row.id for row in ROWS]
    assert all(retrieval.ticket.id not in {row.id for row in retrieval.exemplars} for retrieval in found)


def test_rows_of_single_intents_are_measured_but_no_reply_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watch(monkeypatch)
    fine_tune_few(rows=tuple(replace(row, intent=f"only.{row.id}") for row in FEW))
    assert seen.measured["fold0"] | seen.measured["fold1"] == IDS
    assert not seen.answered


def test_one_row_leaves_nothing_to_measure() -> None:
    tuned = fine_tune_few(rows=FEW[:1])
    assert tuned.run is not None
    assert (tuned.losses, tuned.lm_weight, tuned.generates, tuned.timed_out) == (None, 0.0, False, False)
    assert all(gate.reason.startswith("untested") for gate in tuned.gates if gate.name != "adapter scale")


def test_evidence_after_the_deadline_is_empty_and_says_so() -> None:
    tiny, classifier = base(), classifier_for()
    setup = make_setup(classifier, training_rows(classifier, tiny), tiny, ONE_EPOCH, **OPTIONS)
    found = gather_evidence(setup, attach(tiny, seed=0), HashEncoder(), scale=1.0, plans=CPU_PLANS, deadline=0.0)
    assert found.timed_out
    assert (found.losses, found.replies, found.problems) == ({}, {}, ())


def test_completion_losses_are_those_of_a_few_rows_all_over_the_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune.evidence.MAX_LOSS_ROWS", 3)
    seen, rows = watch(monkeypatch), tuple(row(i, f"seat {i}", "billing.seat", f"word{i}") for i in range(12))
    tuned = fine_tune_few(rows=rows, every_fold=False)
    assert tuned.losses is not None
    assert tuned.losses.rows == len(seen.measured["fold0"]) == 3
    assert len(seen.answered["fold0"]) == 6
