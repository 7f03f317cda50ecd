"""From evidence to decision: the reply gate and the forgetting check by a mean, that of the LM scores by an upper quantile."""

import json
from itertools import product

import numpy as np
import pytest

from finetune.gates import (
    LM_STANDARD,
    MIN_GIVEN,
    MIN_REPLIES,
    REPLY_STANDARD,
    SCALE_STANDARD,
    LmWeight,
    first_fold_stop,
    lm_scores_gate,
    lm_scores_gate_untested,
    reply_gate,
    reply_gate_untested,
    scale_gate,
    scale_gate_untested,
)
from retrieval.bootstrap import bootstrap_interval
from retrieval.gate import Gate


def test_replies_are_generated_where_that_is_better() -> None:
    gate = reply_gate([0.05, -0.01] * 10, given=20, seed=0)
    assert (gate.passed, gate.decision, gate.n, gate.value) == (True, "generate", 20, pytest.approx(0.02))
    assert gate.interval == bootstrap_interval([0.05, -0.01] * 10, level=0.873, seed=0)
    assert not reply_gate([0.0] * 20, given=20, seed=0).passed, "equal is not better: a copy was written by someone"


def test_replies_are_copied_where_generating_is_worse() -> None:
    gate = reply_gate([-0.2, 0.05] * 10, given=20, seed=0)
    assert (gate.passed, gate.decision) == (False, "copy")


@pytest.mark.parametrize(("gains", "decision"), [([0.6, -0.5] * 10, "generate"), ([0.31, -0.3] * 10, "copy")])
def test_the_mean_gain_decides_and_the_interval_says_how_sure_that_is(gains: list[float], decision: str) -> None:
    gate = reply_gate(gains, given=len(gains), seed=0)
    assert gate.value is not None
    assert gate.interval is not None
    assert gate.interval[0] < 0 < gate.value < gate.interval[1]
    assert (gate.passed, gate.decision) == (decision == "generate", decision)
    assert all(f"{end:+.3f}" in gate.reason for end in (gate.value, *gate.interval))


@pytest.mark.parametrize("count", [0, 1, MIN_REPLIES - 1])
def test_too_few_judged_replies_are_copied_however_good_they_are(count: int) -> None:
    gate = reply_gate([0.5] * count, given=count, seed=0)
    assert (gate.passed, gate.decision, gate.n, gate.interval) == (False, "copy", count, None)
    assert gate.reason.startswith("untested: ")
    assert reply_gate([0.5] * MIN_REPLIES, given=MIN_REPLIES, seed=0).passed


CLEAR, UNCLEAR = [0.3, 0.0] * 6, [0.5, -0.3] * 6


def test_a_clear_gain_in_the_first_fold_is_enough() -> None:
    stopped = first_fold_stop(CLEAR, 12, given=6, seed=0)
    gate = reply_gate(CLEAR, given=6, stopped=stopped, seed=0)
    assert (gate.passed, gate.decision, gate.n) == (True, "generate", 12)
    assert gate.reason.endswith("(the first fold is clear: the second was not measured)")


@pytest.mark.parametrize(
    ("gains", "stopped"),
    [
        ([0.5] * 4, "4 of 12 out-of-fold replies passed the check in the first fold, 5 needed"),
        ([-0.1] * 12, "mean gain -0.100 in the first fold, -0.100 at its 93.7 % quantile, +0.01 needed"),
        ([0.0] * 5, "mean gain +0.000 in the first fold, +0.000 at its 93.7 % quantile, +0.01 needed"),
    ],
)
def test_a_first_fold_without_enough_replies_or_gain_ends_in_a_copy(gains: list[float], stopped: str) -> None:
    assert first_fold_stop(gains, 12, given=len(gains), seed=0) == stopped
    assert not reply_gate(gains, given=len(gains), stopped=stopped, seed=0).passed


@pytest.mark.parametrize("gains", [[0.5] * (MIN_REPLIES - 1), UNCLEAR, [0.2, -0.2] * 6, [0.005] * 12])
def test_the_second_fold_is_measured_where_it_could_still_decide(gains: list[float]) -> None:
    assert first_fold_stop(gains, 12, given=len(gains), seed=0) == ""


def test_a_lucky_draft_beside_stored_replies_is_no_evidence() -> None:
    few, gains = MIN_GIVEN - 1, [0.3] * (MIN_GIVEN - 1) + [0.0] * 8
    assert first_fold_stop(gains, 12, given=few, seed=0) == "", "not clear: the second fold may have more"
    gate = reply_gate(gains, given=few, seed=0)
    assert (gate.passed, gate.decision, gate.figures) == (False, "copy", {"drafts given": few})
    assert gate.reason.endswith(f"; {few} drafts given, {MIN_GIVEN} needed")
    assert reply_gate(gains, given=MIN_GIVEN, seed=0).passed
    assert first_fold_stop(gains, 12, given=MIN_GIVEN, seed=0) == "the first fold is clear"


def increases(at_1: float, at_half: float, *, paraphrases: float = 0.0) -> dict[float, tuple[list[float], list[float]]]:
    return {1.0: ([at_1] * 4, [paraphrases] * 3), 0.5: ([at_half] * 4, [paraphrases] * 3)}


