"""Greedy generation: where it stops, which prompts share a batch, and what memory and time do to it."""

from dataclasses import replace
from math import inf
from typing import Any

import pytest
import torch

from finetune import generate as generation
from finetune.base_model import BaseModel
from finetune.generate import generate
from finetune.lora import attach
from finetune.prompt import Prompt
from finetune.training import train
from tests.fakes import ROWS, base
from tests.finetune.helpers import FEW, examples, no_memory, writer_for


def prompts_for(tiny: BaseModel, count: int, *, exemplars: bool = False) -> list[Prompt]:
    writer = writer_for(tiny)
    shown = [ROWS[: i % 3] if exemplars else () for i in range(count)]
    return [writer.prompt(f"v{i}", "why " * (i + 1), shown[i], intent="a", max_new_tokens=12) for i in range(count)]


def written(tiny: BaseModel, prompts: list[Prompt], *, model: Any = None, max_new_tokens: int = 12, **options: Any) -> Any:
    end_id = writer_for(tiny).end_id
    return generate(model or tiny.model, tiny, prompts, end_id=end_id, max_new_tokens=max_new_tokens, **options)


def test_trap_1_generation_stops_at_the_turns_end_even_where_padding_is_that_token() -> None:
    tiny = base()
    assert tiny.tokenizer.pad_token_id == tiny.tokenizer.eos_token_id == writer_for(tiny).end_id
    writer, row = writer_for(tiny), FEW[1]  # its reply is $12.
    tiny.model.requires_grad_(True)  # a rank of 16 is not enough to teach a random model a sentence
    train(tiny.model, [[writer.example(row, ())]] * 60, learning_rate=1e-2, seed=0)
    prompt = writer.prompt("t", row.text, (), intent=row.intent, max_new_tokens=30)
    found = written(tiny, [prompt], max_new_tokens=30).written["t"]
    assert (found.text, found.ended) == (row.ideal_reply, True)
    assert found.tokens == len(prompt.ids) + writer.completion_length(row.ideal_reply) - 1
    cut = written(tiny, [prompt], max_new_tokens=5).written["t"]
    assert (row.ideal_reply.startswith(cut.text), cut.ended) == (True, False)


@pytest.mark.parametrize("form", ["\n\nintent: a.b\nreply: $9.", "\nTicket:\nwhy?"])
def test_a_reply_ends_where_the_model_goes_on_with_the_prompts_form(form: str) -> None:
    tiny, row = base(), FEW[1]
    writer = writer_for(tiny)
    tiny.model.requires_grad_(True)
    train(tiny.model, [[writer.example(replace(row, ideal_reply=row.ideal_reply + form), ())]] * 60, learning_rate=1e-2, seed=0)
    prompt = writer.prompt("t", row.text, (), intent=row.intent, max_new_tokens=40)
    found = written(tiny, [prompt], max_new_tokens=40).written["t"]
    assert (found.text, found.ended) == (row.ideal_reply, True)
    whole = len(prompt.ids) + writer.completion_length(row.ideal_reply + form)
    assert found.tokens < whole - 5, "what follows is not written"


def test_a_draft_that_begins_with_the_prompts_form_is_not_cut() -> None:
    tiny, row = base(), FEW[1]
    writer = writer_for(tiny)
    tiny.model.requires_grad_(True)
    train(tiny.model, [[writer.example(replace(row, ideal_reply="reply: $12."), ())]] * 60, learning_rate=1e-2, seed=0)
    prompt = writer.prompt("t", row.text, (), intent=row.intent, max_new_tokens=40)
    assert written(tiny, [prompt], max_new_tokens=40).written["t"].text == "reply: $12."


def test_trap_6_the_order_of_the_input_changes_neither_batches_nor_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "BATCH", 8)
    monkeypatch.setattr(generation, "NEAR_TIE", 0.0)
    tiny = base()
    prompts, batches = prompts_for(tiny, 11, exemplars=True), list[list[int]]()
    real = tiny.model.generate

    def spied(**options: Any) -> Any:
        batches.append(options["attention_mask"].sum(1).tolist())
        return real(**options)

    monkeypatch.setattr(tiny.model, "generate", spied)
    forth, back = (written(tiny, order).written for order in (prompts, prompts[::-1]))
    assert {key: value.text for key, value in forth.items()} == {key: value.text for key, value in back.items()}
    assert len(forth) == 11
    assert [len(batch) for batch in batches] == [6, 5, 6, 5]
    assert batches[:2] == batches[2:], "float noise depends on which prompts share a batch"


def test_a_padded_prompt_is_answered_as_it_is_alone() -> None:
    tiny = base()
    prompts = prompts_for(tiny, 3)
    together = written(tiny, prompts).written
    assert {p.row_id: written(tiny, [p]).written[p.row_id].text for p in prompts} == {k: v.text for k, v in together.items()}


