"""Greedy generation: a prompt gets the same reply in any company, as far as its base computes in fp32.

Which rows share a batch changes float noise and, rarely, a word (transformers#25921). So rows are sorted, those that begin
alike together (`finetune.beginnings`), else by length and id, and cut into batches of nearly one size: the same prompts get the
same replies. And a row of an fp32 base that anywhere came near a tie of two tokens is written once more alone, which decides
where there is no batch, too. In bf16 and NF4 the noise is so large that this would be nearly every row; there a reply may
differ from that of the same row in other company.

Padding is on the left and masked by position: the padding token may be the end token. Generation runs through the adapter,
never through merged weights, which would answer differently (peft#1388).

A base of few parameters rarely ends its turn: it goes on with the form of the prompt, as if it wrote the next stored reply.
What it wrote before that is its reply, and writing stops there, as with the stop sequences of few-shot prompting.

Where memory runs out the batch is cut in two, and so are all after it; a single prompt that is too large is left out. The
deadline ends a batch in the middle; half replies are thrown away.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from finetune.base_model import BaseModel
from finetune.beginnings import alike, beginnings_cache, can_share, lay_out
from finetune.memory import is_out_of_memory, release
from finetune.prompt import Prompt
from retrieval.console import bar
from retrieval.prompt_text import FORM, FORM_LINES

BATCH = 32  # prompts at most: a step of many rows reads the weights once, as a step of one row does
NEAR_TIE = 1e-3  # between the logits of two tokens; the 135M's move by 5e-5 at most with the batch in fp32, by .8 in bf16


@dataclass(frozen=True, slots=True)
class Generation:
    """What the model wrote."""

    text: str  # the reply, stripped
    tokens: int  # prompt and reply tokens
    seconds: float  # its share of the batch's time
    ended: bool  # by the token that ends a turn, or by the prompt's form; False if it was cut at the length limit
    near_tie: bool = False  # whether float noise could have made it another reply


@dataclass(frozen=True, slots=True)
class Generations:
    """What came of prompts."""

    written: dict[str, Generation]  # by row id; rows that the deadline cut off are missing
    too_large: tuple[str, ...] = ()  # rows for which memory did not suffice even alone
    memory_retries: int = 0  # how often memory ran out
    unsettled: int = 0  # rows that came near a tie in their batch and that the deadline did not let be written again alone


def generate(
    model: torch.nn.Module,
    base: BaseModel,
    prompts: Sequence[Prompt],
    *,
    end_id: int,
    max_new_tokens: int,
    deadline: float = math.inf,
    label: str = "write replies",
) -> Generations:
    """Answers prompts.

    Args:
        model: the base, or the base with its adapter.
        base: for its tokenizer and end tokens.
        prompts: any number, ids unique.
        end_id: the token that ends a turn.
        max_new_tokens: most tokens of a reply.
        deadline: `time.monotonic()` at which writing stops.
        label: for the progress bar.
    """
    job = _Job(model, base, end_id, max_new_tokens, deadline, can_share(base.model))
    found: dict[str, Generation] = {}
    too_large: list[str] = []
    size, memory_retries = BATCH, 0
    near_ties: list[Prompt] = []
    for whole in bar(_batches(_ordered(prompts, share=job.share)), label):
        left = list(whole)
        while left and time.monotonic() <= deadline:
            part = _try_batch(job, left[:size])
            if part is not None:
                timed_out = time.monotonic() > deadline
                found |= {row_id: reply for row_id, reply in part.items() if reply.ended or not timed_out}
                near_ties += [prompt for prompt in left[:size] if len(part) > 1 and part[prompt.row_id].near_tie]
                del left[:size]
                continue
            release()
            memory_retries += 1
            tried = min(size, len(left))
            if tried == 1:
                too_large.append(left.pop(0).row_id)
            size = max(1, tried // 2)
    for settled, prompt in enumerate(near_ties):
        alone = _try_batch(job, [prompt])
        if time.monotonic() > deadline:
            return Generations(found, tuple(too_large), memory_retries, unsettled=len(near_ties) - settled)
        memory_retries += alone is None
        found |= alone or {}
    return Generations(found, tuple(too_large), memory_retries)


def _batches(prompts: Sequence[Prompt]) -> list[list[Prompt]]:
    """As few batches as may be, all nearly as large."""
    count = math.ceil(len(prompts) / BATCH)
    return [[prompts[i] for i in rows] for rows in np.array_split(np.arange(len(prompts)), count)] if count else []


def _ordered(prompts: Sequence[Prompt], *, share: bool) -> list[Prompt]:
    """By length, then id; those that may share a beginning stand together, where their shortest would stand."""
    order = sorted(prompts, key=lambda prompt: (len(prompt.ids), prompt.row_id))
    if not share:
        return order
    groups = sorted(sorted(group) for group in alike([prompt.ids for prompt in order]))
    return [order[i] for group in groups for i in group]


@dataclass(frozen=True, slots=True)
class _Job:
    """What all batches have in common."""

    model: torch.nn.Module
    base: BaseModel
    end_id: int
    max_new_tokens: int
    deadline: float
    share: bool  # whether prompts may share a beginning


def _try_batch(job: _Job, batch: Sequence[Prompt]) -> dict[str, Generation] | None:
    """The batch's replies, or None if memory ran out."""
    try:
        with torch.inference_mode():
            return _generate_batch(job, batch)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None


