import pytest

from retrieval.facts import facts, quantities


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("24h and 24 hours", {("duration", "24 hour"), ("number", "24")}),
        ("$ 12 or 12€", {("number", "$12"), ("number", "€12")}),
        ("Settings → API tokens, then", {("UI step", "settings → api")}),
        ("write to a@b.example.", {("address", "a@b.example")}),
        ("see https://www.x.example/y.", {("URL", "x.example/y")}),
        ('press "Add it"', {("quoted name", "add it")}),
        ("{{Order}}", {("placeholder", "{{order}}")}),
        ("nothing to check", set()),
    ],
)
def test_facts_have_one_form(text: str, found: set[tuple[str, str]]) -> None:
    assert facts(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3 days or 5 days", {"day": {"3", "5"}}),
        ("60 requests, 1 request", {"request": {"60", "1"}}),
        ("$12 per seat", {"$": {"$12"}}),
        ("1. Open it", {}),
        ("write to team24@x.example now", {}),
        ("429", {}),
    ],
)
def test_a_quantity_is_a_number_and_what_it_counts(text: str, found: dict[str, set[str]]) -> None:
    assert quantities(text) == found
