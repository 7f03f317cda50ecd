from retrieval.compose import with_composed_replies
from retrieval.intent_classifier import fit_classifier
from retrieval.masking import customers_data, masked, masking_warnings
from retrieval.prediction import copy_reply
from retrieval.retrieve import retrieve
from retrieval.tickets import LabelledTicket, Ticket
from tests.fakes import ROWS, HashEncoder, row, train_set

CARD = "4111 1111 1111 1111"


def replies(*pairs: tuple[str, str]) -> list[str]:
    """The masked replies of tickets with these replies."""
    return [r.ideal_reply for r in masked([row(i, text, "billing.seat", reply) for i, (text, reply) in enumerate(pairs)])]


def test_rows_without_personal_data_stay_the_same_objects() -> None:
    assert all(one is other for one, other in zip(masked(ROWS), ROWS, strict=True))
    assert masking_warnings(ROWS) == []


def test_what_a_customer_wrote_and_what_nobody_wrote_is_masked() -> None:
    found = replies(
        ("my mail is Jane.Doe@acme.example", "We wrote to jane.doe@acme.example."),
        ("where is it", "Mr Doe, +49 171 1234567, has it; his card is 4111 1111 1111 1111."),
        ("and mine", "Paid from DE89 3704 0044 0532 0130 00 today."),
    )
    assert found == [
        "We wrote to [e-mail address].",
        "Mr Doe, [phone number], has it; his card is [card number].",
        "Paid from [account number] today.",
    ]


def test_what_stands_in_the_replies_to_several_tickets_is_the_teams_own() -> None:
    reply = "Ask x.y@other.example or call +49 30 1234567."
    assert replies(("one", reply), ("two", reply)) == [reply, reply]
    assert replies(("one", reply), ("ONE ", reply)) == ["Ask [e-mail address] or call [phone number]."] * 2, "one ticket twice"


def test_a_customer_with_two_tickets_is_still_a_customer() -> None:
    pair = ("I am jane@acme.example", "We wrote to jane@acme.example.")
    assert replies(pair, ("again jane@acme.example", pair[1])) == ["We wrote to [e-mail address]."] * 2


def test_a_card_number_is_never_the_teams_own() -> None:
    assert replies(*((text, f"It is {CARD}.") for text in ("one", "two"))) == ["It is [card number]."] * 2


def test_mailboxes_of_the_product_stay_though_each_stands_in_one_reply() -> None:
    found = replies(
        ("a", "Write to restore@northstar.example."),
        ("b", "Open login.northstar.example/reset."),
        ("restore@northstar.example is silent", "Sorry! restore@northstar.example is back."),
        ("c", "Ask anna.meier@northstar.example."),
    )
    assert found[:3] == [
        "Write to restore@northstar.example.",
        "Open login.northstar.example/reset.",
        "Sorry! restore@northstar.example is back.",
    ]
    assert found[3] == "Ask [e-mail address].", "a colleague"


def test_a_provider_of_mailboxes_is_no_product() -> None:
    found = replies(*((text, f"We wrote to {text}@gmail.com.") for text in ("ann", "bob", "cid")))
    assert found == ["We wrote to [e-mail address]."] * 3


def test_the_mailbox_of_a_role_and_a_toll_free_number_stay_unless_the_customer_named_them() -> None:
    assert replies(("a", "Ask billing@x.example or 0800 1234567.")) == ["Ask billing@x.example or 0800 1234567."]
    assert replies(("I am info@acme.example", "We wrote to info@acme.example.")) == ["We wrote to [e-mail address]."]


def test_the_warning_names_rows_and_kinds_and_no_datum() -> None:
    rows = [row(1, "a", "x", "Ask a.b@c.example and d.e@f.example, +49 171 1234567."), row(2, "b", "x", f"It is {CARD}.")]
    (warning,) = masking_warnings(rows)
    assert warning == (
        'personal data in the stored replies of "t1", "t2": 1 card number, 2 e-mail addresses, 1 phone number; masked, because '
        "they may be a customer's"
    )
    assert {i: len(data) for i, data in customers_data(rows).items()} == {0: 3, 1: 1}


def test_masking_masked_rows_changes_nothing() -> None:
    once = masked([row(1, "a", "x", "Ask a.b@c.example."), *ROWS])
    assert masked(once) == once


def test_no_copied_reply_prompt_or_vector_has_a_customers_address() -> None:
    encoder, address = HashEncoder(), "jane.doe@acme.example"
    rows = (LabelledTicket("s", f"my seat, {address}", "billing.seat", f"Your seat is paid by {address} today."), *ROWS[1:])
    found = train_set(rows)
    assert address not in " ".join(one.ideal_reply for one in found.rows)
    ticket = Ticket("v", "my seat is paid by whom")
    vectors = encoder.encode([ticket.text])
    (answer,) = with_composed_replies(retrieve(fit_classifier(found, with_names=False), [ticket], vectors), vectors, encoder)
    assert copy_reply(answer).text.startswith("Your seat is paid by [e-mail address] today.")
    assert not any(address in one.ideal_reply for one in answer.exemplars)
