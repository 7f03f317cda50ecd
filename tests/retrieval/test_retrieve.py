from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from retrieval.cross_validation import out_of_fold_log_probabilities
from retrieval.intent_classifier import IntentClassifier, fit_classifier
from retrieval.label_names import label_names_gate
from retrieval.prediction import retrieval_record
from retrieval.reference_numbers import GAP
from retrieval.retrieve import IntentQuestion, LmScorer, Retrieval, retrieve, retrieve_train_rows
from retrieval.tickets import LabelledTicket, Ticket
from tests.fakes import ROWS, HashEncoder, row, train_set, with_rowless

EIGHT = tuple(row(i, f"about {word} {i}", f"{word}.question", f"{word} {i}") for i, word in enumerate("abcdefgh" * 2))
TICKETS = [Ticket(f"v{i}", f"seat token export {i} {row.text}") for i, row in enumerate(ROWS)]


class FakeScorer:
    """Scores the intent at one place highest, and remembers what it was asked."""

    candidates = 6

    def __init__(
        self, favourite: int = 1, *, weight: float = 2.0, below: float = 2.0, more: Mapping[str, float] | None = None
    ) -> None:
        self.favourite, self.weight, self.below, self.more = favourite, weight, below, more or {}
        self.asked: list[Sequence[IntentQuestion]] = []

    def score(self, questions: Sequence[IntentQuestion]) -> dict[str, dict[str, float]]:
        self.asked.append(questions)
        return {q.ticket.id: self._scores(q) for q in questions}

    def _scores(self, question: IntentQuestion) -> dict[str, float]:
        intents = list(dict.fromkeys(row.intent for row in question.rows))
        return {intent: 0.0 if intent == intents[self.favourite] else -30.0 for intent in intents} | dict(self.more)


def classifier_of(rows: Sequence[LabelledTicket] = ROWS) -> IntentClassifier:
    return fit_classifier(train_set(rows), with_names=True)


def ask(
    classifier: IntentClassifier, tickets: Sequence[Ticket] = TICKETS, *, lm_scorer: LmScorer | None = None
) -> tuple[Retrieval, ...]:
    return retrieve(classifier, tickets, HashEncoder().encode([ticket.text for ticket in tickets]), lm_scorer=lm_scorer)


def test_a_repeated_ticket_finds_itself_and_its_reply() -> None:
    others = [row(100 + i, f"filler {i} of {i + 1}", "filler.text", f"filler reply {i}") for i in range(150)]
    (found,) = ask(classifier_of([*others, *ROWS]), [Ticket("v", ROWS[2].text)])
    near = found.neighbours[0]
    assert (near.row, near.cosine) == (ROWS[2], pytest.approx(1.0))
    assert {*near.shared_words} == {"api", "my", "rotate", "token"}
    assert near.bm25 > max(neighbour.bm25 for neighbour in found.neighbours[1:])
    assert (found.intent, found.exemplars[0], found.out_of_scope) == ("api.token", ROWS[2], False)
    assert [neighbour.cosine for neighbour in found.neighbours] == sorted((n.cosine for n in found.neighbours), reverse=True)


def test_a_ticket_that_resembles_no_intent_is_out_of_scope() -> None:
    assert ask(classifier_of(), [Ticket("v", "xylophone")])[0].out_of_scope


def test_a_neighbour_tells_its_share_in_the_vote_of_its_intent() -> None:
    classifier = classifier_of(ROWS[:5])
    (found,) = ask(classifier, [Ticket("v", "rotate the seat")])
    assert len(found.neighbours) == 5
    lengths = dict(zip(classifier.train_set.intents, classifier.ticket_vote.lengths, strict=True))
    for near in found.neighbours:
        assert near.vote_share == pytest.approx(near.cosine / lengths[near.row.intent])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_trap_13_few_rows_one_intent_duplicates_and_no_words_work(count: int) -> None:
    rows = train_set([row(i, "…" if i else "same", "only.intent", "same reply") for i in range(count)])
    classifier = fit_classifier(rows, with_names=label_names_gate(rows, seed=0).passed)
    (found,) = ask(classifier, [Ticket("v", "?")])
    assert (found.intent, found.confidence) == ("only.intent", pytest.approx(1.0))
    assert [r.ideal_reply for r in found.exemplars] == ["same reply"]
    assert [near.row.id for near in found.neighbours] == [f"t{i}" for i in range(count)]


def test_trap_13_one_row_for_each_intent_works() -> None:
    found = ask(classifier_of(ROWS[::2]), [Ticket("v", "rotate the token")])[0]
    assert [found.intent, found.exemplars[0].intent, found.neighbours[0].row.intent] == ["api.token"] * 3


