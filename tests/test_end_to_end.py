"""One real run with both embedded models on a part of the sample, and a second one without network that must equal it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from finetune.base_model import load_base
from tests.test_run import ROOT, check_result

TRAIN_ROWS, VAL_ROWS = 14, 4
TIMED = ("wall_clock_s", "latency_ms")
pytestmark = pytest.mark.real


@dataclass(frozen=True)
class RealRun:
    folder: Path
    result: dict[str, Any]
    record: dict[str, Any]
    explanations: list[dict[str, Any]]


def run_sample(folder: Path, **environment: str) -> RealRun:
    train, val = (ROOT / "data" / name for name in ("train.jsonl", "val.jsonl"))
    rows = [json.loads(line) for line in train.read_text(encoding="utf-8").splitlines()]
    order = sorted(rows, key=lambda row: row["intent"])[:TRAIN_ROWS]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in order))
    (folder / "val.jsonl").write_text("".join(f"{line}\n" for line in val.read_text().splitlines()[:VAL_ROWS]))
    paths = ["--train", folder / "train.jsonl", "--val", folder / "val.jsonl"]
    paths += ["--weights", folder / "weights", "--output", folder / "results.json"]
    done = subprocess.run(
        [sys.executable, "run.py", *map(str, paths)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ids = [json.loads(line)["id"] for line in (folder / "val.jsonl").read_text().splitlines()]
    result = check_result(folder / "results.json", ids, {row["intent"] for row in order})
    record = json.loads((folder / "weights" / "run.json").read_text())
    lines = (folder / "weights" / "predictions.jsonl").read_text().splitlines()
    return RealRun(folder, result, record, [json.loads(line) for line in lines])


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> RealRun:
    return run_sample(tmp_path_factory.mktemp("real"))


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in TIMED}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def test_the_adapter_was_trained_and_its_losses_are_in_the_record(real: RealRun) -> None:
    assert real.result["training"]["steps"] == len(real.record["losses"]) > 0
    assert real.record["losses"][-1] < real.record["losses"][0]
    assert real.record["base"]["digest"].startswith("sha256:b179c952")


def test_every_gate_says_what_it_decided_and_on_what(real: RealRun) -> None:
    assert [gate["name"] for gate in real.record["gates"]] == ["intent names", "adapter scale", "intent scorer", "replies"]
    assert all(gate["decision"] and gate["why"] for gate in real.record["gates"])


def test_every_answer_is_explained(real: RealRun) -> None:
    train_ids = {json.loads(line)["id"] for line in (real.folder / "weights" / "train_set.jsonl").read_text().splitlines()}
    for row, prediction in zip(real.explanations, real.result["predictions"], strict=True):
        assert row["prediction"] == prediction["prediction"]
        assert row["intent_scores"][0]["intent"] == prediction["predicted_intent"]
        assert {*row["exemplars"], *(neighbour["id"] for neighbour in row["neighbours"])} <= train_ids
        assert row["source"] in {"copied", "generated", "replaced"}
        assert (row["source"] == "copied") == (prediction["tokens_used"] == 0)


def test_the_saved_adapter_changes_the_base_that_its_config_names(real: RealRun) -> None:
    base = load_base("auto")
    config = json.loads((real.folder / "weights" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == base.source
    assert config["lora_alpha"] == 32 * real.record["scale"] > 0
    ids = torch.tensor([base.tokenizer.encode("Guests don't consume a seat")])
    plain = base.model(ids).logits
    tuned = PeftModel.from_pretrained(base.model, real.folder / "weights")
    assert not torch.allclose(tuned(ids).logits, plain)


def test_trap_8_without_network_the_same_run_gives_the_same_bytes(real: RealRun, tmp_path: Path) -> None:
    attempts = tmp_path / "attempts"
    again = run_sample(tmp_path, PYTHONPATH=str(ROOT / "tests" / "no_network"), NETWORK_ATTEMPTS=str(attempts))
    assert not attempts.exists(), attempts.read_text()
    assert without_times(again.result) == without_times(real.result)
    assert again.explanations == real.explanations
    assert again.record["sha256"] == real.record["sha256"]
