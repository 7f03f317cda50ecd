import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.fewshot import calibration_error
from evaluation.labels import Label, read_labels
from evaluation.score import read_predictions, score_rows
from retrieval.tickets import InputProblems
from tests.fakes import HashEncoder

LABEL = {"id": "v", "intent": "a.b", "accepted_intents": ["a.c"], "ideal_reply": "Guests need no seat."}
FACTS = {"must_mention": [["no seat", "free"], ["guests"]], "must_not_mention": ["5 seats"]}


def labels(tmp_path: Path, row: dict[str, object]) -> dict[str, Label]:
    (tmp_path / "labels.jsonl").write_text(json.dumps(row) + "\n")
    return read_labels(tmp_path / "labels.jsonl")


@pytest.mark.parametrize(("intent", "right"), [("a.b", True), ("a.c", True), ("a.d", False)])
def test_an_accepted_intent_counts_as_right(tmp_path: Path, intent: str, right: bool) -> None:
    (row,) = score_rows({"v": {"intent": intent, "reply": "x"}}, labels(tmp_path, LABEL), HashEncoder())
    assert row.intent_right is right


def test_facts_are_met_by_any_alternative_without_regard_to_case_and_spaces(tmp_path: Path) -> None:
    label = labels(tmp_path, LABEL | FACTS)["v"]
    assert label.facts_met("GUESTS  are Free") == 2
    assert label.facts_met("they need no  seat") == 1
    assert label.wrong_facts("at most 5  Seats") == ("5 seats",)


def test_the_same_reply_has_cosine_one(tmp_path: Path) -> None:
    (row,) = score_rows({"v": {"intent": "a.b", "reply": LABEL["ideal_reply"]}}, labels(tmp_path, LABEL), HashEncoder())
    assert row.cosine == pytest.approx(1.0, abs=1e-5)


def test_a_label_without_prediction_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(InputProblems, match="v: found no prediction"):
        score_rows({}, labels(tmp_path, LABEL), HashEncoder())


@pytest.mark.parametrize("bad", [{"must_mention": ["flat"]}, {"must_not_mention": "x"}, {"accepted_intents": [1]}])
def test_bad_lists_in_labels_are_named(tmp_path: Path, bad: dict[str, object]) -> None:
    with pytest.raises(InputProblems, match="row v: found"):
        labels(tmp_path, LABEL | bad)


@pytest.mark.parametrize("content", ["", "[]", '{"predictions": [{"id": "a"}]}'])
def test_a_file_that_is_no_result_is_a_problem(tmp_path: Path, content: str) -> None:
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(InputProblems, match=r"expected a result of run\.py"):
        read_predictions(tmp_path / "r.json")


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    assert calibration_error(np.array([0.95, 0.95]), np.array([True, False])) == pytest.approx(0.45)
    assert calibration_error(np.array([1.0, 0.05]), np.array([True, False])) == pytest.approx(0.025)
