"""The money of a run: what a call may cost is reserved before it is made, what it did cost is counted afterwards."""

from dataclasses import dataclass

from finetune.remote.prices import Price, Usage

ROUNDING = 1e-12  # dollars: sums of floats


@dataclass(slots=True)
class Budget:
    """What may be spent, what is spent, and what is held for calls that are under way; US dollars."""

    limit: float
    price: Price
    spent: float = 0.0
    reserved: float = 0.0
    costliest: float = 0.0  # call so far: an endpoint may count tokens that nobody sent (its own prompt, its reasoning)

    @property
    def idle(self) -> bool:
        """Whether no call is under way, so that nothing more will be given back."""
        return self.reserved <= ROUNDING

    def at_most(self, most: Usage) -> float:
        """What a call of at most so many tokens may cost."""
        return max(self.price.usd(most), self.costliest)

    def fits(self, usd: float) -> bool:
        """Whether so much can be paid whatever the calls under way will cost."""
        return self.spent + self.reserved + usd <= self.limit + ROUNDING

    def reserve(self, usd: float) -> None:
        """Holds so much for a call."""
        self.reserved += usd

    def settle(self, reserved: float, used: Usage) -> None:
        """Counts what a call used and gives the rest of what was held for it back."""
        cost = self.price.usd(used)
        self.reserved -= reserved
        self.spent += cost
        self.costliest = max(self.costliest, cost)
