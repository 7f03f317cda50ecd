import numpy as np
import pytest

from retrieval.lm_fusion import fuse, lm_score_matrix

LOG_P = np.log([[0.5, 0.3, 0.15, 0.05]])
LM_SCORES = np.array([[-9.0, -1.0, np.nan, np.nan]])


def test_lm_scores_move_probability_among_the_candidates_and_leave_the_rest() -> None:
    p = np.exp(fuse(LOG_P, LM_SCORES, 1.0))[0]
    assert p[1] > p[0], "the language model's favourite wins"
    assert p[0] / p[1] == pytest.approx(0.5 / 0.3 * np.exp(-8.0))
    assert np.allclose([p[0] + p[1], p[2], p[3]], [0.8, 0.15, 0.05])


def test_an_intent_without_a_score_cannot_lose_or_win() -> None:
    lone = np.array([[np.nan, np.nan, np.nan, 50.0]])
    assert np.allclose(fuse(LOG_P, lone, 5.0), LOG_P), "one candidate has nothing to share with"


def test_weight_zero_and_no_scores_change_nothing() -> None:
    assert np.array_equal(fuse(LOG_P, LM_SCORES, 0.0), LOG_P)
    assert np.array_equal(fuse(LOG_P, np.full_like(LOG_P, np.nan), 2.0), LOG_P)


def test_a_ticket_without_scores_beside_one_with_keeps_its_probabilities() -> None:
    both = np.concatenate([LOG_P, LOG_P])
    scores = np.concatenate([LM_SCORES, np.full_like(LM_SCORES, np.nan)])
    assert np.array_equal(fuse(both, scores, 1.0)[1], LOG_P[0])


def test_large_scores_leave_probabilities_finite() -> None:
    p = np.exp(fuse(LOG_P, np.array([[-9000.0, -9100.0, np.nan, np.nan]]), 1.0))[0]
    assert np.allclose(p, [0.8, 0.0, 0.15, 0.05])


def test_the_matrix_has_no_number_where_there_is_no_score() -> None:
    found = lm_score_matrix({"b": {"y": -2.0}, "c": {"x": -1.0}}, ["a", "b"], ["x", "y"])
    assert np.array_equal(found, [[np.nan, np.nan], [np.nan, -2.0]], equal_nan=True)
