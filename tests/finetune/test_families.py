"""Each family of bases: its template, its end of turn, its LoRA targets, and that generation stops."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel

from finetune.generate import generate
from finetune.lora import attach, save_adapter
from finetune.memory import MemoryPlan
from finetune.prompt import PromptWriter, prompt_writer
from finetune.training import completion_losses, train
from retrieval.prompt_text import RULES
from tests.fakes import ROWS
from tests.families import FAMILIES, Family, base_of, tokenizer_of

each = pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])


def writer_of(family: Family) -> PromptWriter:
    return prompt_writer(tokenizer_of(family), 2048)


def text_of(writer: PromptWriter, ids: Sequence[int]) -> str:
    return str(writer.tokenizer.decode(list(ids)))


def named(name: str) -> Family:
    return next(family for family in FAMILIES if family.name == name)


@each
def test_a_prompt_holds_all_and_ends_where_the_assistant_goes_on(family: Family) -> None:
    writer = writer_of(family)
    text = text_of(writer, writer.prompt("v", "why so?", ROWS[:2], intent="a.b", max_new_tokens=50).ids)
    assert all(piece in text for piece in (RULES, ROWS[0].ideal_reply, ROWS[1].ideal_reply, "why so?"))
    assert text.endswith(f"{family.header}intent: a.b\nreply:")
    assert text.count(family.bos) == 1 if family.bos else True


@each
def test_trap_1_only_the_reply_and_the_end_of_its_turn_are_supervised(family: Family) -> None:
    writer = writer_of(family)
    example = writer.example(ROWS[0], ROWS[1:3])
    assert text_of(writer, example.ids[-example.supervised :]) == f" {ROWS[0].ideal_reply}{family.turn_end}"
    assert text_of(writer, example.ids[: -example.supervised]).endswith("reply:")


@each
def test_what_a_customer_writes_never_becomes_a_control_token(family: Family) -> None:
    writer = writer_of(family)
    attack = "x".join((*family.special, *family.added))
    plain, attacked = (writer.prompt("v", text, ROWS[:1], intent="a", max_new_tokens=9).ids for text in ("x", f"x{attack}y"))
    assert sum(i in writer.controls for i in attacked) == sum(i in writer.controls for i in plain)


@each
def test_the_adapter_sits_on_every_linear_layer_and_on_nothing_else(family: Family) -> None:
    model = attach(base_of(family), seed=0)
    names = {name.split(".lora_A")[0].rpartition("layers.")[2] for name, _ in model.named_parameters() if ".lora_A" in name}
    parts = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
    parts += ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
    assert names == {f"{layer}.{part}" for layer in (0, 1) for part in parts}


@each
def test_trap_1_generation_stops_where_a_trained_turn_ends_alone_and_in_a_padded_batch(family: Family) -> None:
    tiny = base_of(family)
    writer = prompt_writer(tiny.tokenizer, tiny.max_length)
    rows = [replace(row, ideal_reply="Sure.") for row in ROWS[:2]]
    prompts = [writer.prompt(row.id, row.text, (), intent=row.intent, max_new_tokens=30) for row in rows]
    assert len({len(prompt.ids) for prompt in prompts}) == 2, "one of them is padded"
    tiny.model.requires_grad_(True)  # a rank of 16 is not enough to teach a random model a sentence
    train(tiny.model, [[writer.example(row, ()) for row in rows]] * 60, learning_rate=1e-2, seed=0, plans=[MemoryPlan(2)])
    together = generate(tiny.model, tiny, prompts, end_id=writer.end_id, max_new_tokens=30).written
    alone = generate(tiny.model, tiny, prompts[:1], end_id=writer.end_id, max_new_tokens=30).written
    cut = generate(tiny.model, tiny, prompts[:1], end_id=writer.end_id, max_new_tokens=3).written
    assert [(together[row.id].text, together[row.id].ended) for row in rows] == [("Sure.", True)] * 2
    assert alone[rows[0].id].text == "Sure."
    assert not cut[rows[0].id].ended


@each
def test_trap_1_generation_stops_at_every_end_that_the_checkpoint_knows(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, used = base_of(family), list[Any]()
    writer = prompt_writer(tiny.tokenizer, tiny.max_length)
    real = tiny.model.generate
    monkeypatch.setattr(tiny.model, "generate", lambda **options: used.append(options["generation_config"]) or real(**options))
    prompt = writer.prompt("v", "x", (), intent="a", max_new_tokens=1)
    generate(tiny.model, tiny, [prompt], end_id=writer.end_id, max_new_tokens=1)
    stops = tiny.tokenizer.convert_ids_to_tokens(used[0].eos_token_id)
    assert set(stops) == {family.eos, family.turn_end, *family.ends}


@each
def test_a_saved_adapter_loads_again_and_answers_the_same(family: Family, tmp_path: Path) -> None:
    tiny = base_of(family)
    examples = [prompt_writer(tiny.tokenizer, tiny.max_length).example(row, ()) for row in ROWS[:2]]
    model = attach(tiny, seed=0)
    train(model, [examples], learning_rate=1e-2, seed=0)
    expected = completion_losses(model, examples)
    save_adapter(model, tiny, tmp_path)
    assert completion_losses(PeftModel.from_pretrained(base_of(family).model, tmp_path), examples) == expected


def test_a_template_that_writes_the_date_writes_the_same_one_every_day() -> None:
    writer = writer_of(named("Llama 3"))
    assert "Today Date: 26 Jul 2024\n" in text_of(writer, writer.prompt("v", "x", (), intent="a", max_new_tokens=9).ids)


def test_qwen3_does_not_think() -> None:
    writer = writer_of(named("Qwen3"))
    prompt = writer.prompt("v", "x", (), intent="a", max_new_tokens=9)
    assert "<think>\n\n</think>\n\nintent: a" in text_of(writer, prompt.ids)
