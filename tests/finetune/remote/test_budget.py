"""The budget: what is held for calls under way cannot be spent twice, and what they do not use comes back."""

import pytest

from finetune.remote.budget import Budget
from finetune.remote.prices import Price, Usage

CALL = Usage(100_000, 0)  # 0.10 USD


def budget(limit: float) -> Budget:
    return Budget(limit, Price(1.0, 1.0, known=True))


def test_money_is_held_until_the_call_is_settled() -> None:
    found = budget(0.20)
    found.reserve(0.10)
    assert found.fits(0.10)
    found.reserve(0.10)
    assert not found.fits(0.01)
    found.settle(0.10, Usage(50_000, 0))
    assert found.spent == pytest.approx(0.05)
    assert (found.fits(0.05), found.fits(0.06), found.idle) == (True, False, False)
    found.settle(0.10, Usage())
    assert (found.fits(0.15), found.idle) == (True, True)


def test_a_budget_can_be_spent_to_the_last_cent() -> None:
    found = budget(0.30)
    for _ in range(3):
        assert found.fits(0.10)
        found.reserve(0.10)
        found.settle(0.10, CALL)
    assert not found.fits(0.000001)


def test_a_call_may_cost_what_the_costliest_one_did() -> None:
    found = budget(1.0)
    assert found.at_most(CALL) == pytest.approx(0.10)
    found.reserve(0.10)
    found.settle(0.10, Usage(150_000, 0))
    assert found.at_most(CALL) == pytest.approx(0.15)
