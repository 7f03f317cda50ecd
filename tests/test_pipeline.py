"""The whole command with a tiny base: generated replies, LM scores that count, a large base, files that are not ours."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import run
from evaluation.score.labels import read_labels
from finetune import base_model, judging, language_model, noisy_channel, reply_writer
from finetune.base_model import BaseModel
from finetune.generate import Generation, Generations
from finetune.prompt import Prompt
from finetune.training_data import TrainingConfig
from retrieval import encoder, progress
from tests.fakes import save_base, tokenizer
from tests.finetune.helpers import score_every_ticket
from tests.test_run import ROOT, arguments, check_result, write

INTENTS = ("mail.signature", "mail.folder", "mail.filter", "mail.forward")
ROWS = 16  # four of each intent: fold adapters leave enough rows to judge


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"))


def write_unclear_rows(path: Path) -> None:
    """Rows whose words say nothing about their intent, so that only a language model can tell."""
    rows = [
        {"id": f"t{i}", "ticket": f"please help me {i}", "intent": INTENTS[i % 4], "ideal_reply": f"Open the menu number {i}."}
        for i in range(ROWS)
    ]
    write(path, *rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_unclear_rows(tmp_path / "train.jsonl")
    write(tmp_path / "val.jsonl", *({"id": f"v{i}", "ticket": f"please help me 2{i}"} for i in range(4)))
    return tmp_path


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "weights" / "run.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def explanations(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "weights" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def gate(folder: Path, name: str) -> dict[str, Any]:
    return next(found for found in record(folder)["gates"] if found["name"] == name)


def knows_the_answer(model: torch.nn.Module, base: BaseModel, prompts: Sequence[Prompt], **_: object) -> Generations:
    """A model that has learned the product's one rule: the menu has the number of the ticket."""
    written = {}
    for prompt in prompts:
        ticket = base.tokenizer.decode(prompt.ids).rpartition("\n\nTicket:")[2]
        number = re.findall(r"help me (\d+)", ticket)[0]
        written[prompt.row_id] = Generation(f"Open the menu number {number}.", len(prompt.ids) + 5, 0.5, ended=True)
    return Generations(written)


def test_replies_are_generated_through_the_whole_pipeline(
    folder: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reply_writer, "generate", knows_the_answer)
    assert run.main(arguments(folder, base_model=checkpoint)) == 0
    result = check_result(folder / "results.json", ["v0", "v1", "v2", "v3"], set(INTENTS))
    assert gate(folder, "replies")["decision"] == "generate"
    assert {row["source"] for row in explanations(folder)} == {"generated"}
    assert [row["prediction"] for row in result["predictions"]] == [f"Open the menu number 2{i}." for i in range(4)]
    assert all(row["tokens_used"] > 5 and row["latency_ms"] >= 500 for row in result["predictions"])
    assert record(folder)["deterministic"] is True


