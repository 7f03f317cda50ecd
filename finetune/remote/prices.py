"""What a remote model costs, so that money can be counted before it is spent.

A model that is not in the table takes its dearest price: an estimate that is too high ends a run early, one that is too low
spends what nobody allowed.
"""

import re
from dataclasses import dataclass

# US dollars per million prompt and completion tokens, without discounts: OpenAI's list prices (openai.com/api/pricing), as they
# stood in April 2026 (read in third-party tables of that month, not at the source). Models that take a temperature and a seed.
PRICES = {
    "gpt-4.1-nano": (0.10, 0.40),
    "gpt-4o-mini": (0.15, 0.60),
    "gpt-4.1-mini": (0.40, 1.60),
    "gpt-4.1": (2.00, 8.00),
    "gpt-4o": (2.50, 10.00),
    "gpt-4-turbo": (10.00, 30.00),
}
SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")  # the date of a pinned version, which costs the same


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of a call, or of many."""

    prompt: int = 0
    completion: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        """The tokens of both."""
        return Usage(self.prompt + other.prompt, self.completion + other.completion)


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    prompt: float
    completion: float
    known: bool  # whether the model stands in the table

    def usd(self, usage: Usage) -> float:
        """What so many tokens cost."""
        return (usage.prompt * self.prompt + usage.completion * self.completion) / 1e6


def price_of(model: str) -> Price:
    """The price of a model by its name, without the vendor that a router puts before it and without its date."""
    name = SNAPSHOT.sub("", model.rpartition("/")[2])
    dearest = tuple(max(prices) for prices in zip(*PRICES.values(), strict=True))
    prompt, completion = PRICES.get(name, dearest)
    return Price(prompt, completion, known=name in PRICES)
