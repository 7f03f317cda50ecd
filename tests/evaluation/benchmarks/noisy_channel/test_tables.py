import numpy as np
import pytest

from evaluation.benchmarks.noisy_channel.scored import ScoredDraw
from evaluation.benchmarks.noisy_channel.tables import calibration, gate_lines
from tests.evaluation.benchmarks.noisy_channel.made import WAVERING, scored


def test_the_calibration_is_the_gap_of_confidence_and_accuracy() -> None:
    found = scored([[0.0] * 3] * 2)
    assert calibration([WAVERING], [found]) == pytest.approx((0.5 + 0.4) / 2)
    sure = np.log(np.array([[0.01, 0.98, 0.01], [0.98, 0.01, 0.01]]))
    assert calibration([sure], [found]) == pytest.approx(0.02)


def test_the_gate_takes_scores_that_harm_the_train_rows_out() -> None:
    good, bad = scored([[-1.0, -1.0, -9.0], [-1.0, -1.0, -9.0]]), scored([[-9.0, -9.0, -1.0], [-9.0, -9.0, -1.0]])
    never, always, gated = gate_lines([ScoredDraw(good, bad), ScoredDraw(good, good)], "reply", 1.0)
    assert gated["LM scores"] == "gated, used in 1 of 2"
    assert [line["right %"] for line in (never, always, gated)] == ["0.0", "100.0", "50.0"]
