import numpy as np
import pytest

from evaluation.benchmarks.noisy_channel.replies import ROW_WEIGHTS, reply_by_row, row_lines
from evaluation.benchmarks.stored_replies import Case, copied
from evaluation.score.labels import Label
from retrieval.exemplars import INTENT_WEIGHT, REPLY_WEIGHT, TICKET_WEIGHT
from tests.evaluation.benchmarks.noisy_channel.made import scored
from tests.fakes import ROWS, HashEncoder


def test_a_rows_own_score_brings_its_reply_to_the_front() -> None:
    for best in (0, 1, 2):
        found = scored([[-9.0 + 8.0 * (k == best) for k in range(3)]] * 2)
        assert reply_by_row(found, 0, "reply", 1.0) == ROWS[best].ideal_reply


@pytest.mark.parametrize("score", [0.0, float("nan")])
def test_equal_scores_and_missing_ones_leave_the_ranking(score: float) -> None:
    found, label = scored([[score] * 3] * 2), Label("x", ("x",), "x")
    for i in (0, 1):
        case = Case("", found.vectors[i], found.near[i], found.log_p[i], found.classifier.train_set, label)
        without = copied((TICKET_WEIGHT, REPLY_WEIGHT, INTENT_WEIGHT))(case)
        assert reply_by_row(found, i, "reply", 1.0) == without


def test_every_weight_has_a_line_against_the_ranking_without_scores() -> None:
    lines = list(row_lines([scored([[0.0] * 3] * 2)] * 2, "reply", HashEncoder()))
    assert [line["a nat counts"] for line in lines] == [f"{weight:g}" for weight in ROW_WEIGHTS]
    assert {line["minus classifier"] for line in lines} == {"+0.0000 ± 0.0000"}
    assert np.isfinite([float(line["cosine"]) for line in lines]).all()