@pytest.mark.parametrize("seed", range(5))
def test_trap_7_vectors_that_move_by_float_noise_give_the_same_ranking(seed: int) -> None:
    orders = ("rotate api token", "api token rotate", "token rotate api", "api rotate token")
    rows = (*ROWS, *(row(10 + i, text, "api.token", f"reply {i}") for i, text in enumerate(orders)))
    classifier = classifier_of(rows)
    ticket = Ticket("v", "rotate the api token")
    vectors = HashEncoder().encode([ticket.text])
    noise = np.random.default_rng(seed).normal(scale=1e-7, size=vectors.shape).astype(np.float32)
    (found,), (moved,) = (retrieve(classifier, [ticket], v) for v in (vectors, vectors + noise))
    assert [near.row.id for near in moved.neighbours] == [near.row.id for near in found.neighbours]
    assert [near.row.id for near in found.neighbours][:4] == ["t10", "t11", "t12", "t13"]
    assert moved.exemplars == found.exemplars


def test_how_many_tickets_stand_in_a_batch_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = classifier_of()
    whole = [retrieval_record(found) for found in ask(classifier, lm_scorer=FakeScorer())]
    monkeypatch.setattr("retrieval.intent_classifier.MAX_BATCH", 4)
    assert [retrieval_record(found) for found in ask(classifier, lm_scorer=FakeScorer())] == whole
    assert [found["id"] for found in whole] == [ticket.id for ticket in TICKETS]


