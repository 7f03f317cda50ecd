"""The money of a run: what a call may cost is reserved before it is made, what it did cost is counted afterwards."""

from dataclasses import dataclass

from finetune.remote.prices import Price, Usage

ROUNDING = 1e-12  # dollars: sums of floats


@dataclass(slots=True)
class Budget:
    """What may be spent, what is spent, and what is held for calls that are under way."""

    limit_usd: float
    price: Price
    spent_usd: float = 0.0
    reserved_usd: float = 0.0

    @property
    def idle(self) -> bool:
        """Whether no call is under way, so that nothing more will be given back."""
        return self.reserved_usd <= ROUNDING

    def fits(self, most: Usage) -> bool:
        """Whether a call of at most so many tokens can be paid whatever the calls under way will cost."""
        return self.spent_usd + self.reserved_usd + self.price.usd(most) <= self.limit_usd + ROUNDING

    def reserve(self, most: Usage) -> bool:
        """Holds the money for a call, or says that there is not enough."""
        if not self.fits(most):
            return False
        self.reserved_usd += self.price.usd(most)
        return True

    def settle(self, most: Usage, used: Usage) -> None:
        """Counts what a call used and gives the rest of its reservation back."""
        self.reserved_usd -= self.price.usd(most)
        self.spent_usd += self.price.usd(used)
