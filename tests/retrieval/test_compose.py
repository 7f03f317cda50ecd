"""Replies made of two stored ones."""

from dataclasses import replace

import numpy as np
import pytest

from retrieval.compose import compose, sentences, with_composed_replies
from retrieval.encoder import Vectors
from retrieval.intent_classifier import fit_classifier
from retrieval.prediction import Reply, copy_reply
from retrieval.retrieve import Retrieval, retrieve
from retrieval.tickets import LabelledTicket, Ticket
from tests.fakes import ROWS, HashEncoder, row, train_set

FIRST = "Seats are billed by the month. Press Add under Seats."
TICKET = np.array([1.0, 0.0, 0.0], dtype=np.float32)
FAR, NEAR, OTHER = ([0.1, 1.0, 0.0], [0.9, 0.0, 0.3], [0.8, 0.0, 0.5])


def composed(second: str, vectors: dict[str, list[float]]) -> str:
    """The first reply, both of whose sentences are far from the ticket, with what fits of the second."""
    known: dict[str, Vectors] = {sentence: np.array(FAR, dtype=np.float32) for sentence in sentences(FIRST)}
    return compose(FIRST, second, TICKET, known | {text: np.array(v, dtype=np.float32) for text, v in vectors.items()})


def test_the_sentences_of_the_second_reply_that_are_nearer_to_the_ticket_follow_the_first() -> None:
    vectors = {"Guests are free.": NEAR, "We like cats.": [0.0, 0.0, 1.0]}
    assert composed("Guests are free. We like cats.", vectors) == f"{FIRST} Guests are free."


def test_nothing_is_composed_where_no_sentence_fits() -> None:
    assert composed("We like cats.", {"We like cats.": [0.0, 0.0, 1.0]}) == ""


def test_a_sentence_that_the_first_reply_nearly_says_is_not_repeated() -> None:
    assert composed("Press Add there.", {"Press Add there.": [0.2, 1.0, 0.0]}) == ""


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("It takes 3 days.", "It takes 5 days.", False),
        ("It takes 3 days.", "It takes 5 hours.", True),
        ("It takes 3 days.", "Wait 3 days, please.", True),
        ("A seat is $12.", "A seat is $24.", False),
        ("You get 60 requests.", "You get 300 requests.", False),
        ("You get 60 requests.", "You get 300 guests.", True),
    ],
)
def test_a_sentence_with_another_number_for_the_same_thing_is_left_out(first: str, second: str, said: bool) -> None:
    known = {first: np.array(FAR, dtype=np.float32), second: np.array(NEAR, dtype=np.float32)}
    assert compose(first, second, TICKET, known) == (f"{first} {second}" if said else "")


def test_a_step_of_a_list_is_left_out_and_the_answer_to_another_question_loses_its_yes() -> None:
    second = "1. Open Seats.\nYes, guests are free."
    vectors = {"1. Open Seats.": NEAR, "Yes, guests are free.": OTHER}
    assert composed(second, vectors) == f"{FIRST} Guests are free."


def test_sentences_end_at_marks_and_lines_and_not_inside_of_an_address_or_behind_the_number_of_a_step() -> None:
    found = ["Write to a.b@c.example.", "It helps!", "1. Open it. Wait."]
    assert sentences("Write to a.b@c.example. It helps!\n1. Open it. Wait.\n\n") == found


TIED = (
    row(1, "guest seat", "billing.seat", "Any guest seat is red. Some like cows."),
    row(2, "guest seat", "billing.seat", "A guest seat is green. All like pigs."),
)


def answered(text: str, rows: tuple[LabelledTicket, ...]) -> Retrieval:
    encoder, tickets = HashEncoder(), [Ticket("v1", text)]
    vectors = encoder.encode([text])
    found = retrieve(fit_classifier(train_set(rows), with_names=True), tickets, vectors)
    return with_composed_replies(found, vectors, encoder)[0]


def test_two_replies_of_the_predicted_intent_that_tie_are_composed_and_marked_so() -> None:
    found = answered("guest seat", (*TIED, *ROWS[2:]))
    assert found.tied == TIED[1]
    assert copy_reply(found) == Reply("Any guest seat is red. Some like cows. A guest seat is green.", "composed")


def test_replies_that_do_not_tie_and_equal_replies_are_copied() -> None:
    far = answered("rotate my api token", (*TIED, *ROWS[2:]))
    assert (far.tied, copy_reply(far)) == (None, Reply(ROWS[2].ideal_reply, "copied"))
    same = tuple(replace(one, ideal_reply=TIED[0].ideal_reply) for one in TIED)
    assert copy_reply(answered("guest seat", (*same, *ROWS[2:]))).source == "copied"


def test_a_reply_that_differs_in_another_customers_number_alone_is_not_tied() -> None:
    rows = (
        row(1, "cancel order 11111", "order.cancel", "Order 11111 is cancelled."),
        row(2, "cancel order 22222", "order.cancel", "Order 22222 is cancelled."),
    )
    assert answered("cancel order 33333", (*rows, *ROWS[2:])).tied is None


def test_a_row_of_another_intent_is_not_tied() -> None:
    other = (TIED[0], replace(TIED[1], intent="billing.other"))
    assert answered("guest seat", (*other, *ROWS[2:])).tied is None
