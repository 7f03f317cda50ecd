"""The real run of the command, and a second one without network that must equal it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

import run
from finetune.base_model import load_base
from finetune.support_model import SupportModel
from retrieval.cpu import described
from retrieval.known_models import SMOLLM
from retrieval.tickets import read_val
from tests.real_run import RealRun, run_sample
from tests.test_run import ROOT

TIMED = ("wall_clock_s", "latency_ms")
pytestmark = pytest.mark.real


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in TIMED}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def test_the_adapter_was_trained_and_its_losses_are_in_the_record(real: RealRun) -> None:
    assert real.result["training"]["steps"] == len(real.record["losses"]) > 0
    assert real.record["losses"][-1] < real.record["losses"][0]
    assert real.record["base"]["digest"].startswith("sha256:b179c952")


def test_the_record_says_where_it_ran(real: RealRun) -> None:
    expected = torch.cuda.get_device_name() if torch.cuda.is_available() else described()
    assert real.record["processor"] == expected
    assert real.record["threads"] >= 1


def test_no_library_prints_anything_in_between(real: RealRun) -> None:
    stages, _, summary = real.stderr.partition("\n\n")
    assert not re.search(r"[\r\x1b]", real.stderr), "no control characters in a pipe"
    assert [line for line in stages.splitlines() if not re.match(r"\[ *\d+\.\d s\] ", line)] == []
    assert summary.startswith("answered ")


def test_every_gate_says_what_it_decided_and_on_what(real: RealRun) -> None:
    assert [gate["name"] for gate in real.record["gates"]] == ["label names", "LM intent scores", "adapter scale", "replies"]
    assert all(gate[key] for gate in real.record["gates"] for key in ("decision", "standard", "statistic", "reason"))


def test_every_answer_is_explained(real: RealRun) -> None:
    train_ids = {json.loads(line)["id"] for line in (real.folder / "weights" / "train_rows.jsonl").read_text().splitlines()}
    for row, prediction in zip(real.explanations, real.result["predictions"], strict=True):
        assert row["prediction"] == prediction["prediction"]
        assert row["intents"][0]["intent"] == prediction["predicted_intent"]
        assert {*row["exemplars"], *(neighbour["id"] for neighbour in row["neighbours"])} <= train_ids
        assert row["source"] in {"copied", "composed", "generated", "replaced"}
        assert (row["source"] in {"copied", "composed"}) == (prediction["tokens_used"] == 0)


def test_the_saved_adapter_changes_the_base_that_its_config_names_as_far_as_its_scale_allows(real: RealRun) -> None:
    base, scale = load_base(SMOLLM.name), real.record["scale"]
    config = json.loads((real.folder / "weights" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == base.path
    assert config["lora_alpha"] == 32 * scale
    ids = torch.tensor([base.tokenizer.encode("Guests don't consume a seat")])
    plain = base.model(ids).logits
    tuned = PeftModel.from_pretrained(base.model, real.folder / "weights")
    assert any(weight.abs().max() > 0 for name, weight in tuned.named_parameters() if "lora_B" in name), "it was trained"
    assert torch.allclose(tuned(ids).logits, plain) == (scale == 0), "the forgetting check may allow none of it"


def test_the_run_loaded_again_answers_each_ticket_alone_and_backwards_as_it_did(real: RealRun) -> None:
    model = SupportModel.load(real.folder / "weights")
    tickets, _ = read_val(real.folder / "val.jsonl")
    found = [model.answer([ticket])[0].explanation() for ticket in reversed(tickets)][::-1]
    keys = ("predicted_intent", "prediction", "source", "exemplars", "tied", "findings", "out_of_scope")
    assert [[row[key] for key in keys] for row in found] == [[row[key] for key in keys] for row in real.explanations]


def test_the_command_without_train_rows_gives_the_result_of_the_run(real: RealRun, tmp_path: Path) -> None:
    paths = {"val": real.folder / "val.jsonl", "weights": real.folder / "weights", "output": tmp_path / "again.json"}
    before = {path: path.stat().st_mtime_ns for path in paths["weights"].iterdir()}
    assert run.main([text for name, path in paths.items() for text in (f"--{name}", str(path))]) == 0
    assert without_times(json.loads(paths["output"].read_text())) == without_times(real.result)
    assert {path: path.stat().st_mtime_ns for path in paths["weights"].iterdir()} == before


def test_trap_8_without_network_the_same_run_gives_the_same_bytes(real: RealRun, tmp_path: Path) -> None:
    attempts = tmp_path / "attempts"
    again = run_sample(tmp_path, PYTHONPATH=str(ROOT / "tests" / "no_network"), NETWORK_ATTEMPTS=str(attempts))
    assert not attempts.exists(), attempts.read_text()
    assert without_times(again.result) == without_times(real.result)
    assert again.explanations == real.explanations
    assert again.record["sha256"] == real.record["sha256"]
