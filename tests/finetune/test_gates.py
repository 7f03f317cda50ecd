from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from finetune.base_model import BaseModel
from finetune.evidence import Evidence, TrainingSetup, gather_evidence, judged_questions
from finetune.fit import Deadlines, _judged, fine_tune
from finetune.forgetting import general_text
from finetune.gates import FEWEST, reply_gate
from finetune.lora import Tuning
from finetune.prompt import prompt_writer
from finetune.reply_writer import Written, write_replies
from finetune.training_data import TrainingConfig, TrainingData, make_training_data
from retrieval.cross_validation import out_of_fold_scores
from retrieval.intent_classifier import fit_classifier
from retrieval.replies import Question, Reply, copy_reply
from retrieval.train_set import TrainSet
from tests.fakes import ROWS, HashEncoder, base, row, train_set

NEVER = Deadlines(*[float("inf")] * 3)
ONE_PASS = TrainingConfig(epochs=1)


def setup(tiny: BaseModel) -> TrainingSetup:
    writer = prompt_writer(tiny.tokenizer, tiny.max_length)
    return TrainingSetup(tiny, writer, ONE_PASS, general_text(writer), seed=0)


def test_replies_are_generated_where_that_is_no_worse() -> None:
    gate = reply_gate([0.01, -0.01] * 10, large=False, seed=0)
    assert (gate.passed, gate.decision, gate.n) == (True, "generate", 20)
    assert gate.interval is not None
    assert gate.interval[0] < gate.evidence < gate.interval[1]  # type: ignore[operator]


def test_replies_are_copied_where_generating_is_worse() -> None:
    gate = reply_gate([-0.2, 0.05] * 10, large=True, seed=0)
    assert (gate.passed, gate.decision) == (False, "copy")


@pytest.mark.parametrize(("large", "decision"), [(True, "generate"), (False, "copy")])
def test_with_too_few_rows_the_size_of_the_base_decides_and_the_record_says_untested(large: bool, decision: str) -> None:
    gate = reply_gate([0.5] * (FEWEST - 1), large=large, seed=0)
    assert (gate.decision, gate.interval) == (decision, None)
    assert "untested" in gate.why


def test_a_judged_row_is_absent_from_its_exemplars_and_single_rows_are_not_judged() -> None:
    rows = (*ROWS, row(7, "audit log please", "security.audit", "See the log."))
    classifier = fit_classifier(train_set(rows), with_names=True)
    questions = judged_questions(
        classifier.train_set, out_of_fold_scores(classifier), classifier.train_set.intent_of * 0 + range(7)
    )
    assert [question.row_id for question in questions] == [r.id for r in ROWS]
    assert all(question.row_id not in [e.id for e in question.exemplars] for question in questions)


def test_cross_fitting_judges_every_row_once_and_leaves_the_base_as_it_was() -> None:
    tiny, classifier = base(), fit_classifier(train_set(), with_names=True)
    before = {name: weight.clone() for name, weight in tiny.model.state_dict().items()}
    found = gather_evidence(classifier, out_of_fold_scores(classifier), setup(tiny), deadline=float("inf"))
    assert len(found.losses) == len(ROWS)
    assert set(found.replies) == {r.id for r in ROWS}
    assert {name: weight.tolist() for name, weight in tiny.model.state_dict().items()} == {
        n: w.tolist() for n, w in before.items()
    }


def test_too_little_evidence_copies_with_a_small_base_and_the_adapter_is_there_all_the_same() -> None:
    tuned = fine_tune(
        fit_classifier(train_set(), with_names=True), base(), HashEncoder(), config=ONE_PASS, seed=0, deadlines=NEVER
    )
    assert tuned.model is not None
    assert tuned.tuning is not None
    assert (tuned.replies.decision, tuned.timed_out) == ("copy", False)
    assert tuned.val_loss > 0


def test_one_row_cannot_be_held_out_and_the_record_says_whose_loss_it_is() -> None:
    tuned = fine_tune(
        fit_classifier(train_set(ROWS[:1]), with_names=False), base(), HashEncoder(), config=ONE_PASS, seed=0, deadlines=NEVER
    )
    assert any("base's own loss" in warning for warning in tuned.warnings)
    assert tuned.val_loss > 0


def test_a_struck_deadline_is_reported() -> None:
    past = Deadlines(0.0, 0.0, 0.0)
    tuned = fine_tune(
        fit_classifier(train_set(), with_names=True), base(), HashEncoder(), config=ONE_PASS, seed=0, deadlines=past
    )
    assert (tuned.timed_out, tuned.replies.passed, tuned.model) == (True, False, None)
    assert any("before the first step" in warning for warning in tuned.warnings)


