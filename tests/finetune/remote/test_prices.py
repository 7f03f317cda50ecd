"""Prices: per million tokens, the same for a pinned version, the dearest for a model that nobody knows."""

import pytest

from finetune.remote.prices import PRICES, Usage, price_of


@pytest.mark.parametrize("name", ["gpt-4.1-mini", "openai/gpt-4.1-mini", "gpt-4.1-mini-2025-04-14"])
def test_vendor_and_date_do_not_change_the_price(name: str) -> None:
    price = price_of(name)
    assert price.known
    assert price.usd(Usage(1_000_000, 1_000_000)) == pytest.approx(sum(PRICES["gpt-4.1-mini"]))


def test_an_unknown_model_costs_as_much_as_the_dearest_one_and_the_price_says_that_it_is_a_guess() -> None:
    price = price_of("somebody/new-model")
    assert not price.known
    assert price.prompt == max(prompt for prompt, _ in PRICES.values())
    assert price.completion == max(completion for _, completion in PRICES.values())


def test_tokens_add_up_by_kind() -> None:
    assert Usage(1, 20) + Usage(300, 4000) == Usage(301, 4020)
