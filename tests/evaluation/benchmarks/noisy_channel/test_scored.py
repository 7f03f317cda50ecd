from dataclasses import replace

import numpy as np
import pytest

from evaluation.benchmarks.noisy_channel import scored as module
from evaluation.benchmarks.noisy_channel.scored import Way
from evaluation.benchmarks.noisy_channel.tables import sum_lines, table_line
from retrieval.lm_fusion import fuse
from tests.evaluation.benchmarks.noisy_channel.made import WAVERING, scored


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
    monkeypatch.setattr(module, "UNSURE", {"name": 0.9, "reply": 0.45})  # the first ticket's confidence is .5
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
    monkeypatch.setattr(module, "UNSURE", {"name": 0.9, "reply": 0.9})
    of_reply = scored([[-1.0, -1.0, np.nan], [-1.0, -1.0, -9.0]])
    found = replace(of_reply, scores={**of_reply.scores, "name": np.array([[-2.0, -2.0, -3.0]] * 2)})
    summed = found.summed(["name", "reply"], 0.5)
    assert summed[0].tolist() == WAVERING[0].tolist(), "a reply was too long for the base: a run gives no score either"
    assert summed[1].tolist() != WAVERING[1].tolist()