def test_a_deadline_in_the_evidence_leaves_the_adapter_and_the_gate_says_why_it_copies() -> None:
    timed_out = Deadlines(0.0, 0.0, float("inf"))
    tuned = fine_tune(
        fit_classifier(train_set(), with_names=True), base(), HashEncoder(), config=ONE_PASS, seed=0, deadlines=timed_out
    )
    assert tuned.model is not None
    assert (tuned.timed_out, tuned.replies.decision) == (True, "copy")
    assert "the time budget ended the measuring" in tuned.replies.why


def test_no_row_short_enough_means_no_adapter_and_copies() -> None:
    rows = tuple(replace(r, ideal_reply="z" * 900) for r in ROWS)
    classifier = fit_classifier(train_set(rows), with_names=True)
    tuned = fine_tune(classifier, base(max_length=700), HashEncoder(), config=ONE_PASS, seed=0, deadlines=NEVER)
    assert (tuned.model, tuned.tuning, tuned.replies.decision) == (None, None, "copy")
    assert any("no adapter was kept" in warning for warning in tuned.warnings)


def test_a_draft_that_fails_the_check_is_replaced_by_the_first_exemplars_reply() -> None:
    tiny = base()
    writer = prompt_writer(tiny.tokenizer, tiny.max_length)
    question = Question("v", "why?", "billing.seat", ROWS[:2])
    found = write_replies([question], tiny.model, tiny, writer, max_new_tokens=6)
    reply = found.replies["v"]  # random weights never end a turn
    assert found.complete
    assert (reply.source, reply.text) == ("replaced", ROWS[0].ideal_reply)
    assert "it never ended" in reply.findings
    assert reply.tokens > 0


def test_a_question_without_room_or_time_is_copied() -> None:
    tiny = base()
    question = Question("v", "why? " * 50, "billing.seat", ROWS[:2])
    small = prompt_writer(tiny.tokenizer, 100)
    assert write_replies([question], tiny.model, tiny, small, max_new_tokens=60) == Written({"v": copy_reply(question)}, True)
    writer = prompt_writer(tiny.tokenizer, tiny.max_length)
    timed_out = write_replies([question], tiny.model, tiny, writer, max_new_tokens=6, deadline=0.0)
    assert timed_out == Written({"v": copy_reply(question)}, False)


@pytest.mark.parametrize(("ideal_is", "decision"), [("the draft", "generate"), ("the copy", "copy")])
def test_the_gate_weighs_drafts_against_copies_and_not_the_other_way_round(ideal_is: str, decision: str) -> None:
    questions = tuple(Question(f"q{i}", "why?", "billing.seat", ROWS[:1]) for i in range(FEWEST))
    drafts = {question.row_id: Reply("Press Rotate under Settings.", "generated") for question in questions}
    wanted = "Press Rotate under Settings." if ideal_is == "the draft" else ROWS[0].ideal_reply
    evidence = Evidence((1.0,), questions, drafts, complete=True)
    ideal = {question.row_id: wanted for question in questions}
    gate = _judged(evidence, Tuning(1, (1.0,), 1.0, True), HashEncoder(), base(), ideal, seed=0)
    assert (gate.decision, gate.n) == (decision, FEWEST)


def test_replaced_drafts_are_no_evidence_for_generating() -> None:
    questions = tuple(Question(f"q{i}", "why?", "billing.seat", ROWS[:1]) for i in range(20))
    replaced = {question.row_id: Reply(ROWS[0].ideal_reply, "replaced", ("it is empty",)) for question in questions}
    evidence = Evidence((1.0,), questions, replaced, complete=True)
    ideal = {question.row_id: ROWS[0].ideal_reply for question in questions}
    gate = _judged(evidence, Tuning(1, (1.0,), 1.0, True), HashEncoder(), base(), ideal, seed=0)
    assert (gate.decision, gate.n) == ("copy", 0)


def test_a_row_is_judged_by_an_adapter_that_was_not_trained_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    training: list[set[str]] = []

    def spied(taught_desk: TrainSet, *rest: Any, **options: Any) -> TrainingData:
        training.append({r.id for r in taught_desk.rows})
        return make_training_data(taught_desk, *rest, **options)

    judged: list[set[str]] = []

    def answered(questions: Sequence[Question], *_: Any, **__: Any) -> Written:
        judged.append({question.row_id for question in questions})
        return Written({question.row_id: copy_reply(question) for question in questions}, True)

    monkeypatch.setattr("finetune.evidence.make_training_data", spied)
    monkeypatch.setattr("finetune.evidence.write_replies", answered)
    tiny, classifier = base(), fit_classifier(train_set(), with_names=True)
    gather_evidence(classifier, out_of_fold_scores(classifier), setup(tiny), deadline=float("inf"))
    assert [ids & out for ids, out in zip(training, judged, strict=True)] == [set(), set()]
    assert set.union(*judged) == {r.id for r in ROWS}
