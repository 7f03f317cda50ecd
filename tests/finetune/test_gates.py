from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from finetune.adapt import Deadlines, _judged, adapt
from finetune.base_model import BaseModel
from finetune.crossfit import Course, CrossFit, cross_fit, judged_questions
from finetune.gates import FEWEST, reply_gate
from finetune.lessons import LessonPlan, Lessons, make_lessons
from finetune.lora import Tuning
from finetune.prompt import prompt_writer
from finetune.replies import Written, write_replies
from finetune.scale import general_texts
from retrieval.desk import Desk
from retrieval.heldout import held_out_votes
from retrieval.reply import Question, Reply, copy_reply
from retrieval.voting import fit_pool
from tests.fakes import ROWS, HashEncoder, base, desk, row

NEVER = Deadlines(*[float("inf")] * 3)
ONE_PASS = LessonPlan(epochs=1)


def course(tiny: BaseModel) -> Course:
    writer = prompt_writer(tiny.tokenizer, tiny.window)
    return Course(tiny, writer, ONE_PASS, general_texts(writer), seed=0)


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
    pool = fit_pool(desk(rows), with_names=True)
    questions = judged_questions(pool.desk, held_out_votes(pool), pool.desk.intent_of * 0 + range(7))
    assert [question.row_id for question in questions] == [r.id for r in ROWS]
    assert all(question.row_id not in [e.id for e in question.exemplars] for question in questions)


def test_cross_fitting_judges_every_row_once_and_leaves_the_base_as_it_was() -> None:
    tiny, pool = base(), fit_pool(desk(), with_names=True)
    before = {name: weight.clone() for name, weight in tiny.model.state_dict().items()}
    found = cross_fit(pool, held_out_votes(pool), course(tiny), deadline=float("inf"))
    assert len(found.losses) == len(ROWS)
    assert set(found.replies) == {r.id for r in ROWS}
    assert {name: weight.tolist() for name, weight in tiny.model.state_dict().items()} == {
        n: w.tolist() for n, w in before.items()
    }


def test_too_little_evidence_copies_with_a_small_base_and_the_adapter_is_there_all_the_same() -> None:
    adapted = adapt(fit_pool(desk(), with_names=True), base(), HashEncoder(), plan=ONE_PASS, seed=0, deadlines=NEVER)
    assert adapted.model is not None
    assert adapted.tuning is not None
    assert (adapted.replies.decision, adapted.braked) == ("copy", False)
    assert adapted.val_loss > 0


def test_one_row_cannot_be_held_out_and_the_record_says_whose_loss_it_is() -> None:
    adapted = adapt(fit_pool(desk(ROWS[:1]), with_names=False), base(), HashEncoder(), plan=ONE_PASS, seed=0, deadlines=NEVER)
    assert any("base's own loss" in warning for warning in adapted.warnings)
    assert adapted.val_loss > 0


def test_a_struck_deadline_is_reported() -> None:
    past = Deadlines(0.0, 0.0, 0.0)
    adapted = adapt(fit_pool(desk(), with_names=True), base(), HashEncoder(), plan=ONE_PASS, seed=0, deadlines=past)
    assert (adapted.braked, adapted.replies.passed, adapted.model) == (True, False, None)
    assert any("before the first step" in warning for warning in adapted.warnings)


def test_a_deadline_in_the_evidence_leaves_the_adapter_and_the_gate_says_why_it_copies() -> None:
    late = Deadlines(0.0, 0.0, float("inf"))
    adapted = adapt(fit_pool(desk(), with_names=True), base(), HashEncoder(), plan=ONE_PASS, seed=0, deadlines=late)
    assert adapted.model is not None
    assert (adapted.braked, adapted.replies.decision) == (True, "copy")
    assert "the time budget ended the measuring" in adapted.replies.why


