import time

import pytest

from retrieval.personal_data import personal_data, registered_domain


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        ("Write to Jane.Doe@Acme.example.", "e-mail address", "Jane.Doe@Acme.example"),
        ("call +49 171 1234567 2 times", "phone number", "+49 171 1234567"),
        ("+1 (800) 555-0100", "phone number", "+1 (800) 555-0100"),
        ("0049 30 1234567", "phone number", "0049 30 1234567"),
        ("(555) 213-4567.", "phone number", "(555) 213-4567"),
        ("on 020 7946 0958 today", "phone number", "020 7946 0958"),
        ("030/1234567", "phone number", "030/1234567"),
        ("01 23 45 67 89", "phone number", "01 23 45 67 89"),
        ("we call you back on 5552134567", "phone number", "5552134567"),
        ("mobile number is 01711234567", "phone number", "01711234567"),
        ("card 4111 1111 1111 1111 12/27", "card number", "4111 1111 1111 1111"),
        ("3 cards: 378282246310005", "card number", "378282246310005"),
        ("DE89 3704 0044 0532 0130 00 BIC COBADEFF", "account number", "DE89 3704 0044 0532 0130 00"),
        ("gb29nwbk60161331926819", "account number", "gb29nwbk60161331926819"),
        ("account number: 12345678", "account number", "12345678"),
        ("sort code 20-30-40", "account number", "20-30-40"),
    ],
)
def test_personal_data_are_found_where_they_stand(text: str, kind: str, found: str) -> None:
    (datum,) = personal_data(text)
    assert (datum.kind, datum.text) == (kind, found)
    assert text[datum.start :].startswith(found)


@pytest.mark.parametrize(
    "text",
    [
        "order 113542617735902, order 555-213-4567, order #4111111111111111",
        "2024-05-06, 06.05.2024, 01-02-2024 at 10:30, 2024-05-01T10:00:00+02:00, phone 2024-05-06",
        "$1,299.00, 1.200.300 requests, +10.000.000 rows, 1 200 seats",
        "version 10.15.7.123, 192.168.100.200, react@18.2.0, ISBN 978-3-16-148410-0",
        "ticket SUP-2024-000123, invoice 0171 1234567, case number is 555 213 4567",
        "card 4111 1111 1111 1112, DE88 3704 0044 0532 0130 00, 9007199254740993, 1716544800123",
        "call the API 10000000 times, error 429, ending in 4242, 24/7, {{Phone Number}}",
    ],
)
def test_other_numbers_are_none(text: str) -> None:
    assert personal_data(text) == ()


def test_a_number_is_found_once_whatever_else_it_looks_like() -> None:
    found = personal_data("account number 4111111111111111, jane@acme.example, phone +49 171 1234567")
    assert [datum.kind for datum in found] == ["account number", "e-mail address", "phone number"]


def test_spellings_of_one_number_are_one() -> None:
    (abroad,), (here,) = personal_data("+49 171 1234567"), personal_data("0171/1234567")
    assert abroad.key == here.key
    assert abroad.stands_in("it is (0171) 123-4567")
    assert not abroad.stands_in("it is (0171) 123-4568")


def test_the_registered_domain_is_below_the_public_ones() -> None:
    assert [registered_domain(host) for host in ("login.x.example", "x.example", "a.b.co.uk")] == ["x.example"] * 2 + [
        "b.co.uk"
    ]


@pytest.mark.parametrize("piece", ["1 ", "a", "@", "a@a.", "0-", "+1 ", "phone ", "(", "4111 "])
def test_a_long_text_is_searched_in_time_that_grows_with_its_length(piece: str) -> None:
    start = time.process_time()
    personal_data(piece * (200_000 // len(piece)))
    assert time.process_time() - start < 20.0
