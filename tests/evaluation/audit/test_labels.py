import sys

import numpy as np
import pytest

from evaluation.audit.labels import doubtful_rows, duplicate_findings, label_findings, label_quality
from evaluation.command import MissingPackage
from tests.evaluation.audit.evidence import evidence
from tests.fakes import ROWS, row, train_set

SEAT, TOKEN = "billing.seat", "api.token"


def test_the_quality_of_a_label_is_its_out_of_fold_probability() -> None:
    found = evidence(probabilities={1: {SEAT: 0.1, TOKEN: 0.9}})
    quality = label_quality(found.train_set.labels, found.log_p)
    assert quality[1] == pytest.approx(0.1, abs=0.001)
    assert min(np.delete(quality, 1)) > 0.99


def test_a_label_with_hardly_any_probability_is_found_beside_rows_of_both_intents() -> None:
    found = evidence(probabilities={1: {SEAT: 0.001, TOKEN: 0.9}, 3: {SEAT: 0.5, TOKEN: 0.03}})
    (finding,) = label_findings(found)
    assert finding.what == '"t2" is labelled billing.seat and looks like api.token'
    assert finding.advice.startswith("label it api.token, or, if the label is right, add a row of billing.seat")
    assert [one.intent for one in finding.rows] == [SEAT, TOKEN, SEAT]
    assert (finding.rows[0].id, finding.rows[2].id) == ("t2", "t1")
    assert finding.rows[0].note == "probabilities: billing.seat 0.001, api.token 0.999"


def test_the_worst_label_comes_first() -> None:
    found = evidence(probabilities={1: {SEAT: 0.01, TOKEN: 0.9}, 4: {SEAT: 0.9, "data.export": 0.001}})
    assert doubtful_rows(found.train_set, found.log_p).tolist() == [4, 1]


def test_the_only_row_of_an_intent_is_not_doubted() -> None:
    rows = (*ROWS, row(7, "a thing", "other", "A reply."))
    found = evidence(rows, {6: {SEAT: 1.0}})
    assert doubtful_rows(found.train_set, found.log_p).tolist() == []


def test_one_intent_leaves_nothing_to_doubt() -> None:
    found = train_set(ROWS[:2])
    assert doubtful_rows(found, np.zeros((2, 1))).tolist() == []


def test_near_duplicates_with_different_labels_are_shown_side_by_side() -> None:
    rows = (*ROWS, row(7, "my token leaked", SEAT, "?"))
    (finding,) = duplicate_findings(evidence(rows))
    assert finding.what == '"t4" and "t7" say nearly the same (cosine 1.00) and are labelled differently'
    assert [(one.id, one.intent) for one in finding.rows] == [("t4", TOKEN), ("t7", SEAT)]


def test_a_missing_cleanlab_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab.rank", None)
    with pytest.raises(
        MissingPackage, match=r"needs cleanlab, found none: `make report` installs it, or pip install -r requirements-dev\.txt"
    ):
        label_quality(np.array([0, 1]), np.log(np.full((2, 2), 0.5)))
