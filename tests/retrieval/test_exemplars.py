from collections.abc import Sequence
from dataclasses import replace
from zlib import crc32

import numpy as np
import pytest

from retrieval.encoder import Vectors, unit
from retrieval.exemplars import (
    CANDIDATE_INTENTS,
    EXEMPLARS,
    NEAREST_TEXTS,
    NearRows,
    candidate_rows,
    choose_exemplars,
    exemplar_scores,
    near_rows,
    with_own_row,
)
from retrieval.index import ROWS_PER_TEXT
from retrieval.intent_classifier import Floats, IntentClassifier, fit_classifier
from retrieval.tickets import LabelledTicket
from retrieval.train_set import embed_train_set
from tests.fakes import ROWS, HashEncoder, row, train_set

MANY = [row(i, f"ticket {i}", f"intent.{i % 20:02}", f"reply {i}") for i in range(400)]


class RandomEncoder:
    """Each text lies somewhere, near no other."""

    name = "random"

    def encode(self, texts: Sequence[str]) -> Vectors:
        return unit(np.stack([np.random.default_rng(crc32(text.encode())).normal(size=16) for text in texts]))


def random_vectors(rows: Sequence[LabelledTicket]) -> IntentClassifier:
    return fit_classifier(embed_train_set(rows, RandomEncoder()), with_names=False)


def log_p_of(classifier: IntentClassifier, likeliest: list[int] | range = range(5)) -> Floats:
    """(1, c) log-probabilities that name these intents first."""
    found = np.full((1, len(classifier.train_set.intents)), -20.0)
    found[0, list(likeliest)] = -np.arange(1.0, 1.0 + len(likeliest))
    return found


def cosines_of(classifier: IntentClassifier, vector: int) -> tuple[Floats, Floats]:
    """(n,) the centred cosines of a row's ticket to all tickets and to all replies, by hand."""
    train = classifier.train_set
    tickets, replies = (vectors - vectors.mean(axis=0) for vectors in (train.ticket_vectors, train.reply_vectors))
    query = tickets[vector] / np.linalg.norm(tickets[vector])
    return tickets @ query / np.linalg.norm(tickets, axis=1), replies @ query / np.linalg.norm(replies, axis=1)


def near_row(classifier: IntentClassifier, number: int, *, hide: bool = False, log_p: Floats | None = None) -> NearRows:
    """What is near the ticket of a row."""
    log_p = log_p_of(classifier) if log_p is None else log_p
    vectors = classifier.train_set.ticket_vectors[[number]]
    return near_rows(classifier, vectors, log_p, hidden=[number] if hide else None)[0]


@pytest.fixture(scope="module")
def many() -> IntentClassifier:
    return random_vectors(MANY)


def test_the_rows_of_the_nearest_tickets_and_replies_and_of_the_likeliest_intents_are_near(many: IntentClassifier) -> None:
    tickets, replies = cosines_of(many, 7)
    members = (np.flatnonzero(many.train_set.labels == c) for c in range(CANDIDATE_INTENTS))
    expected = {*np.argsort(-tickets)[:NEAREST_TEXTS], *np.argsort(-replies)[:NEAREST_TEXTS]}
    expected |= {max(rows, key=tickets.__getitem__) for rows in members}
    found = near_row(many, 7)
    assert {*found.rows} == expected
    assert np.allclose(found.ticket_cosines, tickets[found.rows], atol=2e-5)
    assert np.allclose(found.reply_cosines, replies[found.rows], atol=2e-5)
    assert (np.diff(found.rows) > 0).all(), "ascending, so that ties go to the earlier row"


def test_the_nearest_row_of_a_likely_intent_is_near_though_none_of_its_rows_is_among_the_nearest() -> None:
    rows = [row(i, f"seat price number {i}", "billing.seat", f"costs {i}") for i in range(80)]
    far = [row(90, "audit log of yesterday", "audit.log", "See it."), row(91, "audit the seat log", "audit.log", "See that.")]
    classifier = fit_classifier(train_set([*rows, *far]), with_names=True)
    vectors = HashEncoder().encode(["seat price number"])
    (found,) = near_rows(classifier, vectors, np.log([[0.4, 0.6]]))
    by_ticket = classifier.ticket_index.nearest(classifier.ticket_index.centred(vectors), texts=NEAREST_TEXTS)[0]
    assert not {80, 81} & {*by_ticket.tolist()}
    assert 81 in found.rows


