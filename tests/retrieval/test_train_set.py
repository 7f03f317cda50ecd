import numpy as np
import pytest

from retrieval.train_set import MAX_REPORTED, embed_train_set, near_duplicates, representative_rows
from tests.fakes import ROWS, HashEncoder, row, train_set


def test_a_text_that_stands_twice_is_embedded_once() -> None:
    encoder = HashEncoder()
    found = embed_train_set((*ROWS, row(9, ROWS[0].text, "a.b", ROWS[1].ideal_reply)), encoder)
    assert encoder.asked.count(ROWS[0].text) == encoder.asked.count(ROWS[1].ideal_reply) == 1
    assert np.array_equal(found.ticket_vectors[-1], found.ticket_vectors[0])
    assert np.array_equal(found.reply_vectors[-1], found.reply_vectors[1])


def test_a_slice_keeps_order_and_vectors_and_the_intents_that_lost_their_rows() -> None:
    whole = train_set()
    part = whole.subset([5, 0])
    assert (part.rows, part.intents) == ((ROWS[5], ROWS[0]), ("api.token", "billing.seat", "data.export"))
    assert [part.intents[label] for label in part.labels] == ["data.export", "billing.seat"]
    assert np.array_equal(part.reply_vectors, whole.reply_vectors[[5, 0]])
    assert whole.without([1, 2, 3, 4]).rows == (ROWS[0], ROWS[5])


def test_near_duplicates_with_different_intents_are_named() -> None:
    rows = (*ROWS, row(7, "my token leaked", "billing.seat", "x"))
    assert near_duplicates(train_set(rows)) == ['near-duplicate tickets "t4" (api.token) and "t7" (billing.seat)']


def test_near_duplicates_are_found_across_blocks_and_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (*ROWS, row(9, ROWS[0].text, "another.intent", "x"), row(10, ROWS[0].text, ROWS[0].intent, "y"))
    monkeypatch.setattr("retrieval.train_set.BLOCK", 3)
    assert near_duplicates(train_set(rows)) == [
        'near-duplicate tickets "t1" (billing.seat) and "t9" (another.intent)',
        'near-duplicate tickets "t9" (another.intent) and "t10" (billing.seat)',
    ]
    monkeypatch.setattr("retrieval.train_set.MAX_COMPARED", 6)
    assert near_duplicates(train_set(rows)) == []


def test_a_few_near_duplicates_are_enough() -> None:
    rows = [row(i, "the same ticket", f"intent.{i}", "x") for i in range(6)]
    assert len(near_duplicates(train_set(rows))) == MAX_REPORTED


def test_representative_rows_cover_every_intent_before_any_has_two() -> None:
    many = train_set((*ROWS, *(row(10 + i, f"seat {i}", "billing.seat", f"r{i}") for i in range(6))))
    chosen = representative_rows(many, at_most=3)
    assert sorted(many.labels[chosen].tolist()) == [0, 1, 2]
    assert representative_rows(many, at_most=99).tolist() == list(range(12))


def test_the_row_that_is_most_like_its_intent_represents_it() -> None:
    rows = [row(i, text, "a.b", "r") for i, text in enumerate(["one two zebra", "one two", "one two okapi", "quagga"])]
    assert representative_rows(train_set(rows), at_most=1).tolist() == [1]


def test_a_repeated_ticket_represents_its_intent_last() -> None:
    rows = [row(i, text, "billing.seat", "r") for i, text in enumerate(["seat price", "Seat  price", "other words"])]
    assert representative_rows(train_set(rows), at_most=2).tolist() in ([0, 2], [1, 2])
