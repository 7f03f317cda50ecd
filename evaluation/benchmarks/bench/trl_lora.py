"""The usual way: TRL's SFTTrainer with a PEFT LoRA, then `model.generate` row by row.

What is not the same in all contestants is set in TRL's favour on a CPU: no activations are recomputed and nothing is cast to
bf16 (its defaults do both), and retrieval, which finds the exemplars in its prompts, is not in its time. Its intents are those
of the nearest train tickets.
"""

import tempfile
import time
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from trl import SFTConfig, SFTTrainer

from evaluation.benchmarks.bench.task import Outcome, Task, serve
from retrieval.console import elapsed


def work(task: Task) -> Outcome:
    """Trains, saves the adapter, answers."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(task, folder)
        setup_s, began = elapsed(), time.monotonic()
        trainer.train()
        step_s = (time.monotonic() - began) / trainer.state.global_step
        trainer.save_model(folder)
    began = time.monotonic()
    replies = answer(trainer.model, trainer.processing_class, task)
    reply_s = (time.monotonic() - began) / len(task.prompts)
    return Outcome(setup_s, step_s, reply_s, reply_s, task.nearest, replies)


def make_trainer(task: Task, folder: str) -> Any:
    """A trainer with the examples, the LoRA, the schedule and the number of steps of this program."""
    settings = SFTConfig(
        output_dir=folder,
        max_steps=task.steps,
        per_device_train_batch_size=task.micro_batch,
        gradient_accumulation_steps=task.batch // task.micro_batch,
        learning_rate=task.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, round(0.1 * task.steps)),
        completion_only_loss=True,
        max_length=None,
        gradient_checkpointing=False,
        bf16=task.dtype == "bfloat16",
        seed=0,
        report_to="none",
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    rows = [
        {"input_ids": list(x.ids), "completion_mask": [0] * (len(x.ids) - x.supervised) + [1] * x.supervised}
        for x in task.epochs[0]
    ]
    lora = LoraConfig(r=task.lora_r, lora_alpha=task.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    return SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(task.base, revision=task.revision, dtype=task.dtype),
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(task.base, revision=task.revision),
        peft_config=lora,
    )


def answer(model: Any, tokenizer: Any, task: Task) -> dict[str, str]:
    """The reply to each ticket, greedy, used as it comes."""
    settings = GenerationConfig(
        do_sample=False, max_new_tokens=task.max_new_tokens, eos_token_id=list(task.end_ids), pad_token_id=task.end_ids[0]
    )
    replies = {}
    model.eval()
    for prompt in task.prompts:
        ids = torch.tensor([prompt.ids], device=model.device)  # (1, width)
        written = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        replies[prompt.row_id] = tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True).strip()
    return replies


if __name__ == "__main__":
    serve(work)
