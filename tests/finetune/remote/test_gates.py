"""The gates of a remote model: a gain must be shown, on enough rows."""

import numpy as np
import pytest

from finetune.gates import MIN_REPLIES, first_fold_stop
from finetune.remote.gates import (
    INTENTS_STANDARD,
    MIN_SCORED,
    first_half_stop,
    remote_intents_gate,
    remote_intents_untested,
    remote_replies_untested,
    remote_reply_gate,
)
from finetune.remote.intent_scores import WEIGHT
from retrieval.lm_fusion import Floats

EVEN = np.log([0.4, 0.4, 0.2])


def scored(rows: int, *, right: float, wrong: float) -> tuple[Floats, Floats, np.ndarray]:
    """So many rows of intent 0 between two intents, and what a model says of both (nats)."""
    return np.tile(EVEN, (rows, 1)), np.tile([right, wrong, np.nan], (rows, 1)), np.zeros(rows, dtype=np.int64)


def test_scores_that_know_the_intent_are_used_with_the_weight_that_was_tried() -> None:
    gate = remote_intents_gate(*scored(MIN_SCORED, right=-0.1, wrong=-3.0), seed=0)
    assert (gate.passed, gate.decision, gate.standard) == (True, f"weight {WEIGHT:g}", INTENTS_STANDARD)
    assert gate.value is not None
    assert gate.value > 0.3
    assert gate.figures["right with"] == MIN_SCORED


def test_scores_that_do_not_know_it_stay_out() -> None:
    gate = remote_intents_gate(*scored(MIN_SCORED, right=-3.0, wrong=-0.1), seed=0)
    assert (gate.passed, gate.decision) == (False, "not used")
    assert not remote_intents_gate(*scored(MIN_SCORED, right=-1.0, wrong=-1.0), seed=0).passed, "no gain is not enough"


def test_a_gain_in_cross_entropy_that_costs_right_intents_does_not_count() -> None:
    log_p, scores, truth = scored(40, right=-0.05, wrong=-3.0)
    log_p[:2], scores[:2] = np.log([0.41, 0.39, 0.2]), [-3.0, -2.5, np.nan]  # two that were right, barely
    gate = remote_intents_gate(log_p, scores, truth, seed=0)
    assert gate.interval is not None
    assert gate.interval[0] > 0
    assert (gate.figures["right without"], gate.figures["right with"], gate.passed) == (40, 38, False)


def test_a_few_rows_are_no_evidence_however_good_they_are() -> None:
    gate = remote_intents_gate(*scored(MIN_SCORED - 1, right=0.0, wrong=-4.0), seed=0)
    assert not gate.passed
    assert gate.reason == f"untested: {MIN_SCORED - 1} train rows were scored, {MIN_SCORED} needed"


def test_rows_that_were_not_scored_do_not_count() -> None:
    log_p, scores, truth = scored(40, right=-0.1, wrong=-3.0)
    scores[5:] = np.nan
    assert "5 train rows were scored" in remote_intents_gate(log_p, scores, truth, seed=0).reason


@pytest.mark.parametrize(("gain", "decision"), [(0.1, "used"), (-0.1, "not used"), (0.0, "not used")])
def test_replies_need_a_gain_over_the_copied_ones(gain: float, decision: str) -> None:
    gate = remote_reply_gate([gain] * MIN_REPLIES, seed=0)
    assert (gate.name, gate.decision, gate.passed) == ("remote replies", decision, decision == "used")
    assert gate.statistic.endswith("of the drafts that passed the check"), "remote replies are not chosen by nearness"


def test_replies_that_cost_money_need_a_gain_beyond_the_noise() -> None:
    gate = remote_reply_gate([0.6, -0.5] * MIN_REPLIES, seed=0)
    assert gate.interval is not None
    assert gate.interval[0] < 0
    assert (gate.passed, gate.decision) == (False, "not used")
    assert gate.reason.endswith("+0.01 needed, and the lower end above 0")
    assert "its 6.3 % bootstrap quantile is above 0" in gate.standard


def test_a_first_half_that_gains_too_little_is_not_followed_by_the_other_however_uncertain_it_is() -> None:
    unsure = [0.6, -0.59] * 6
    assert first_half_stop(unsure, 12, seed=0) == "mean gain +0.005 in the first half, +0.01 needed"
    assert first_fold_stop(unsure, 12, given=12, seed=0) == "", "what costs nothing but time goes on"
    assert first_half_stop([0.6, -0.5] * 6, 12, seed=0) == ""
    assert first_half_stop([0.0097] * 12, 12, seed=0) == "the first fold is clear", "as it is printed, +0.010"
    assert first_half_stop([0.2] * 12, 12, seed=0) == "the first fold is clear"
    assert first_half_stop([0.2] * 4, 12, seed=0).startswith("4 of 12 out-of-fold replies passed the check")


def test_what_was_not_tested_is_not_used() -> None:
    for gate in (remote_intents_untested("no money"), remote_replies_untested("no money")):
        assert (gate.passed, gate.decision, gate.reason) == (False, "not used", "untested: no money")