def test_only_the_likeliest_intents_bring_a_row_of_their_own(many: IntentClassifier) -> None:
    last = 400 + np.arange(20)
    lonely = random_vectors([*MANY, *(row(int(i), f"far {i}", f"lonely.{i}", f"reply {i}") for i in last)])
    train = lonely.train_set
    tickets, replies = cosines_of(lonely, 0)
    near = {*np.argsort(-tickets)[:NEAREST_TEXTS], *np.argsort(-replies)[:NEAREST_TEXTS]}
    absent = [int(train.labels[i]) for i in last if i not in near]
    assert len(absent) > CANDIDATE_INTENTS
    found = near_row(lonely, 0, log_p=log_p_of(lonely, absent))
    brought = [int(train.labels[i]) for i in found.rows if int(train.labels[i]) in absent]
    assert sorted(brought) == sorted(absent[:CANDIDATE_INTENTS])


@pytest.mark.parametrize("same", ["ticket", "reply", "both"])
def test_hundreds_of_rows_with_one_text_do_not_crowd_others_out(same: str) -> None:
    text, reply = ("ticket 0" if same != "reply" else "", "reply 0" if same != "ticket" else "")
    repeated = [row(1000 + i, text or f"copy {i}", "intent.00", reply or f"copied {i}") for i in range(300)]
    others = MANY[:40]
    classifier = random_vectors([*others, *repeated])
    found = near_row(classifier, 0)
    assert {*range(40)} <= {*found.rows} if same == "both" else len(found.rows) > NEAREST_TEXTS
    copies = {"both": ROWS_PER_TEXT - 1}.get(same, ROWS_PER_TEXT - 1 + NEAREST_TEXTS)
    assert (found.rows >= 40).sum() <= copies
    assert len(found.rows) <= 2 * (NEAREST_TEXTS + ROWS_PER_TEXT) + CANDIDATE_INTENTS


@pytest.mark.parametrize("number", range(6))
def test_a_hidden_row_is_never_near_itself(number: int) -> None:
    classifier = fit_classifier(train_set(), with_names=True)
    assert number in near_row(classifier, number, log_p=log_p_of(classifier, range(3))).rows
    hidden = near_row(classifier, number, hide=True, log_p=log_p_of(classifier, range(3)))
    assert sorted([*hidden.rows.tolist(), number]) == list(range(6))


def test_a_hidden_row_is_not_the_nearest_row_of_its_intent_either() -> None:
    rows = [row(i, f"seat price number {i}", "billing.seat", f"costs {i}") for i in range(80)]
    classifier = fit_classifier(train_set([*rows, row(80, "audit log", "audit.log", "x")]), with_names=False)
    vectors, log_p = HashEncoder().encode(["seat price"]), np.log([[0.6, 0.4]])
    assert 80 in near_rows(classifier, vectors, log_p)[0].rows
    assert 80 not in near_rows(classifier, vectors, log_p, hidden=[80])[0].rows


def test_a_row_that_is_put_back_stands_last_with_the_cosines_that_a_new_ticket_would_find() -> None:
    classifier = fit_classifier(train_set(), with_names=True)
    log_p = log_p_of(classifier, range(3))
    honest = with_own_row(near_row(classifier, 2, hide=True, log_p=log_p), classifier, 2)
    tickets, replies = cosines_of(classifier, 2)
    assert honest.rows.tolist() == [0, 1, 3, 4, 5, 2]
    assert honest.ticket_cosines[-1] == pytest.approx(np.delete(tickets, 2).max(), abs=2e-5), "as near as the nearest other one"
    assert honest.reply_cosines[-1] == pytest.approx(replies[2], abs=2e-5)


