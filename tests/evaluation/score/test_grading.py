from typing import Any

import pytest

from evaluation.score.grading import Part, RowScore, efficiency, parts, rouge_l, score_rows, tally
from evaluation.score.labels import Label
from evaluation.score.results import ResultRow
from tests.fakes import HashEncoder

SEAT = Label("a", ("billing.seat", "billing.guest"), "Guests need no seat.", (("no seat", "not a seat"), ("guest",)), ("$12",))


def graded(reply: str, *, label: Label = SEAT, intent: str = "billing.seat") -> RowScore:
    return score_rows({label.id: ResultRow(intent, reply)}, {label.id: label}, HashEncoder())[0]


def by_name(rows: list[RowScore], **options: Any) -> dict[str, Part]:
    return {part.name: part for part in parts(rows, **{"seconds": 0, "seed": 0} | options)}


def test_a_perfect_prediction_scores_one() -> None:
    row = graded("Guests need no seat.")
    assert (row.intent_correct, row.missing_facts, row.wrong_facts) == (True, (), ())
    assert row.quality == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(("intent", "correct"), [("billing.seat", True), ("billing.guest", True), ("billing", False)])
def test_an_accepted_intent_is_correct_and_a_prefix_is_not(intent: str, correct: bool) -> None:
    assert graded("x", intent=intent).intent_correct is correct


def test_facts_are_compared_without_case_and_spaces_and_one_of_a_group_is_enough() -> None:
    assert graded("It is NOT  a\nseat for a Guest").fact_score == 1.0
    assert graded("It is not a seat.").fact_score == 0.5


def test_what_must_not_be_said_costs_all_facts() -> None:
    row = graded("Guests need no seat, it costs $12.")
    assert (row.fact_score, row.wrong_facts) == (0.0, ("$12",))
    assert row.quality == pytest.approx(row.similarity / 2)


def test_without_facts_similarity_is_all_there_is() -> None:
    row = graded("Guests need no seat.", label=Label("a", ("x",), "Guests need no seat."))
    assert (row.fact_score, row.quality) == (None, row.similarity)


def test_rouge_l_is_the_f_measure_of_the_longest_common_subsequence() -> None:
    assert rouge_l("police kill the gunman", "police killed the gunman") == pytest.approx(3 / 4)  # Lin 2004, example S2
    assert rouge_l("the gunman kill police", "police killed the gunman") == pytest.approx(2 / 4)  # and S3
    assert rouge_l("", "word") == 0.0


def test_a_tally_counts_over_rows_and_not_over_their_shares() -> None:
    one_group = Label("b", ("x",), "Guests need no seat.", (("guest",),))
    rows = [graded("Guests need not a seat for $12."), graded("It is not a seat."), graded("?", label=one_group)]
    found = tally(rows)
    assert (found.rows, found.correct) == (3, 2)
    assert (found.facts_met, found.fact_groups, found.wrong_facts) == (3, 5, 1)
    assert found.quality == pytest.approx(sum(row.quality for row in rows) / 3)
    assert found.cosine == pytest.approx(sum(row.cosine for row in rows) / 3)
    assert found.rouge_l == pytest.approx(sum(row.rouge_l for row in rows) / 3)
    assert len({round(value, 6) for value in (found.quality, found.cosine, found.rouge_l)}) == 3


@pytest.mark.parametrize(("seconds", "value"), [(0, 1.0), (600, 1.0), (1200, 0.5), (1800, 0.0), (9000, 0.0)])
def test_efficiency_is_full_at_600_s_and_gone_at_1800_s(seconds: float, value: float) -> None:
    assert efficiency(seconds) == pytest.approx(value)


def test_all_parts_weigh_as_the_task_weighs_them() -> None:
    found = by_name(
        [graded("Guests need no seat."), graded("x", intent="other", label=Label("p", ("y",), "z", kind="probe"))], seconds=1200
    )
    weights = [found[name].weight for name in ("intents", "replies", "probes", "efficiency")]
    assert weights == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert found["total"].value == pytest.approx(0.4 + 0.3 + 0.2 * found["probes"].value + 0.1 * 0.5, abs=1e-6)
    assert found["probes"].value < 0.2


def test_a_part_that_was_not_measured_leaves_the_others_their_proportions() -> None:
    found = by_name([graded("Guests need no seat.")])
    assert "probes" not in found
    assert found["intents"].weight / found["replies"].weight == pytest.approx(4 / 3)
    assert sum(part.weight for name, part in found.items() if name != "total") == pytest.approx(1.0)


def test_intervals_hold_the_value_and_are_the_same_for_the_same_seed() -> None:
    rows = [graded("x", intent="billing.seat" if i % 3 else "other") for i in range(30)]
    found = by_name(rows)["intents"]
    assert found.low < found.value < found.high
    assert by_name(rows)["intents"] == found