def test_a_generated_reply_with_an_invented_fact_is_replaced_by_a_stored_one(
    folder: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def invents_for_new_tickets(*args: Any, **options: Any) -> Generations:
        found = knows_the_answer(*args, **options)
        wrong = Generation("It costs $99.", 7, 0.1, ended=True)
        return Generations({key: wrong if key.startswith("v") else good for key, good in found.written.items()})

    monkeypatch.setattr(reply_writer, "generate", invents_for_new_tickets)
    assert run.main(arguments(folder, base_model=checkpoint)) == 0
    stored = {json.loads(line)["ideal_reply"] for line in (folder / "train.jsonl").read_text().splitlines()}
    for row in explanations(folder):
        assert (row["source"], row["draft"]) == ("replaced", "It costs $99.")
        assert row["findings"] == ["number $99 stands in no source"]
        assert row["prediction"] in stored


def test_a_generated_reply_makes_room_for_a_stored_one_that_is_nearer_to_the_ticket(
    folder: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evades_new_tickets(*args: Any, **options: Any) -> Generations:
        found = knows_the_answer(*args, **options)
        evasive = Generation("Certainly.", 7, 0.1, ended=True)
        return Generations({key: evasive if key.startswith("v") else good for key, good in found.written.items()})

    monkeypatch.setattr(reply_writer, "generate", evades_new_tickets)
    write(folder / "val.jsonl", {"id": "v", "ticket": "please help me 3 open the menu number"})
    assert run.main(arguments(folder, base_model=checkpoint)) == 0
    assert gate(folder, "replies")["decision"] == "generate"
    (row,) = explanations(folder)
    assert row["source"] in ("copied", "composed")
    assert row["draft"] == "Certainly."
    assert row["findings"][0].startswith("the stored reply is at least as near to the ticket: cosine 0.")


def test_lm_scores_with_a_weight_choose_the_intents_of_new_tickets(
    folder: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = tokenizer().decode

    def knows(model: torch.nn.Module, prompt: Sequence[int], tickets: Sequence[Sequence[int]]) -> list[float]:
        stored = int(re.findall(r"menu number (\d+)", decode(prompt))[0])
        numbers = [int(re.findall(r"help me (\d+)", decode(ticket))[0]) for ticket in tickets]
        return [0.0 if number % 4 == stored % 4 else -90.0 for number in numbers]

    monkeypatch.setattr(noisy_channel, "log_likelihoods", knows)
    for module in (noisy_channel, language_model):
        monkeypatch.setattr(module, "NEAR_ROWS", ROWS)
    score_every_ticket(monkeypatch, ("reply",))
    assert run.main(arguments(folder, base_model=checkpoint)) == 0
    found = gate(folder, "LM intent scores")
    assert (found["passed"], found["interval"][0] > 0) == (True, True)
    assert found["decision"].startswith("weight ")
    weight = float(found["decision"].split()[1])
    assert record(folder)["lm_scores"] == {"weight": weight, "given": ["reply"], "near_rows": ROWS}
    assert [row["predicted_intent"] for row in explanations(folder)] == list(INTENTS)
    assert all("lm_score" in score for row in explanations(folder) for score in row["intents"])


def test_a_large_base_trains_with_its_own_config_and_copies_where_nothing_was_tested(
    folder: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_model, "LARGE_PARAMETERS", 1000)
    monkeypatch.setattr(base_model, "has_bf16", lambda: True)
    monkeypatch.setattr(judging, "has_bf16", lambda: False)
    configs: list[TrainingConfig] = []
    plain = language_model.fine_tune

    def noted(*args: Any, **options: Any) -> Any:
        configs.append(options["config"])
        return plain(*args, **options)

    monkeypatch.setattr(language_model, "fine_tune", noted)
    left_out: list[progress.Group] = []
    monkeypatch.setattr(progress.Progress, "leave_out", lambda _, *groups: left_out.extend(groups))
    assert run.main(arguments(folder, base_model=checkpoint)) == 0
    assert [(config.learning_rate, config.own_reply_share) for config in configs] == [(2e-4, 0.0)]
    assert record(folder)["base"]["precision"] == "bf16"
    assert record(folder)["training"]["loss"].startswith("cross-entropy"), (
        "no fold adapters, so no out-of-fold losses of the base"
    )
    assert gate(folder, "replies")["decision"] == "copy"
    assert {row["source"] for row in explanations(folder)} == {"copied"}
    assert left_out[0] == progress.Group.MEASURING
    assert left_out[-1] == progress.Group.REPLIES


def test_files_that_no_run_wrote_are_refused_before_a_model_is_loaded_and_left_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(encoder, "load_encoder", lambda *_, **__: pytest.fail("a model was loaded"))
    weights = folder / "weights"
    weights.mkdir()
    (weights / "tokenizer.json").write_text("mine")
    (weights / "notes.txt").write_text("mine, too")
    assert run.main(arguments(folder)) == 2
    assert "found tokenizer.json in it, which no run of this program" in capsys.readouterr().err
    assert sorted(path.name for path in weights.iterdir()) == ["notes.txt", "tokenizer.json"]
    assert (weights / "tokenizer.json").read_text() == "mine"


def test_every_bar_of_a_run_stands_in_the_plan_of_its_stage(
    folder: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[str, str]] = []
    begin, begin_bar = progress.Progress.begin, progress.Progress.begin_bar
    monkeypatch.setattr(noisy_channel, "MEASURED", dict.fromkeys(noisy_channel.MEASURED, (("name",), 0.1)))
    monkeypatch.setattr(progress.Progress, "begin", lambda self, name: (shown.append((name, "")), begin(self, name)))
    monkeypatch.setattr(
        progress.Progress, "begin_bar", lambda self, label: (shown.append((shown[-1][0], label)), begin_bar(self, label))
    )
    assert run.main(arguments(folder, base_model=checkpoint)) == 0
    plan = progress.plan_of(ROWS, 4, model=True)
    unplanned = {place for place in shown if place[1] and place not in {(part.stage, part.bar) for part in plan}}
    assert unplanned <= {("fine-tune", "embed")}, "replies are embedded to be judged, in no time"
    assert {("fine-tune", "train the adapter"), ("answer", "LM intent scores")} <= {*shown}
    assert {stage for stage, _ in shown} - {"read", "losses"} == {part.stage for part in plan}
    assert progress.BLOCK == reply_writer.BLOCK


def test_an_encoder_folder_named_as_weights_survives(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = folder / "encoder"
    encoder.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (encoder / name).write_text(name)
    assert run.main(arguments(folder, encoder=encoder, weights=encoder)) == 2
    assert "tokenizer.json" in capsys.readouterr().err
    assert sorted(path.name for path in encoder.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]


def test_a_second_run_replaces_the_first_and_nothing_else(folder: Path, checkpoint: Path) -> None:
    weights = folder / "weights"
    assert run.main(arguments(folder, base_model=checkpoint)) == 0
    first = {path.name for path in weights.iterdir()}
    assert {"adapter_model.safetensors", "tokenizer.json"} <= first
    (weights / "notes.txt").write_text("mine")
    (weights / "tokenizer.json").write_text("changed by hand")
    assert run.main(arguments(folder)) == 2, "what was changed by hand belongs to its author"
    (weights / "tokenizer.json").unlink()
    assert run.main(arguments(folder)) == 0
    assert {path.name for path in weights.iterdir()} == {"notes.txt", *record(folder)["sha256"], "run.json"}
    assert not (weights / "adapter_model.safetensors").exists()


def test_the_floor_of_the_sample_and_the_probes_retrieval_alone_is_as_good_as_it_was(tmp_path: Path) -> None:
    data, val = ROOT / "data", tmp_path / "val.jsonl"
    val.write_text("".join((data / name).read_text(encoding="utf-8") for name in ("val.jsonl", "probes.jsonl")))
    assert run.main(arguments(tmp_path, train=data / "train.jsonl", val=val)) == 0
    rows = {row["id"]: row for row in json.loads((tmp_path / "results.json").read_text())["predictions"]}
    found = {}
    for name in ("val", "probe"):
        labels = read_labels(data / f"{name}_labels.jsonl")
        right = sum(rows[key]["predicted_intent"] in label.intents for key, label in labels.items())
        missing = sum(len(label.missing_facts(rows[key]["prediction"])) for key, label in labels.items())
        found[name] = (right, sum(len(label.must_mention) for label in labels.values()) - missing)
    assert found["val"] >= (9, 26)
    assert found["probe"] >= (19, 38)
    assert found["val"][1] + found["probe"][1] >= 64
