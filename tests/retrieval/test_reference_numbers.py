import time

import pytest

from retrieval.reference_numbers import GAP, for_ticket, reference_numbers
from tests.fakes import row


def shown(ticket: str, reply: str, to: str) -> str:
    return for_ticket(row(1, ticket, "order.status", reply), to).ideal_reply


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("where is order 3707955617?", ("3707955617",)),
        ("canceling order113542617735902", ("113542617735902",)),
        ("see bill #12588", ("12588",)),
        ("invoice INV-20931 and invoice no. 20932", ("INV-20931", "20932")),
        ("Order no. 20931, order no. 20931", ("20931",)),
        ("#00108", ("00108",)),
        ("orders 77889", ("77889",)),
        ("order 12345000", ("12345000",)),
        ("refund no. 20931, refund 12500 yen, return code 16389, policy ISO27001", ("20931",)),
        ("error #80070005, theme #112233", ()),
        ("error 80070005 on login", ()),
        ("order 20931 failed with error 80070005", ("20931",)),
        ("payment error 400123, case 00123842: 50001 calls a day", ("00123842",)),
        ("my invoice shows 10001 seats, the contract says 100000 rows, ticket 100000", ()),
        ("I want to order 12500 seats", ()),
        ("order number is 20931; purchase id: PO-4711223", ("20931", "PO-4711223")),
        ("order of 12,000 seats, invoice of $20000, refund of 20000 €, payment of 20000 dollars", ()),
        ("the invoice of 2024-05-17 or 20240517", ()),
        ("order 4021", ()),
        ("my order: call me at +49 171 2345678", ()),
        ("order at https://shop.example/20931, version 20931.5", ()),
        ("paid by invoice to AB12345@shop.example", ()),
    ],
)
def test_long_numbers_behind_such_a_word_or_sign_are_found(text: str, numbers: tuple[str, ...]) -> None:
    assert reference_numbers(text) == numbers


@pytest.mark.parametrize(
    ("ticket", "reply"),
    [
        ("cancel order 20931", "Order 20931 is cancelled."),
        ("cancel order 20931. My phone is +49 171 2345678", "Order 20931 is cancelled."),
        ("cancel my order, the site shows error 80070005", f"Order {GAP} is cancelled."),
        ("cancel my order", f"Order {GAP} is cancelled."),
        ("cancel order 20931 and order 20932", f"Order {GAP} is cancelled."),
        ("cancel it, I have 50000 rows", f"Order {GAP} is cancelled."),
    ],
)
def test_another_customers_number_becomes_that_of_the_ticket_or_a_gap(ticket: str, reply: str) -> None:
    assert shown("cancel order 7788990", "Order 7788990 is cancelled.", ticket) == reply


def test_a_sign_in_front_stays_with_a_number_and_goes_with_a_gap() -> None:
    assert shown("bill #77889", "Your bill (#77889) is paid.", "bill 20931?") == "Your bill (#20931) is paid."
    assert shown("bill #77889", "Your bill (#77889) is paid.", "my bill?") == f"Your bill ({GAP}) is paid."


@pytest.mark.parametrize(
    ("ticket", "reply"),
    [
        ("what is error 80070005?", "80070005 means that the token has expired."),
        ("my order", "Orders go to the warehouse 20931."),
        ("order 20931", "Orders above 20000 items are shipped by 30999."),
        ("order 20931", "Nothing to see."),
        ("my invoice shows 10001 seats", "10001 seats cost more than 10000."),
        ("order 20931 failed with error 80070005", "80070005 means that the token has expired."),
    ],
)
def test_a_reply_without_its_own_customers_number_is_the_same_object(ticket: str, reply: str) -> None:
    stored = row(1, ticket, "order.status", reply)
    assert for_ticket(stored, "order 55555") is stored


def test_a_number_is_known_by_its_name_in_ticket_or_reply() -> None:
    assert shown("my order from Monday, 77889", "Order 77889 is cancelled.", "order 20931?") == "Order 20931 is cancelled."
    assert shown("order PO-77889", "PO-77889 is yours.", "order PO-20931") == "PO-20931 is yours."


def test_two_numbers_of_another_customer_are_two_gaps() -> None:
    stored = ("order 77889 and invoice 66554 differ", "Invoice 66554 is for order 77889.")
    assert shown(*stored, "order 55555 was billed twice") == f"Invoice {GAP} is for order {GAP}."
    assert shown(*stored, stored[0]) == stored[1], "they are the ticket's own"
    assert shown(*stored, "invoice 66554?") == f"Invoice 66554 is for order {GAP}.", "one of them is, and takes no other place"


def test_only_the_customers_number_is_changed() -> None:
    found = shown("order 77889", "Order 77889 left warehouse 20931; its parcel is 778899.", "order 55555")
    assert found == "Order 55555 left warehouse 20931; its parcel is 778899."


@pytest.mark.parametrize("text", ["A" * 10**5, "1" * 10**5, "A-" * 10**5, "1-" * 10**5, "#" * 10**5, "order 1" * 10**4])
def test_long_runs_take_no_time(text: str) -> None:
    began = time.perf_counter()
    reference_numbers(text)
    assert time.perf_counter() - began < 2