def test_the_language_model_is_asked_once_a_batch_about_the_best_exemplars(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, scorer = classifier_of(EIGHT), FakeScorer()
    monkeypatch.setattr("retrieval.intent_classifier.MAX_BATCH", 2)
    tickets = [Ticket(f"v{i}", f"a b c d e f g h about {word}") for i, word in enumerate("abc")]
    plain = ask(classifier, tickets)
    ask(classifier, tickets, lm_scorer=scorer)
    assert [[q.ticket for q in questions] for questions in scorer.asked] == [tickets[:2], tickets[2:]]
    for question, found in zip([q for questions in scorer.asked for q in questions], plain, strict=True):
        assert len(question.rows) == FakeScorer.candidates
        assert question.rows[: len(found.exemplars)] == found.exemplars


def test_sure_tickets_and_those_with_one_intent_near_are_not_asked_about() -> None:
    classifier = classifier_of()
    confidences = [found.confidence for found in ask(classifier)]
    middle = sorted(confidences)[3]
    scorer = FakeScorer(below=middle)
    ask(classifier, lm_scorer=scorer)
    asked = {question.ticket.id for question in scorer.asked[0]}
    assert asked == {ticket.id for ticket, sure in zip(TICKETS, confidences, strict=True) if sure < middle}
    assert 0 < len(asked) < len(TICKETS)
    alone = FakeScorer()
    ask(classifier_of(ROWS[:2]), lm_scorer=alone)
    assert alone.asked == [()]


def test_lm_scores_decide_intent_and_exemplars_and_stand_in_the_record() -> None:
    classifier, ticket = classifier_of(), Ticket("v", "export the token of a seat")
    (plain,) = ask(classifier, [ticket])
    (moved,) = ask(classifier, [ticket], lm_scorer=FakeScorer())
    other = plain.intents[1].intent
    assert plain.exemplars[0].intent != other
    assert (moved.intent, moved.exemplars[0].intent) == (other, other)
    assert retrieval_record(moved)["intents"][0]["lm_score"] == 0.0
    assert "lm_score" not in retrieval_record(plain)["intents"][0]


def test_lm_scores_of_weight_zero_change_nothing() -> None:
    classifier = classifier_of()
    for plain, scored in zip(ask(classifier), ask(classifier, lm_scorer=FakeScorer(weight=0.0)), strict=True):
        assert scored.exemplars == plain.exemplars
        assert [(s.intent, s.probability) for s in scored.intents] == [(s.intent, s.probability) for s in plain.intents]
        assert scored.neighbours == plain.neighbours


def test_a_ticket_that_the_language_model_leaves_out_keeps_its_intents() -> None:
    class Silent(FakeScorer):
        def score(self, questions: Sequence[IntentQuestion]) -> dict[str, dict[str, float]]:
            return super().score(questions[:1])

    classifier = classifier_of()
    plain, scored = ask(classifier), ask(classifier, lm_scorer=Silent())
    assert scored[0].intent != plain[0].intent
    assert [retrieval_record(found) for found in scored[1:]] == [retrieval_record(found) for found in plain[1:]]


def test_lm_scores_cannot_bring_in_an_intent_that_is_no_candidate() -> None:
    classifier, ticket, scorer = classifier_of(EIGHT), Ticket("v", "about a b c"), FakeScorer()
    (plain,) = ask(classifier, [ticket], lm_scorer=scorer)
    near = {row.intent for row in scorer.asked[0][0].rows}
    outside = next(intent for intent in classifier.train_set.intents if intent not in near)
    (scored,) = ask(classifier, [ticket], lm_scorer=FakeScorer(more={outside: 1000.0}))
    assert retrieval_record(scored) == retrieval_record(plain)


def test_train_rows_are_retrieved_as_if_they_were_new() -> None:
    rows = (*ROWS, row(7, "rotate my api tokens", "api.token", "Press the other button."))
    classifier = classifier_of(rows)
    log_p = out_of_fold_log_probabilities(classifier)
    found = retrieve_train_rows(classifier, np.array([2, 0]), log_p[[2, 0]])
    assert [one.ticket.id for one in found] == ["t3", "t1"]
    for one, number in zip(found, (2, 0), strict=True):
        assert rows[number] not in one.exemplars, "the row itself is hidden"
        assert one.intent == classifier.train_set.intents[int(log_p[number].argmax())]
        assert one.confidence == pytest.approx(np.exp(log_p[number].max()))
    assert retrieve_train_rows(classifier, np.array([], dtype=np.int64), log_p[:0]) == ()


def test_an_intent_without_rows_is_answered_from_the_nearest_row_and_says_so() -> None:
    classifier = fit_classifier(with_rowless(), with_names=True)
    audit, seat = ask(classifier, [Ticket("v", "security audit token"), Ticket("w", ROWS[0].text)])
    assert (audit.intent, audit.intent_has_rows, audit.tied) == ("security.audit", False, None)
    assert all(exemplar.intent != "security.audit" for exemplar in audit.exemplars)
    assert (seat.intent, seat.intent_has_rows) == ("billing.seat", True)


def test_the_language_model_is_not_asked_about_a_ticket_whose_likeliest_intent_has_no_row() -> None:
    classifier, scorer = fit_classifier(with_rowless(), with_names=True), FakeScorer()
    tickets = [Ticket("v", "security audit token"), Ticket("w", ROWS[0].text)]
    audit, _ = ask(classifier, tickets, lm_scorer=scorer)
    assert [question.ticket.id for question in scorer.asked[0]] == ["w"]
    assert audit.intent == "security.audit"


def test_train_rows_of_a_taxonomy_may_be_taken_for_an_intent_without_rows() -> None:
    rows = (*ROWS, row(7, "security audit", "api.token", "Press the other button."))
    classifier = fit_classifier(with_rowless(rows), with_names=True)
    log_p = out_of_fold_log_probabilities(classifier)
    (found,) = retrieve_train_rows(classifier, np.array([6]), log_p[[6]])
    assert (found.intent, found.intent_has_rows) == ("security.audit", False)
    assert np.isfinite(log_p).all()


def test_stored_replies_hold_the_reference_number_of_the_ticket_that_they_answer() -> None:
    others = (row(7, "cancel order 7788990", "order.cancel", "Order 7788990 is cancelled."),)
    others += (row(8, "stop my order 5566770 now", "order.cancel", "We stopped 5566770 at once."),)
    classifier = classifier_of([*ROWS, *others])
    found, without = ask(classifier, [Ticket("v1", "cancel order 1122334"), Ticket("v2", "cancel my order")])
    assert found.exemplars[0] == replace(others[0], ideal_reply="Order 1122334 is cancelled.")
    assert without.exemplars[0].ideal_reply == f"Order {GAP} is cancelled."
    assert found.neighbours[0].row == others[0], "a neighbour is shown as it is stored"
    for retrieval in (found, without):
        shown = " ".join(one.ideal_reply for one in (*retrieval.exemplars, retrieval.tied or retrieval.exemplars[0]))
        assert "7788990" not in shown
        assert "5566770" not in shown


def test_a_train_row_is_shown_its_own_reference_number_in_the_replies_to_others() -> None:
    rows = (*ROWS, row(7, "cancel order 7788990", "order.cancel", "Order 7788990 is cancelled."))
    rows += (row(8, "cancel order 5566770", "order.cancel", "Order 5566770 is stopped."),)
    classifier = classifier_of(rows)
    (found,) = retrieve_train_rows(classifier, np.array([6]), out_of_fold_log_probabilities(classifier)[[6]])
    assert found.exemplars[0].ideal_reply == "Order 7788990 is stopped."