def test_a_row_that_came_near_a_tie_in_its_batch_is_written_again_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "NEAR_TIE", 1e-2)
    tiny = base()
    prompts, batches = prompts_for(tiny, 4), list[int]()
    real = tiny.model.generate

    def noisy(logits_processor: Any, **options: Any) -> Any:
        """In company the first row's likeliest token is a tie; how it falls is the batch's noise."""
        rows = len(options["input_ids"])
        batches.append(rows)

        def disturb(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            if rows > 1:
                first, second = scores[0].topk(2).indices.tolist()
                scores[0, second] = scores[0, first] + 1e-3
            return scores

        return real(logits_processor=[disturb, *logits_processor], **options)

    expected = {prompt.row_id: written(tiny, [prompt]).written[prompt.row_id].text for prompt in prompts}
    monkeypatch.setattr(tiny.model, "generate", noisy)
    found = written(tiny, prompts).written
    assert {key: value.text for key, value in found.items()} == expected
    assert batches[:2] == [4, 1]
    batches.clear()
    in_bf16 = replace(tiny, precision="bf16")
    assert {key: value.text for key, value in written(in_bf16, prompts).written.items()} != expected
    assert batches == [4], "where nearly every row would be written twice, none is"


def test_what_is_padded_behind_a_replys_end_is_no_tie(monkeypatch: pytest.MonkeyPatch) -> None:
    margins = generation._Margins(1, [7])
    sure, tie = [5.0, 0.0], [1.0, 1.0]
    margins(torch.tensor([[3], [3]]), torch.tensor([sure, sure]))
    margins(torch.tensor([[3, 7], [3, 4]]), torch.tensor([tie, sure]))
    assert margins.near_ties() == [False, False]
    margins(torch.tensor([[3, 7, 7], [3, 4, 5]]), torch.tensor([tie, tie]))
    assert margins.near_ties() == [False, True]


def test_trap_10_generation_goes_through_the_adapter_and_never_through_merged_weights() -> None:
    tiny = base()
    prompts = prompts_for(tiny, 1)
    plain = written(tiny, prompts).written["v0"].text
    model = attach(tiny, seed=0)
    train(model, [examples(tiny)] * 2, learning_rate=5e-2, seed=0)
    merged: list[bool] = []
    layers = [module for name, module in model.named_modules() if name.endswith("q_proj")]
    layers[0].register_forward_hook(lambda layer, *_: merged.append(layer.merged))
    assert written(tiny, prompts, model=model).written["v0"].text != plain
    assert set(merged) == {False}


def test_sampling_and_penalties_of_the_checkpoint_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, used = base(), list[Any]()
    real = tiny.model.generate
    monkeypatch.setattr(tiny.model, "generate", lambda **options: used.append(options["generation_config"]) or real(**options))
    tiny.model.generation_config.eos_token_id = [3, 4]
    written(tiny, prompts_for(tiny, 1))
    assert (used[0].do_sample, used[0].num_beams, used[0].repetition_penalty) == (False, 1, 1.0)
    assert used[0].eos_token_id == sorted({3, 4, writer_for(tiny).end_id})


def test_rows_after_the_deadline_are_missing() -> None:
    tiny = base()
    found = written(tiny, prompts_for(tiny, 2), deadline=-inf)
    assert (found.written, found.too_large) == ({}, ())


def test_near_ties_that_the_deadline_leaves_unsettled_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, real, now = base(), generation._generate_batch, [0.0]

    def slow(job: Any, batch: Any) -> Any:
        now[0] += 10.0
        return {row_id: replace(reply, near_tie=True, ended=True) for row_id, reply in real(job, batch).items()}

    monkeypatch.setattr(generation, "_generate_batch", slow)
    monkeypatch.setattr("finetune.generate.time.monotonic", lambda: now[0])
    prompts = prompts_for(tiny, 4)
    assert written(tiny, prompts).unsettled == 0
    now[0] = 0.0
    found = written(tiny, prompts, deadline=25.0)  # the batch and one of its four
    assert (len(found.written), found.unsettled) == (4, 3)


def test_half_a_reply_that_the_deadline_cut_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, real, now = base(), generation._generate_batch, [0.0]

    def slow(*given: Any) -> Any:
        now[0] += 10.0
        return real(*given)

    monkeypatch.setattr(generation, "BATCH", 8)
    monkeypatch.setattr(generation, "_generate_batch", slow)
    monkeypatch.setattr("finetune.generate.time.monotonic", lambda: now[0])
    found = written(tiny, prompts_for(tiny, 10), deadline=15.0)
    assert len(found.written) == 5, "random weights never end a turn, so the second batch is lost"


def test_out_of_memory_halves_the_batch_and_every_prompt_that_fits_alone_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "BATCH", 8)
    monkeypatch.setattr(generation, "NEAR_TIE", 0.0)
    tiny, sizes = base(), list[int]()
    prompts = prompts_for(tiny, 9)
    real, longest = tiny.model.generate, max(len(prompt.ids) for prompt in prompts)

    def short(**options: Any) -> Any:
        sizes.append(len(options["input_ids"]))
        if sizes[-1] > 2 or options["input_ids"].shape[1] == longest:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(**options)

    monkeypatch.setattr(tiny.model, "generate", short)
    found = written(tiny, prompts)
    assert sizes == [5, 2, 2, 1, 2, 2, 1, 1]
    assert set(found.written) == {f"v{i}" for i in range(8)}
    assert found.too_large == ("v8",)
    assert found.memory_retries == 3


def test_another_error_is_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = base()
    monkeypatch.setattr(tiny.model, "generate", lambda **_: (_ for _ in ()).throw(RuntimeError("shapes differ")))
    with pytest.raises(RuntimeError, match="shapes differ"):
        written(tiny, prompts_for(tiny, 1))
    monkeypatch.setattr(tiny.model, "generate", no_memory)
    assert written(tiny, prompts_for(tiny, 1)).too_large == ("v0",)
