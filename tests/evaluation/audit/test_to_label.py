from evaluation.audit.to_label import AT_MOST, chosen, to_label_findings
from tests.evaluation.audit.evidence import evidence, retrieval


def test_out_of_scope_tickets_come_first_then_the_least_sure_and_sure_ones_not_at_all() -> None:
    tickets = (
        retrieval(0, "first thing", 0.9, 0.05),
        retrieval(1, "second matter", 0.5, 0.4),
        retrieval(2, "quite other", 0.95, 0.02, in_scope=0.1),
        retrieval(3, "fourth case", 0.6, 0.2),
    )
    assert chosen(evidence(tickets=tickets)) == [2, 1, 3]
    first, second, _ = to_label_findings(evidence(tickets=tickets))
    assert first.what == '"v2" resembles no intent (in-scope score 0.10, threshold 0.30)'
    assert first.advice.endswith("with a new intent if none fits")
    assert second.what == '"v1" may be billing.seat 0.50 or api.token 0.40'


def test_a_ticket_like_one_that_was_chosen_gives_way_to_another() -> None:
    tickets = (
        retrieval(0, "my seat is gone today", 0.50, 0.49),
        retrieval(1, "my seat is gone", 0.50, 0.48),
        retrieval(2, "where do exports end", 0.55, 0.30),
    )
    assert chosen(evidence(tickets=tickets)) == [0, 2, 1]


def test_copies_are_asked_for_once_and_few_tickets_are_enough() -> None:
    copies = [retrieval(i, "same words", 0.5, 0.4) for i in range(3)]
    assert chosen(evidence(tickets=copies)) == [0]
    many = [retrieval(i, f"word{i} other{i} thing{i}", 0.5, 0.4) for i in range(12)]
    assert len(chosen(evidence(tickets=many))) == AT_MOST
    assert chosen(evidence()) == []
