from evaluation.audit.intents import alike_findings, few_row_findings
from tests.evaluation.audit.evidence import evidence
from tests.fakes import ROWS, row

SEAT, TOKEN = "billing.seat", "api.token"


def test_intents_that_are_taken_for_each_other_in_both_directions_are_found_with_the_confused_rows_first() -> None:
    (finding,) = alike_findings(evidence(probabilities={1: {SEAT: 0.3, TOKEN: 0.6}, 3: {SEAT: 0.5, TOKEN: 0.4}}))
    assert finding.what == "api.token and billing.seat: 2 of their 4 rows fit the other intent at least as well"
    assert [one.id for one in finding.rows] == ["t2", "t4", "t1", "t3"]
    assert finding.rows[0].note == "api.token 0.67, billing.seat 0.33"


def test_one_direction_a_row_unlike_both_and_an_intent_of_one_row_are_no_confusion() -> None:
    assert alike_findings(evidence(probabilities={1: {SEAT: 0.3, TOKEN: 0.6}})) == []
    unlike = {"data.export": 0.9, SEAT: 0.01, TOKEN: 0.02}
    assert alike_findings(evidence(probabilities={1: unlike, 3: {SEAT: 0.5, TOKEN: 0.4}})) == []
    rows = (*ROWS, row(7, "a thing", "other", "A reply."))
    assert alike_findings(evidence(rows, {6: {SEAT: 1.0}, 0: {SEAT: 0.4, "other": 0.5}})) == []


def test_intents_of_one_row_and_intents_that_find_less_than_half_of_their_rows_need_another() -> None:
    rows = (*ROWS, row(7, "a thing", "other", "A reply."))
    one, low = few_row_findings(evidence(rows, {2: {SEAT: 1.0}, 3: {SEAT: 0.6, TOKEN: 0.4}, 0: {TOKEN: 1.0}}))
    assert one.what == "other has one row"
    assert low.what == "api.token: 0 of its 2 rows are found without themselves", "half of billing.seat's are found"
    assert [(shown.id, shown.note) for shown in low.rows] == [
        ("t3", "api.token 0.00, billing.seat 1.00"),
        ("t4", "api.token 0.40, billing.seat 0.60"),
    ]
