import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from finetune.artifacts import CONFIG, save_adapter
from finetune.base_model import BaseModel
from finetune.generate import Generation, _generate_batch, generate
from finetune.gradients import completion_losses
from finetune.lora import NoAdapter, attach, temporary_adapter, tune
from finetune.prompt import Example, Prompt, prompt_writer
from retrieval.paths import ADAPTER_FILES, remove_adapter
from tests.fakes import ROWS, base

WEIGHTS = "adapter_model.safetensors"


def examples(tiny: BaseModel) -> list[Example]:
    return [prompt_writer(tiny.tokenizer, tiny.max_length).example(row, ()) for row in ROWS]


def trained(tiny: BaseModel, seed: int = 0, rate: float = 1e-2) -> PeftModel:
    tuned = attach(tiny, seed=seed)
    tune(tuned, [examples(tiny)] * 2, rate=rate, seed=seed)
    return tuned


def test_training_lowers_the_loss_and_counts_its_steps() -> None:
    tiny = base()
    before = sum(completion_losses(tiny.model, examples(tiny)))
    tuned = attach(tiny, seed=0)
    tuning = tune(tuned, [examples(tiny)] * 3, rate=1e-2, seed=0)
    assert (tuning.steps, len(tuning.losses), tuning.finished) == (6, 6, True)
    assert sum(completion_losses(tuned, examples(tiny))) < before
    assert tuning.train_loss == pytest.approx(sum(tuning.losses[-2:]) / 2)


def test_only_the_completion_carries_the_loss() -> None:
    tiny = base()
    example = examples(tiny)[0]
    ids = torch.tensor([example.ids])
    logits = tiny.model(input_ids=ids).logits[0, :-1]
    each = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
    assert completion_losses(tiny.model, [example])[0] == pytest.approx(each[-example.supervised :].mean().item(), rel=1e-5)


def test_trap_5_the_same_seed_gives_the_same_adapter_and_another_seed_another(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        tiny = base()
        torch.rand(len(tmp_path.name) + ord(name))  # whatever was drawn before does not matter
        save_adapter(trained(tiny, seed), tiny, tmp_path / name)
    same, again, other = ((tmp_path / name / WEIGHTS).read_bytes() for name in "abc")
    assert same == again
    assert same != other


def test_a_passing_adapter_works_in_its_block_and_gives_the_base_back() -> None:
    tiny = base()
    before = completion_losses(tiny.model, examples(tiny))
    with temporary_adapter(tiny, seed=0) as tuned:
        tune(tuned, [examples(tiny)], rate=1e-2, seed=0)
        assert completion_losses(tuned, examples(tiny)) != before
    assert completion_losses(tiny.model, examples(tiny)) == before


def test_trap_2_a_row_without_supervised_tokens_is_named() -> None:
    tiny = base()
    with pytest.raises(ValueError, match="without supervised tokens: lost"):
        tune(attach(tiny, seed=0), [[Example("lost", (1, 2, 3), 0)]], rate=1e-2, seed=0)


def test_trap_2_a_loss_that_is_not_finite_ends_training() -> None:
    tiny = base()
    with pytest.raises(NoAdapter, match="the loss of step"):
        trained(tiny, rate=math.inf)


def test_a_deadline_ends_training_early_and_says_so() -> None:
    tiny = base()
    tuning = tune(attach(tiny, seed=0), [examples(tiny)], rate=1e-2, seed=0, deadline=0.0)
    assert (tuning.steps, tuning.train_loss, tuning.finished) == (0, 0.0, False)


def test_a_saved_adapter_loads_with_peft_and_answers_as_before(tmp_path: Path) -> None:
    tiny = base()
    tuned = trained(tiny)
    save_adapter(tuned, tiny, tmp_path)
    expected = completion_losses(tuned, examples(tiny))
    assert completion_losses(PeftModel.from_pretrained(base().model, tmp_path), examples(tiny)) == expected
    assert all(torch.isfinite(weight).all() for weight in load_file(tmp_path / WEIGHTS).values())


def test_trap_14_the_adapter_config_does_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from tests.fakes import base; from finetune.lora import attach; "
    code += "from finetune.artifacts import save_adapter; tiny = base(); "
    code += "save_adapter(attach(tiny, seed=0), tiny, Path(sys.argv[1]))"
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / seed)], check=True, env=environment)
    first, second = ((tmp_path / seed / CONFIG).read_text() for seed in ("1", "2"))
    assert first == second
    assert json.loads(first)["target_modules"] == sorted(json.loads(first)["target_modules"])