def test_no_row_short_enough_means_no_adapter_and_copies() -> None:
    rows = tuple(replace(r, ideal_reply="z" * 900) for r in ROWS)
    pool = fit_pool(desk(rows), with_names=True)
    adapted = adapt(pool, base(window=700), HashEncoder(), plan=ONE_PASS, seed=0, deadlines=NEVER)
    assert (adapted.model, adapted.tuning, adapted.replies.decision) == (None, None, "copy")
    assert any("no adapter was kept" in warning for warning in adapted.warnings)


def test_a_draft_that_fails_the_check_is_replaced_by_the_first_exemplars_reply() -> None:
    tiny = base()
    writer = prompt_writer(tiny.tokenizer, tiny.window)
    question = Question("v", "why?", "billing.seat", ROWS[:2])
    found = write_replies([question], tiny.model, tiny, writer, room=6)
    reply = found.replies["v"]  # random weights never end a turn
    assert found.complete
    assert (reply.source, reply.text) == ("replaced", ROWS[0].ideal_reply)
    assert "it never ended" in reply.findings
    assert reply.tokens > 0


def test_a_question_without_room_or_time_is_copied() -> None:
    tiny = base()
    question = Question("v", "why? " * 50, "billing.seat", ROWS[:2])
    small = prompt_writer(tiny.tokenizer, 100)
    assert write_replies([question], tiny.model, tiny, small, room=60) == Written({"v": copy_reply(question)}, True)
    writer = prompt_writer(tiny.tokenizer, tiny.window)
    late = write_replies([question], tiny.model, tiny, writer, room=6, deadline=0.0)
    assert late == Written({"v": copy_reply(question)}, False)


@pytest.mark.parametrize(("ideal_is", "decision"), [("the draft", "generate"), ("the copy", "copy")])
def test_the_gate_weighs_drafts_against_copies_and_not_the_other_way_round(ideal_is: str, decision: str) -> None:
    questions = tuple(Question(f"q{i}", "why?", "billing.seat", ROWS[:1]) for i in range(FEWEST))
    drafts = {question.row_id: Reply("Press Rotate under Settings.", "generated") for question in questions}
    wanted = "Press Rotate under Settings." if ideal_is == "the draft" else ROWS[0].ideal_reply
    evidence = CrossFit((1.0,), questions, drafts, complete=True)
    ideal = {question.row_id: wanted for question in questions}
    gate = _judged(evidence, Tuning(1, (1.0,), 1.0, True), HashEncoder(), base(), ideal, seed=0)
    assert (gate.decision, gate.n) == (decision, FEWEST)


def test_replaced_drafts_are_no_evidence_for_generating() -> None:
    questions = tuple(Question(f"q{i}", "why?", "billing.seat", ROWS[:1]) for i in range(20))
    replaced = {question.row_id: Reply(ROWS[0].ideal_reply, "replaced", ("it is empty",)) for question in questions}
    evidence = CrossFit((1.0,), questions, replaced, complete=True)
    ideal = {question.row_id: ROWS[0].ideal_reply for question in questions}
    gate = _judged(evidence, Tuning(1, (1.0,), 1.0, True), HashEncoder(), base(), ideal, seed=0)
    assert (gate.decision, gate.n) == ("copy", 0)


def test_a_row_is_judged_by_an_adapter_that_was_not_trained_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    taught: list[set[str]] = []

    def spied(taught_desk: Desk, *rest: Any, **options: Any) -> Lessons:
        taught.append({r.id for r in taught_desk.rows})
        return make_lessons(taught_desk, *rest, **options)

    judged: list[set[str]] = []

    def answered(questions: Sequence[Question], *_: Any, **__: Any) -> Written:
        judged.append({question.row_id for question in questions})
        return Written({question.row_id: copy_reply(question) for question in questions}, True)

    monkeypatch.setattr("finetune.crossfit.make_lessons", spied)
    monkeypatch.setattr("finetune.crossfit.write_replies", answered)
    tiny, pool = base(), fit_pool(desk(), with_names=True)
    cross_fit(pool, held_out_votes(pool), course(tiny), deadline=float("inf"))
    assert [ids & out for ids, out in zip(taught, judged, strict=True)] == [set(), set()]
    assert set.union(*judged) == {r.id for r in ROWS}