def test_the_only_row_can_be_put_back() -> None:
    classifier = fit_classifier(train_set(ROWS[:1]), with_names=False)
    honest = with_own_row(near_row(classifier, 0, hide=True, log_p=np.zeros((1, 1))), classifier, 0)
    assert (honest.rows.tolist(), honest.ticket_cosines.tolist()) == ([0], [0.0])


def test_a_rows_own_ticket_does_not_lift_its_own_reply() -> None:
    rows = (*ROWS, row(7, "press revoke or rotate under settings → api", "data.export", "Something about nothing."))
    classifier = fit_classifier(train_set(rows), with_names=True)
    log_p, labels = log_p_of(classifier, range(3)), classifier.train_set.labels
    seen = near_row(classifier, 6, log_p=log_p)
    honest = with_own_row(near_row(classifier, 6, hide=True, log_p=log_p), classifier, 6)
    ranks = [
        choose_exemplars(classifier.train_set, near, exemplar_scores(near, log_p[0], labels), "", count=7).tolist().index(6)
        for near in (seen, honest)
    ]
    assert ranks[0] < ranks[1]


def test_the_exemplar_score_weighs_ticket_reply_and_intent() -> None:
    near = NearRows(np.array([0, 4]), np.array([0.5, -0.1], dtype=np.float32), np.array([0.2, 0.4], dtype=np.float32))
    scores = exemplar_scores(near, np.array([-1.0, -2.0, -3.0]), train_set().labels)
    assert scores == pytest.approx([0.3 * 0.5 + 0.7 * 0.2 - 0.1 * 2.0, 0.3 * -0.1 + 0.7 * 0.4 - 0.1 * 3.0])


def test_exemplars_stand_best_first_and_no_reply_stands_twice() -> None:
    rows = (*ROWS, row(7, "rotate my api token again", "api.token", ROWS[2].ideal_reply))
    classifier = fit_classifier(train_set(rows), with_names=True)
    vectors, log_p = HashEncoder().encode(["rotate token under settings"]), log_p_of(classifier, range(3))
    (near,) = near_rows(classifier, vectors, log_p)
    scores = exemplar_scores(near, log_p[0], classifier.train_set.labels)
    chosen = choose_exemplars(classifier.train_set, near, scores, "", count=EXEMPLARS)
    replies = [rows[i].ideal_reply for i in chosen]
    assert replies[0] == ROWS[2].ideal_reply
    assert len({*replies}) == len(replies) == EXEMPLARS
    assert (np.diff(scores[chosen]) <= 1e-5).all()


def test_exemplars_that_score_the_same_stand_in_the_order_of_the_rows() -> None:
    near = NearRows(np.array([1, 4, 0]), np.zeros(3, dtype=np.float32), np.zeros(3, dtype=np.float32))
    assert choose_exemplars(train_set(), near, np.array([0.5, 0.5 + 1e-7, 0.5 - 1e-7]), "", count=3).tolist() == [0, 1, 4]


def test_candidate_rows_are_the_best_with_each_pair_of_intent_and_reply_once() -> None:
    rows = (
        *ROWS[:3],
        row(7, "a seat?", "billing.seat", ROWS[0].ideal_reply),
        row(8, "token", "api.token", ROWS[0].ideal_reply),
    )
    near = NearRows(np.arange(5), np.zeros(5, dtype=np.float32), np.zeros(5, dtype=np.float32))
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    assert candidate_rows(train_set(rows), near, scores, count=9).tolist() == [4, 3, 2, 1]
    assert candidate_rows(train_set(rows), near, scores, count=2).tolist() == [4, 3]
    bare = tuple(replace(row, ideal_reply="") for row in ROWS[:3])
    near = NearRows(np.arange(3), np.zeros(3, dtype=np.float32), np.zeros(3, dtype=np.float32))
    assert candidate_rows(train_set(bare), near, scores[:3], count=9).tolist() == [2, 1, 0], (
        "rows without a reply are told apart"
    )
