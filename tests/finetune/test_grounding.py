import pytest

from finetune.grounding import findings

SOURCE = (
    "Open Settings → Members → Guests and press “Add guest”. It takes 15 minutes, costs $1,200 or 5 % a year, "
    "see https://n.example/help or write to help@n.example, {{Order Number}}."
)


@pytest.mark.parametrize(
    "reply",
    [
        SOURCE,
        "Go to Settings > Members, then wait 15 minutes.",
        "Write to HELP@n.example.",
        "1. Open the page.\n2. Press it.",
        "It costs $1,200.",
        "A 15-minute wait.",
        "Allow 15 min.",
        "It costs 1,200$.",
        "It costs 1,200 dollars.",
        "Press 'Add guest' or \"add guest\".",
        'Open "Members".',
        "See n.example/help.",
        "The guests' seats and the users' seats.",
    ],
)
def test_what_stands_in_a_source_is_grounded(reply: str) -> None:
    assert findings(reply, [SOURCE], "how?") == ()


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("It takes 20 minutes.", "duration 20 minute"),
        ("It takes 15 days.", "duration 15 day"),
        ("It costs $1.", "number $1"),
        ("It costs $1,201.", "number $1,201"),
        ("See https://n.example/other.", "URL n.example/other"),
        ("Write to sales@n.example.", "address sales@n.example"),
        ("Open Settings → Billing.", "UI step settings → billing"),
        ("Open Members → Settings.", "UI step members → settings"),
        ("Press “Remove guest”.", "quoted name remove guest"),
        ("Dear [customer name], yes.", "placeholder [customer name]"),
        ("Your order {{Order Id}} is fine.", "placeholder {{order id}}"),
        ("Open Settings → Members Archive.", "UI step settings → members archive"),
        ("Go to login.n.example/reset.", "URL login.n.example/reset"),
        ("We are SOC3 certified.", "number soc3"),
        ("Use v3 of it.", "number v3"),
        ("It costs USD500.", "number usd500"),
        ("It costs 7 dollars.", "number 7"),
        ("It costs 7$.", "number $7"),
        ("Wait 24h.", "duration 24 hour"),
        ("Press 'Drop guest'.", "quoted name drop guest"),
        ("", "empty"),
        ("  \n", "empty"),
        ("Yes it is lost. Yes it is lost.", 'repeats "'),
        ("Open it.\n\nintent: a.b\nreply: Open it.", "prompt's form"),
    ],
)
def test_what_stands_in_no_source_is_found(reply: str, expected: str) -> None:
    assert any(expected in finding for finding in findings(reply, [SOURCE], "how?")), findings(reply, [SOURCE], "how?")


def test_the_ticket_is_a_source_and_so_is_each_exemplar() -> None:
    assert findings("Order 77 is on its way, 3 days left.", ["3 days"], "where is order 77?") == ()


@pytest.mark.parametrize("ticket", ["where are my 299 dollars?", "where are my 299 US Dollars?", "where are my $299?"])
@pytest.mark.parametrize("reply", ["No guest seat costs $299.", "No guest seat costs 299 dollars."])
def test_an_amount_of_money_may_be_written_otherwise_than_in_its_source(reply: str, ticket: str) -> None:
    assert findings(reply, [SOURCE], ticket) == ()


@pytest.mark.parametrize(
    ("reply", "source"),
    [
        ("A seat costs $10.", "Users: 10\ndollars only"),
        ("It costs €1.", "1 000 euros"),
        ("It costs €000.", "1 000 euros"),
        ("It costs $1.", "1'000 dollars"),
        ("It costs €299.", "299 dollars"),
        ("It costs 30 euros.", "$30"),
    ],
)
def test_another_amount_is_not_taken_for_it(reply: str, source: str) -> None:
    assert any(finding.startswith("number") for finding in findings(reply, [source], "how?"))


@pytest.mark.parametrize(
    ("reply", "source"),
    [
        ("A seat costs 5 dollars.", "A seat costs 5 or 10 dollars, by plan."),
        ("From 2025, a seat is USD 30.", "From 2025 USD 30 per seat is charged."),
        ("Enterprise gets 1,200 requests per minute.", "Enterprise 1,200, and Free has no API access."),
        ("The fee is 20, the deposit 30 dollars.", "The fee is 20 dollars, the deposit $30."),
        ("It costs $1,200.50, paid yearly.", "It costs 1,200.50 dollars."),
    ],
)
def test_a_number_that_the_source_says_passes_beside_a_currency(reply: str, source: str) -> None:
    assert findings(reply, [source], "how?") == ()


def test_a_run_of_words_that_a_source_repeats_too_may_be_repeated() -> None:
    twice = "Go to the page with all your open orders. Then go to the page with all your open orders again."
    assert findings(twice, [twice], "how?") == ()
    assert findings(twice, [SOURCE], "how?") == ('it repeats "go to the page with all your open"',)


@pytest.mark.parametrize(
    "reply",
    [
        "To check the early exit fee, open Members. The early exit fee stands there.",
        "I understand that you'd like to leave. If you'd like to stay, write to us.",
        "Yes. You can. Yes.",
    ],
)
def test_people_repeat_a_few_words_and_so_may_a_reply(reply: str) -> None:
    assert findings(reply, [SOURCE], "how?") == ()


@pytest.mark.parametrize(
    ("reply", "run"),
    [
        ("You can do it. Ask us first. You can do it.", "you can do it"),
        ("Please try again. Please try again. Please try again.", "please try again"),
        ("It is not open " * 3, "it is not open it is not open"),
    ],
)
def test_a_reply_that_goes_in_circles_does_not_pass(reply: str, run: str) -> None:
    assert findings(reply, [SOURCE], "how?") == (f'it repeats "{run}"',)


def test_a_reply_that_was_cut_never_passes() -> None:
    assert findings("Open Settings → Members", [SOURCE], "how?", ended=False) == ("it never ended",)


STORED = ["Guests need no seat on any plan.", "One more seat is $12 a month."]
TICKET = "the last two digits of her number are transposed on the form that went to the government"


def test_a_reply_that_says_the_ticket_back_is_found() -> None:
    echo = "The last two digits of her number are swapped on what went to the government."
    assert findings(echo, STORED, TICKET) == ("it says the ticket back",)


def test_a_reply_with_words_or_facts_of_a_stored_reply_is_no_echo() -> None:
    assert findings("Guests need no seat.", STORED, TICKET) == ()
    assert findings("The last two digits of her number cost $12 for the government.", STORED, TICKET) == ()
    assert findings("The digits of her number.", (), TICKET) == (), "without stored replies there is nothing to compare with"
    joined = ["Her number stands on the form.", "The government gets the transposed digits from you."]
    assert findings("Her number stands on the form; the government gets the digits.", joined, TICKET) == ()
