"""What is done with a base's scores: best row or mean, thresholds, calibration, and scores that are kept."""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.benchmarks import noisy_channel
from evaluation.benchmarks.noisy_channel import (
    Scored,
    ScoredDraw,
    Way,
    calibration,
    gate_lines,
    score_draw,
    sum_lines,
    table_line,
)
from evaluation.benchmarks.public_sets import Draw
from retrieval.exemplars import near_rows
from retrieval.intent_classifier import fit_classifier
from retrieval.lm_fusion import fuse
from retrieval.tickets import InputProblems
from tests.fakes import ROWS, HashEncoder, base, row, train_set

TESTS = (row(91, "one seat", "billing.seat", ROWS[1].ideal_reply), row(92, "token", "api.token", ROWS[3].ideal_reply))
TRUE = np.array([1, 0])  # the intents of the tests: api.token, billing.seat, data.export in order of their names
WAVERING = np.log(np.array([[0.5, 0.4, 0.1], [0.3, 0.4, 0.3]]))  # both wrong


def scored(scores: list[list[float]]) -> Scored:
    classifier = fit_classifier(train_set(), with_names=True)
    vectors = HashEncoder().encode([test.text for test in TESTS])
    near = near_rows(classifier, vectors, WAVERING)
    rows = np.array([[0, 1, 2], [2, 3, 0]])  # seat seat token, token token seat
    return Scored(classifier, TESTS, vectors, TRUE, WAVERING, near, rows, {"reply": np.array(scores)})


def test_an_intent_has_its_best_rows_score_or_the_mean_of_its_rows() -> None:
    found = scored([[-3.0, -1.0, -4.0], [-1.0, -5.0, -2.0]])
    assert found.matrix(Way("reply", 1.0, 3))[0, :2].tolist() == [-4.0, -1.0]
    assert found.matrix(Way("reply", 1.0, 3, mean=True))[0, :2].tolist() == [-4.0, -2.0]
    assert found.matrix(Way("reply", 1.0, 2))[0, :2].tolist() != [-4.0, -1.0], "the third row is no candidate"
    assert np.isnan(found.matrix(Way("reply", 1.0, 3))[:, 2]).all(), "data.export has no row near"


def test_scores_make_the_right_intents_of_unsure_tickets_and_leave_sure_ones() -> None:
    found = scored([[-1.0, -1.0, -9.0], [-1.0, -1.0, -9.0]])
    assert table_line("x", [found], Way("reply", 0.0, 3, below=0.95))["right %"] == "0.0"
    assert table_line("x", [found], Way("reply", 1.0, 3, below=0.95))["right %"] == "100.0"
    assert table_line("x", [found], Way("reply", 1.0, 3, below=0.45))["right %"] == "50.0", "the first has confidence .5"


def test_the_sum_counts_what_a_ticket_is_unsure_enough_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noisy_channel, "UNSURE", {"name": 0.9, "reply": 0.45})  # the first ticket's confidence is .5
    of_reply = scored([[-1.0, -1.0, -9.0], [-1.0, -1.0, -9.0]])
    of_name = {"name": np.array([[-2.0, -2.0, -3.0], [-2.0, -2.0, -3.0]])}
    found = replace(of_reply, scores={**of_reply.scores, **of_name})
    by_hand = fuse(WAVERING, np.array([[-3.0, -2.0, np.nan], [-2.0 - 1.0, -3.0 - 9.0, np.nan]]), 0.5)
    assert found.summed(["name", "reply"], 0.5).tolist() == pytest.approx(by_hand)
    alone = found.fused(Way("name", 0.5, 6, below=0.9))
    assert found.summed(["name", "reply"], 0.5)[0].tolist() == alone[0].tolist()
    assert found.summed(["name", "reply"], 0.5)[1].tolist() != alone[1].tolist()
    assert next(line["way"] for line in sum_lines([found], ["name", "reply"])).startswith("name + reply, each below")


def test_a_ticket_that_has_no_score_for_one_part_is_left_out_of_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noisy_channel, "UNSURE", {"name": 0.9, "reply": 0.9})
    of_reply = scored([[-1.0, -1.0, np.nan], [-1.0, -1.0, -9.0]])
    found = replace(of_reply, scores={**of_reply.scores, "name": np.array([[-2.0, -2.0, -3.0]] * 2)})
    summed = found.summed(["name", "reply"], 0.5)
    assert summed[0].tolist() == WAVERING[0].tolist(), "a reply was too long for the base: a run gives no score either"
    assert summed[1].tolist() != WAVERING[1].tolist()


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


def test_scores_are_kept_and_read_again_without_a_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noisy_channel, "SCORED_BELOW", 2.0)
    tests = tuple(replace(test, text=f"{test.text} about a seat token export") for test in TESTS)
    vectors = HashEncoder().encode([test.text for test in tests])
    drawn = Draw(train_set(), np.arange(2), tests, vectors, TRUE)
    options = argparse.Namespace(candidates=3, cache=tmp_path, own_rows=True)
    given = ["reply", "name", "tuned"]
    first = score_draw(drawn, base(), given, options, "key")
    again = score_draw(drawn, None, given, options, "key")
    assert first.own is not None
    assert again.own is not None
    for name in given:
        assert np.array_equal(first.tests.scores[name], again.tests.scores[name], equal_nan=True)
        assert np.array_equal(first.own.scores[name], again.own.scores[name], equal_nan=True)
    assert all(own not in rows for own, rows in enumerate(first.own.rows)), "a train row is hidden from itself"
    assert not np.array_equal(first.tests.scores["reply"], first.tests.scores["tuned"], equal_nan=True)
    with pytest.raises(InputProblems):
        score_draw(drawn, None, ["ticket"], options, "key")


def test_a_command_without_a_folder_for_scores_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert noisy_channel.main(["--data", "nowhere"]) == 2
    assert "--cache: found none, expected a folder" in capsys.readouterr().err
