import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import run
from evaluation.submission.result_schema import SCHEMA, schema_problems
from retrieval.known_models import MINILM
from tests.evaluation.samples import result
from tests.test_run import GOOD, arguments, write


def good() -> dict[str, Any]:
    return result(("a", "Guests need no seat.", "billing.seat"), ("b", "Press Export.", "data.export"))


def problems_of(folder: Path, found: Any) -> list[str]:
    path = folder / "results.json"
    path.write_text(found if isinstance(found, str) else json.dumps(found))
    return schema_problems(path, ["a", "b"])


def test_the_schema_is_a_schema() -> None:
    from jsonschema import Draft202012Validator

    Draft202012Validator.check_schema(json.loads(SCHEMA.read_text()))


def test_a_good_result_has_no_problems(tmp_path: Path) -> None:
    assert problems_of(tmp_path, good()) == []


def test_the_result_of_a_real_run_has_none(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", GOOD)
    write(tmp_path / "val.jsonl", {"id": "b", "ticket": "guest seats?"}, {"id": "a", "ticket": "and a second?"})
    assert run.main(arguments(tmp_path, encoder=MINILM.name)) == 0
    assert schema_problems(tmp_path / "results.json", ["b", "a"]) == []


BREAKS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no training": (lambda r: r.pop("training"), "$: 'training' is a required property"),
    "no predictions": (lambda r: r.pop("predictions"), "$: 'predictions' is a required property"),
    "another key": (lambda r: r.update(more=1), "$: Additional properties are not allowed ('more' was unexpected)"),
    "no steps": (lambda r: r["training"].pop("steps"), "$.training: 'steps' is a required property"),
    "half a step": (lambda r: r["training"].update(steps=1.5), "$.training.steps: 1.5 is not of type 'integer'"),
    "true as steps": (lambda r: r["training"].update(steps=True), "$.training.steps: True is not of type 'integer'"),
    "a loss below 0": (lambda r: r["training"].update(val_loss=-1), "$.training.val_loss: -1 is less than the minimum of 0"),
    "no loss": (lambda r: r["training"].update(train_loss=None), "$.training.train_loss: None is not of type 'number'"),
    "a time as text": (lambda r: r["training"].update(wall_clock_s="5"), "$.training.wall_clock_s: '5' is not of type"),
    "a number as id": (lambda r: r["predictions"][0].update(id=3), "$.predictions[0].id: 3 is not of type 'string'"),
    "no reply": (lambda r: r["predictions"][1].pop("prediction"), "$.predictions[1]: 'prediction' is a required property"),
    "a blank reply": (
        lambda r: r["predictions"][1].update(prediction=" \n"),
        "$.predictions[1].prediction: ' \\n' does",
    ),
    "no intent": (lambda r: r["predictions"][0].update(predicted_intent=""), "$.predictions[0].predicted_intent: '' does not"),
    "a latency below 0": (lambda r: r["predictions"][0].update(latency_ms=-1), "$.predictions[0].latency_ms: -1 is less than"),
    "half a token": (lambda r: r["predictions"][0].update(tokens_used=0.5), "$.predictions[0].tokens_used: 0.5 is not of"),
    "a further field": (
        lambda r: r["predictions"][0].update(why=""),
        "$.predictions[0]: Additional properties are not allowed",
    ),
    "no rows": (lambda r: r.update(predictions=[]), "$.predictions: [] should be non-empty"),
    "a row too few": (lambda r: r["predictions"].pop(), "found 1 predictions, none for b, expected one for each of 2 tickets"),
    "another order": (lambda r: r["predictions"].reverse(), "found 2 predictions, for others, or in another order"),
    "a row twice": (lambda r: r["predictions"].append(r["predictions"][0]), "found 3 predictions, for others"),
}


@pytest.mark.parametrize(("change", "said"), BREAKS.values(), ids=BREAKS)
def test_a_broken_result_is_a_sentence(tmp_path: Path, change: Callable[[dict[str, Any]], Any], said: str) -> None:
    broken = good()
    change(broken)
    (problem,) = problems_of(tmp_path, broken)
    assert problem.startswith(f"results.json: {said}")


def test_all_that_is_broken_is_told(tmp_path: Path) -> None:
    broken = good()
    broken["training"]["steps"], broken["predictions"][0]["id"] = -1, None
    assert len(problems_of(tmp_path, broken)) == 2


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, json.dumps(good()).replace("5.0", "NaN"), '{"training": Infinity}'])
def test_what_is_no_json_is_one_sentence(tmp_path: Path, text: str) -> None:
    (problem,) = problems_of(tmp_path, text)
    assert problem.startswith("results.json: found no JSON (")


def test_no_file_is_one_sentence(tmp_path: Path) -> None:
    (problem,) = schema_problems(tmp_path / "none.json", [])
    assert problem.startswith("none.json: cannot be read (No such file")