def _generate_batch(job: _Job, batch: Sequence[Prompt]) -> dict[str, Generation]:
    began = time.monotonic()
    base, device = job.base, job.base.model.device
    padding = job.end_id if base.tokenizer.pad_token_id is None else base.tokenizer.pad_token_id
    layout = lay_out([prompt.ids for prompt in batch], padding=padding, share=job.share)
    cache = beginnings_cache(job.model, layout, device)
    settings = _settings(job, padding)
    ends = [*settings.eos_token_id, padding]  # a row that stopped before the others is padded
    margins = _Margins(layout.width, ends)
    ids = job.model.generate(  # type: ignore[operator]
        input_ids=torch.tensor(layout.ids, device=device),  # (b, width)
        attention_mask=torch.tensor(layout.mask, device=device),
        generation_config=settings,
        tokenizer=base.tokenizer,  # for the stop strings
        logits_processor=LogitsProcessorList([margins]),
        **({} if cache is None else {"past_key_values": cache}),
    )
    seconds = (time.monotonic() - began) / len(batch)
    near = margins.near_ties() if base.precision == "fp32" else [False] * len(batch)
    return {
        prompt.row_id: _reply(base, row[layout.width :], len(prompt.ids), seconds, ends, near_tie=near_tie)
        for prompt, row, near_tie in zip(batch, ids.tolist(), near, strict=True)
    }


def _settings(job: _Job, padding: int) -> GenerationConfig:
    """Greedy, and stopping at every token that can end a reply; nothing is inherited from the checkpoint's own settings."""
    own = job.base.model.generation_config.eos_token_id
    ends = {job.end_id, job.base.tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])} - {None}
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        max_new_tokens=job.max_new_tokens,
        max_time=None if job.deadline == math.inf else max(job.deadline - time.monotonic(), 0.01),
        eos_token_id=sorted(ends),
        pad_token_id=padding,
        stop_strings=list(FORM_LINES),
    )


class _Margins(LogitsProcessor):  # type: ignore[misc]  # transformers has no types here
    """Notes for each row how near its two likeliest tokens ever came, up to its end."""

    def __init__(self, prompt_width: int, ends: Sequence[int]) -> None:
        self._width, self._ends = prompt_width, ends
        self._least: torch.Tensor | None = None  # (b,)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """(b, length) ids so far, (b, v) logits of the next token -> the logits as they are."""
        two = scores.topk(2, dim=-1).values.float()
        written = input_ids[:, self._width :]
        ended = torch.isin(written, torch.tensor(self._ends, device=written.device)).any(dim=1)
        margin = (two[:, 0] - two[:, 1]).masked_fill(ended, math.inf)
        self._least = margin if self._least is None else torch.minimum(self._least, margin)
        return scores

    def near_ties(self) -> list[bool]:
        """Of each row of the batch."""
        return [] if self._least is None else (self._least < NEAR_TIE).tolist()


def _reply(
    base: BaseModel, written: list[int], prompt_tokens: int, seconds: float, ends: list[int], *, near_tie: bool
) -> Generation:
    length = next((i for i, token in enumerate(written) if token in ends), None)
    kept = written if length is None else written[:length]
    text = base.tokenizer.decode(kept, skip_special_tokens=True).strip()
    form = next((match.start() for match in FORM.finditer(text) if match.start()), None)
    ended = length is not None or form is not None
    return Generation(text[:form].strip(), prompt_tokens + len(kept), seconds, ended=ended, near_tie=near_tie)
