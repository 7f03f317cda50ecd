"""Makes the task of a split with this program's retrieval, training data and prompts."""

from pathlib import Path

import numpy as np

from evaluation.benchmarks.bench.task import Task, write_task
from evaluation.splits import Split
from finetune.base_model import DTYPES, BaseModel, load_base
from finetune.lora import LORA_ALPHA, LORA_R
from finetune.prompt import prompt_writer
from finetune.reply_writer import max_reply_tokens
from finetune.training import BATCH
from finetune.training_data import config_for, make_training_data
from retrieval.cross_validation import out_of_fold_log_probabilities
from retrieval.encoder import SentenceEncoder
from retrieval.files import write_jsonl
from retrieval.intent_classifier import fit_classifier
from retrieval.label_names import label_names_gate
from retrieval.retrieve import retrieve

SEED = 0


def prepare(split: Split, folder: Path, encoder: SentenceEncoder, *, base_model: str) -> None:
    """Writes into a new folder what the contestants read: train.jsonl and val.jsonl for run.py, task.pickle for the others."""
    folder.mkdir(parents=True)
    rows = split.train_set.rows
    train = ({"id": r.id, "ticket": r.text, "intent": r.intent, "ideal_reply": r.ideal_reply} for r in rows)
    write_jsonl(folder / "train.jsonl", train)
    write_jsonl(folder / "val.jsonl", ({"id": ticket.id, "ticket": ticket.text} for ticket in split.tickets))
    write_task(make_task(split, load_base(base_model), encoder, base_model=base_model), folder / "task.pickle")


def make_task(split: Split, base: BaseModel, encoder: SentenceEncoder, *, base_model: str) -> Task:
    """The task: prompts as a run builds them before the language model has scored any intent.

    Raises:
        NoPrompt: a ticket cannot be written as a prompt for this base.
    """
    train_set, config = split.train_set, config_for(base)
    classifier = fit_classifier(train_set, with_names=label_names_gate(train_set, seed=SEED).passed)
    found = retrieve(classifier, split.tickets, split.vectors)
    writer, log_p = prompt_writer(base.tokenizer, base.max_length), out_of_fold_log_probabilities(classifier)
    options = {"max_new_tokens": max_reply_tokens(writer, train_set.rows)}
    own = base.model.generation_config.eos_token_id
    ends = {writer.end_id, base.tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])} - {None}
    nearest = np.argmax(split.vectors @ train_set.ticket_vectors.T, axis=1)  # (m,)
    return Task(
        base_model=base_model,
        base=base.path,
        revision=base.commit,
        dtype=str(DTYPES[base.precision]).removeprefix("torch."),
        encoder=str(encoder.files.path),
        epochs=make_training_data(classifier, log_p, writer, config, seed=SEED).epochs,
        learning_rate=config.learning_rate,
        prompt_gradient=config.prompt_gradient,
        batch=BATCH,
        micro_batch=1 if base.large else BATCH,  # four rows of a 1.5B at once would hardly fit into 24 GiB
        lora_r=LORA_R,
        lora_alpha=LORA_ALPHA,
        prompts=tuple(
            writer.prompt(r.ticket.id, r.ticket.text, r.exemplars[: config.exemplars], intent=r.intent, **options)
            for r in found
        ),
        end_ids=tuple(sorted(ends)),
        **options,
        rows=tuple((row.text, row.intent) for row in train_set.rows),
        tickets=tuple((ticket.id, ticket.text) for ticket in split.tickets),
        intents={one.ticket.id: one.intent for one in found},
        nearest={ticket.id: train_set.rows[i].intent for ticket, i in zip(split.tickets, nearest, strict=True)},
    )