def test_what_else_lies_in_the_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    tiny = base()
    save_adapter(attach(tiny, seed=0), tiny, tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"
    assert not list(tmp_path.glob(".adapter-*"))


def test_an_adapter_of_an_earlier_run_is_removed(tmp_path: Path) -> None:
    tiny = base()
    save_adapter(attach(tiny, seed=0), tiny, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= set(ADAPTER_FILES), "a file that no check of --weights knows"
    (tmp_path / "train_set.jsonl").write_text("{}")
    remove_adapter(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["train_set.jsonl"]


def test_trap_1_generation_stops_at_the_turns_end_even_where_padding_is_that_token() -> None:
    tiny = base()
    writer = prompt_writer(tiny.tokenizer, tiny.max_length)
    tiny.model.requires_grad_(True)  # a rank of 16 is not enough to teach a random model a sentence
    tune(tiny.model, [examples(tiny)[:1]] * 150, rate=1e-2, seed=0)
    prompt = writer.prompt("t", ROWS[0].text, (), intent=ROWS[0].intent, max_new_tokens=60)
    found = generate(tiny.model, tiny, [prompt], end_id=writer.end_id, max_new_tokens=60).written["t"]
    assert (found.text, found.ended) == (ROWS[0].ideal_reply, True)
    assert found.tokens == len(prompt.ids) + writer.completion_length(ROWS[0].ideal_reply) - 1
    cut = generate(tiny.model, tiny, [prompt], end_id=writer.end_id, max_new_tokens=5).written["t"]
    assert (ROWS[0].ideal_reply.startswith(cut.text), cut.ended) == (True, False)


def test_trap_6_the_order_of_the_input_changes_neither_batches_nor_output(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = base()
    writer = prompt_writer(tiny.tokenizer, tiny.max_length)
    prompts = [writer.prompt(f"v{i}", "why " * (i % 5), ROWS[: i % 3], intent="a", max_new_tokens=12) for i in range(11)]
    batches: list[list[str]] = []

    def spied(model: Any, base: Any, batch: list[Prompt], settings: Any) -> dict[str, Generation]:
        batches.append([prompt.row_id for prompt in batch])
        return _generate_batch(model, base, batch, settings)

    monkeypatch.setattr("finetune.generate._generate_batch", spied)
    orders = (prompts, prompts[::-1])
    forth, back = (generate(tiny.model, tiny, order, end_id=writer.end_id, max_new_tokens=12).written for order in orders)
    assert {key: value.text for key, value in forth.items()} == {key: value.text for key, value in back.items()}
    assert len(forth) == 11
    assert batches[: len(batches) // 2] == batches[len(batches) // 2 :], "float noise depends on who shares a batch"


def test_trap_10_generation_goes_through_the_adapter() -> None:
    tiny = base()
    writer = prompt_writer(tiny.tokenizer, tiny.max_length)
    prompt = writer.prompt("v", ROWS[0].text, (), intent=ROWS[0].intent, max_new_tokens=8)
    plain = generate(tiny.model, tiny, [prompt], end_id=writer.end_id, max_new_tokens=8)
    tuned = trained(tiny, rate=5e-2)
    merged: list[bool] = []
    layers = [module for name, module in tuned.named_modules() if name.endswith("q_proj")]
    layers[0].register_forward_hook(lambda layer, *_: merged.append(layer.merged))
    assert generate(tuned, tiny, [prompt], end_id=writer.end_id, max_new_tokens=8).written["v"].text != plain.written["v"].text
    assert set(merged) == {False}


def test_rows_after_the_deadline_are_missing() -> None:
    tiny = base()
    writer = prompt_writer(tiny.tokenizer, tiny.max_length)
    prompt = writer.prompt("v", "x", (), intent="a", max_new_tokens=4)
    assert generate(tiny.model, tiny, [prompt], end_id=writer.end_id, max_new_tokens=4, deadline=0.0).written == {}
