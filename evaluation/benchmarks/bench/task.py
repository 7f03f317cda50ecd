"""What every contestant is given, and what it gives back.

The task is made once for a split, so that all contestants learn from the same token ids and answer the same ones. It says
nothing that would have to be imported: a contestant's own imports are a part of what is measured.
"""

import json
import math
import pickle
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from finetune.prompt import Example, Prompt


@dataclass(frozen=True, slots=True)
class Task:
    """Rows to learn from and tickets to answer, as text and as token ids."""

    base_model: str  # the value of --base-model
    base: str  # what `from_pretrained` takes to load the same weights
    revision: str | None  # beside `base`, where it is a hub id
    dtype: str  # of the frozen weights, float32 or bfloat16
    encoder: str  # a sentence-transformers folder
    epochs: tuple[tuple[Example, ...], ...]  # the training examples of each pass
    learning_rate: float  # at its peak
    prompt_gradient: bool  # whether this program lets the gradient go back through the prompt
    batch: int  # rows of a step
    micro_batch: int  # rows that a step of TRL computes at once
    lora_r: int
    lora_alpha: int
    prompts: tuple[Prompt, ...]  # of the tickets
    end_ids: tuple[int, ...]  # tokens that end a reply
    max_new_tokens: int
    rows: tuple[tuple[str, str], ...]  # n train tickets with their intents
    tickets: tuple[tuple[str, str], ...]  # m ids with their texts
    intents: dict[str, str]  # by ticket id, of this program's classifier
    nearest: dict[str, str]  # by ticket id, of the train ticket with the highest cosine

    @property
    def steps(self) -> int:
        """Optimiser steps of all passes."""
        return sum(math.ceil(len(epoch) / self.batch) for epoch in self.epochs)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a contestant did; None where it does no such thing."""

    setup_s: float  # from the start of the process until training begins
    step_s: float | None  # of a training step
    reply_s: float | None  # of a generated reply
    ticket_s: float  # of an answered ticket
    intents: dict[str, str]  # by ticket id
    replies: dict[str, str] | None  # by ticket id


def write_task(task: Task, path: Path) -> None:
    """Writes it for `serve` in another process of this program."""
    path.write_bytes(pickle.dumps(task))


def serve(work: Callable[[Task], Outcome]) -> None:
    """The main function of a contestant: takes the task from the file that is named, prints the outcome as its last line."""
    outcome = work(pickle.loads(Path(sys.argv[1]).read_bytes()))
    print(json.dumps(asdict(outcome)), flush=True)
