"""Prompts that begin alike: which they are, how they are padded, and that they get the replies that they get whole."""

from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM, MistralConfig

from finetune import generate as generation
from finetune.beginnings import Layout, alike, can_share, lay_out
from finetune.generate import generate
from finetune.lora import attach
from finetune.prompt import Prompt
from tests.fakes import ROWS, base
from tests.finetune.helpers import writer_for

A, B = [1] * 8, [2] * 9  # two beginnings


def test_prompts_that_agree_in_two_thirds_of_the_shorter_one_are_alike() -> None:
    assert alike([[*A, 5], [*B, 5], [*A, 6, 7], [*A[:5], 3, 3, 3], [*A, *[6] * 9]]) == [[0, 4, 2], [3], [1]]
    assert alike([]) == []


def test_prompts_that_begin_alike_are_padded_in_two_parts() -> None:
    found = lay_out([[*A, 5], [*B, 5], [*A, 6, 7], [*B, 6]], padding=0, share=True)
    assert (found.beginnings, found.shared_width, found.owners, found.width) == (2, 9, (0, 1, 0, 1), 11)
    assert found.ids == [[0, *A, 0, 5], [*B, 0, 5], [0, *A, 6, 7], [*B, 0, 6]]
    assert found.mask == [[0, *[1] * 8, 0, 1], [*[1] * 9, 0, 1], [0, *[1] * 8, 1, 1], [*[1] * 9, 0, 1]]


@pytest.mark.parametrize(
    ("prompts", "share"), [([[*A, 5], [*A, 6]], False), ([[*A, 5], [*B, 6]], True), ([[*A, 5]], True), ([A, [5]], True)]
)
def test_where_nothing_would_be_saved_prompts_are_padded_whole(prompts: list[list[int]], share: bool) -> None:
    width = max(map(len, prompts))
    padded = [[0] * (width - len(ids)) + ids for ids in prompts]
    assert lay_out(prompts, padding=0, share=share) == Layout(padded, [[int(i > 0) for i in row] for row in padded])


def test_of_equal_prompts_the_last_token_is_left_over() -> None:
    found = lay_out([A, A, [*A, 3]], padding=0, share=True)
    assert (found.shared_width, found.ids[0], found.mask[0]) == (7, [*[1] * 7, 0, 1], [*[1] * 7, 0, 1])


def test_a_base_that_forgets_what_is_far_back_computes_every_prompt_whole() -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 9}
    assert can_share(base().model)
    windowed = base().model
    windowed.config = MistralConfig(**sizes, num_key_value_heads=1, sliding_window=16)
    assert not can_share(windowed)


class Computed:
    """How many tokens went through a model, padding included."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        self.tokens = 0
        model.get_input_embeddings().register_forward_hook(self.see)

    def see(self, _: Any, inputs: Any, __: Any) -> None:
        self.tokens += inputs[0].numel()


def prompts_of_two_intents(tiny: Any) -> list[Prompt]:
    """Six tickets, and what is shown to each: twice the same replies, three times others, and none."""
    writer, shown = writer_for(tiny), [ROWS[:2], ROWS[:2], ROWS[2:4], ROWS[2:4], ROWS[2:4], ()]
    texts = ("why", "why not", "do I", "do I need one", "a seat", "who")
    return [
        writer.prompt(f"v{i}", text, rows, intent="a", max_new_tokens=12)
        for i, (text, rows) in enumerate(zip(texts, shown, strict=True))
    ]


@pytest.mark.parametrize("adapter", [False, True])
def test_the_replies_are_those_of_whole_prompts_and_fewer_tokens_are_computed(
    adapter: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = base()
    model = tiny.model
    if adapter:
        model = attach(tiny, seed=0)
        for name, weights in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weights, std=0.05)
    monkeypatch.setattr(generation, "NEAR_TIE", 0.0)
    prompts, found = prompts_of_two_intents(tiny), {}
    options: dict[str, Any] = {"end_id": writer_for(tiny).end_id, "max_new_tokens": 12}
    computed = Computed(tiny.model)
    for share in (True, False):
        monkeypatch.setattr(generation, "can_share", lambda _, share=share: share)
        computed.tokens = 0
        written = generate(model, tiny, prompts, **options).written
        found[share] = ({row_id: (one.text, one.tokens) for row_id, one in written.items()}, computed.tokens)
    assert found[True][0] == found[False][0]
    assert len({text for text, _ in found[True][0].values()}) > 1, "not one reply for all"
    assert found[True][1] < 0.8 * found[False][1]


def test_the_order_of_the_input_changes_no_batch_and_those_alike_stand_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "BATCH", 3)
    tiny, batches = base(), list[list[str]]()
    whole = generation._generate_batch

    def spied(job: Any, batch: Any) -> Any:
        batches.append([prompt.row_id for prompt in batch])
        return whole(job, batch)

    monkeypatch.setattr(generation, "_generate_batch", spied)
    monkeypatch.setattr(generation, "NEAR_TIE", 0.0)
    prompts = prompts_of_two_intents(tiny)
    for order in (prompts, prompts[::-1]):
        generate(tiny.model, tiny, order, end_id=writer_for(tiny).end_id, max_new_tokens=2)
    assert batches[:2] == batches[2:] == [["v5", "v0", "v1"], ["v2", "v4", "v3"]]
