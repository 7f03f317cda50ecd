"""This program's LoRA and its generation by themselves: the work of `trl_lora`, with the code of a run."""

import time

from evaluation.benchmarks.bench.task import Outcome, Task, serve
from finetune.base_model import load_base
from finetune.generate import generate
from finetune.lora import temporary_adapter
from finetune.prompt import prompt_writer
from finetune.training import train
from retrieval.console import elapsed
from retrieval.runtime import configure, deterministic_kernels


def work(task: Task) -> Outcome:
    """Trains and answers with the drafts, unchecked, whatever a run's gates would say."""
    configure()
    deterministic_kernels()
    base = load_base(task.base_model)
    end_id = prompt_writer(base.tokenizer, base.max_length).end_id
    with temporary_adapter(base, seed=0) as model:
        setup_s, began = elapsed(), time.monotonic()
        rate, gradient = task.learning_rate, task.prompt_gradient
        steps = train(model, task.epochs, learning_rate=rate, seed=0, prompt_gradient=gradient).steps
        trained = time.monotonic()
        found = generate(model, base, task.prompts, end_id=end_id, max_new_tokens=task.max_new_tokens).written
        reply_s = (time.monotonic() - trained) / len(task.prompts)
    replies = {ticket: draft.text for ticket, draft in found.items()}
    return Outcome(setup_s, (trained - began) / steps, reply_s, reply_s, task.intents, replies)


if __name__ == "__main__":
    serve(work)