@pytest.mark.parametrize(
    ("measured", "scale"),
    [
        (increases(0.05, 0.0), 1.0),
        (increases(0.06, 0.02), 0.5),
        (increases(0.2, 0.06), 0.0),
        (increases(0.0, 0.0, paraphrases=0.06), 0.0),
    ],
)
def test_the_first_scale_within_the_bound_is_kept_and_both_kinds_of_text_count(
    measured: dict[float, tuple[list[float], list[float]]], scale: float
) -> None:
    chosen, gate = scale_gate(measured, seed=0)
    assert (chosen, gate.passed, gate.decision) == (scale, scale > 0, f"scale {scale:g}")
    assert gate.figures["sentences at scale 1"] == pytest.approx(measured[1.0][0][0])


def test_the_forgetting_check_decides_by_the_mean_and_shows_the_interval() -> None:
    chosen, gate = scale_gate({1.0: ([-0.4, 0.49] * 4, [0.0])}, seed=0)
    assert gate.interval is not None
    assert gate.value == pytest.approx(0.045)
    assert gate.interval[0] < 0.0
    assert gate.interval[1] > 0.05
    assert chosen == 1.0


def test_a_loss_that_is_not_finite_is_too_much_and_the_record_is_still_json() -> None:
    chosen, gate = scale_gate({1.0: ([float("nan")], [0.0]), 0.5: ([float("inf")], [0.0])}, seed=0)
    assert chosen == 0.0
    json.dumps([gate.value, gate.interval, dict(gate.figures)], allow_nan=False)


WEIGHT = LmWeight(0.5, "was measured with this base")


def evidence(*, right: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """20 rows, 3 intents; the classifier wavers, the model is sure of the right or of the wrong one; the third has no score."""
    truth = np.arange(20) % 2
    log_p = np.log(np.tile([0.45, 0.45, 0.1], (20, 1)))
    scores = np.full((20, 3), np.nan)
    scores[:, :2] = -4.0
    scores[np.arange(20), truth if right else 1 - truth] = -0.1
    return log_p, scores, truth


def test_lm_scores_that_help_the_train_rows_join_with_the_measured_weight() -> None:
    weight, gate = lm_scores_gate(*evidence(right=True), WEIGHT, seed=0)
    assert (weight, gate.passed, gate.n, gate.decision) == (0.5, True, 20, "weight 0.5")
    assert gate.value is not None
    assert gate.value > 0.4
    assert gate.figures["cross-entropy without"] - gate.figures["cross-entropy with"] == pytest.approx(gate.value)
    assert gate.reason.endswith("the weight was measured with this base")


def test_lm_scores_that_mislead_the_train_rows_stay_out() -> None:
    weight, gate = lm_scores_gate(*evidence(right=False), WEIGHT, seed=0)
    assert (weight, gate.passed, gate.decision) == (0.0, False, "not used")


def mixed(*, right_of_ten: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    log_p, good, truth = evidence(right=True)
    _, bad, _ = evidence(right=False)
    return log_p, np.where((np.arange(20) % 10 < right_of_ten)[:, None], good, bad), truth


def test_train_rows_forbid_lm_scores_where_the_harm_is_clear_and_not_by_noise() -> None:
    weight, gate = lm_scores_gate(*mixed(right_of_ten=7), WEIGHT, seed=0)
    assert gate.value is not None
    assert gate.interval is not None
    assert gate.value < 0 < gate.interval[1]
    assert (weight, gate.passed) == (0.5, True)
    weight, gate = lm_scores_gate(*mixed(right_of_ten=5), WEIGHT, seed=0)
    assert gate.interval is not None
    assert gate.interval[1] < 0
    assert (weight, gate.passed) == (0.0, False)


def test_rows_that_were_not_scored_do_not_count_and_without_any_the_scores_stay_out() -> None:
    log_p, scores, truth = evidence(right=True)
    half = np.where((np.arange(20) < 10)[:, None], scores, np.nan)
    assert lm_scores_gate(log_p, half, truth, WEIGHT, seed=0)[1].n == 10
    weight, gate = lm_scores_gate(log_p, np.full_like(scores, np.nan), truth, WEIGHT, seed=0)
    assert (weight, gate.passed, gate.value) == (0.0, False, None)
    assert gate.reason == "untested: no train row that is unsure between two intents could be scored"


def every_gate() -> list[Gate]:
    replies = [reply_gate(gains, given=len(gains), seed=0) for gains in ([0.1] * 20, [-0.1] * 20, [])]
    lm = [lm_scores_gate(*evidence(right=right), WEIGHT, seed=0)[1] for right in (True, False)]
    scale = [scale_gate(increases(*given), seed=0)[1] for given in product((0.0, 0.2), repeat=2)]
    untested = [reply_gate_untested("why"), lm_scores_gate_untested("why")[1], scale_gate_untested("why")[1]]
    return [*replies, *lm, *scale, *untested]


def test_every_record_names_its_standard_and_its_statistic_with_the_unit() -> None:
    standards = {"replies": REPLY_STANDARD, "LM intent scores": LM_STANDARD, "adapter scale": SCALE_STANDARD}
    units = {"replies": "reply quality", "LM intent scores": "nats per ticket", "adapter scale": "nats per token"}
    for gate in every_gate():
        assert gate.standard == standards[gate.name]
        assert units[gate.name] in gate.statistic
        assert (" % bootstrap quantile" in gate.standard) == (gate.name != "adapter scale")
        assert "mean" in gate.statistic
        assert gate.reason
        assert (gate.value is None) == (gate.n == 0)


def test_what_was_not_tested_is_not_used() -> None:
    assert not reply_gate_untested("why").passed
    weight, lm = lm_scores_gate_untested("why")
    scale, adapter = scale_gate_untested("why")
    assert (weight, lm.passed, scale, adapter.passed) == (0.0, False, 1.0, False)
    assert all("untested: why" in gate.reason for gate in (lm, adapter))
