"""python -m evaluation.benchmarks.batch_noise: does a generated reply depend on the tickets that share its batch?

    python -m evaluation.benchmarks.batch_noise --train data/train.jsonl --val data/val.jsonl --precision fp32 bf16

The bare base answers tickets together and alone, with the prompts of a run. For each precision: how far the logits of the first
token move with the padding and the rows of the batch, how many replies differ, and what writing alone takes.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from evaluation.benchmarks.gpu import timed
from evaluation.command import count, new_parser, print_table, run_command
from finetune.base_model import BaseModel, load_candidate
from finetune.base_selection import base_problems, candidates
from finetune.beginnings import beginnings_cache, can_share, lay_out
from finetune.generate import generate
from finetune.prompt import Prompt, prompt_writer
from finetune.training_data import config_for
from retrieval.encoder import Encoder, encoder_problems, load_encoder
from retrieval.intent_classifier import fit_classifier
from retrieval.known_models import SMOLLM
from retrieval.label_names import label_names_gate
from retrieval.retrieve import Retrieval, retrieve
from retrieval.runtime import configure, deterministic_kernels
from retrieval.tickets import InputProblems, read_train, read_val
from retrieval.train_set import embed_train_set


def measure(base: BaseModel, found: Sequence[Retrieval], *, tokens: int) -> dict[str, Any]:
    """One base in one precision, on the tickets of these retrievals, replies of at most so many tokens."""
    writer, shown = prompt_writer(base.tokenizer, base.max_length), config_for(base).exemplars
    prompts = [
        writer.prompt(one.ticket.id, one.ticket.text, one.exemplars[:shown], intent=one.intent, max_new_tokens=tokens)
        for one in found
    ]
    options: dict[str, Any] = {"end_id": writer.end_id, "max_new_tokens": tokens}
    together, seconds = timed(lambda: generate(base.model, base, prompts, **options).written)
    alone, seconds_alone = timed(lambda: [generate(base.model, base, [prompt], **options).written for prompt in prompts])
    texts = {row_id: reply.text for one in alone for row_id, reply in one.items()}
    return {
        "precision": base.precision,
        "tickets": len(prompts),
        "logits move by": logit_movement(base, prompts),
        "replies that differ": sum(together[row_id].text != text for row_id, text in texts.items()),
        "seconds together": round(seconds, 1),
        "seconds alone": round(seconds_alone, 1),
    }


def logit_movement(base: BaseModel, prompts: Sequence[Prompt]) -> float:
    """How far a logit of the first token moves at most, between a prompt alone and all in a batch as a run lays it out."""
    device = base.model.device
    layout = lay_out([prompt.ids for prompt in prompts], padding=0, share=can_share(base.model))
    ids, mask = (torch.tensor(rows, device=device) for rows in (layout.ids, layout.mask))
    new = slice(layout.shared_width, None)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.inference_mode():
        cache = beginnings_cache(base.model, layout, device)
        batch = {"input_ids": ids[:, new], "attention_mask": mask, "position_ids": positions[:, new], "past_key_values": cache}
        together = base.model(**batch, logits_to_keep=1).logits[:, -1].float()  # (b, v)
        each = [base.model(input_ids=torch.tensor([list(p.ids)], device=device), logits_to_keep=1).logits for p in prompts]
    return float((together - torch.cat(each)[:, -1].float()).abs().max())


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the comparison."""
    parser = new_parser("evaluation.benchmarks.batch_noise", __doc__)
    add = parser.add_argument
    add("--train", type=Path, required=True, metavar="FILE", help="train rows, as for run.py")
    add("--val", type=Path, required=True, metavar="FILE", help="tickets, as for run.py")
    add("--base-model", default=SMOLLM.name, metavar="BASE", help=f"as for run.py (default: {SMOLLM.name})")
    add("--encoder", default="auto", metavar="ENCODER", help="as for run.py (default: auto)")
    add("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"], help="of the base (default: both)")
    add("--tokens", type=count, default=40, help="of a reply at most (default: 40)")
    options = parser.parse_args(arguments)
    return run_command(lambda: compare(options))


def compare(options: argparse.Namespace) -> int:
    """Reads, retrieves, measures, prints."""
    rows, problems = read_train(options.train)
    tickets, more = read_val(options.val)
    problems += [*more, *base_problems(options.base_model, Path()), *encoder_problems(options.encoder)]
    problems += ["--base-model none: found no base, expected one to measure"] if options.base_model == "none" else []
    if problems:
        raise InputProblems(problems)
    configure()
    deterministic_kernels()
    encoder: Encoder = load_encoder(options.encoder)
    train_set = embed_train_set(rows, encoder)
    classifier = fit_classifier(train_set, with_names=label_names_gate(train_set, seed=0).passed)
    found = retrieve(classifier, tickets, encoder.encode([ticket.text for ticket in tickets]))
    lines = []
    for precision in options.precision:
        base = load_candidate(replace(candidates(options.base_model, None)[0], precision=precision))
        lines.append(measure(base, found, tokens=options.tokens))
        print(json.dumps(lines[-1]), flush=True)
    print_table([{name: f"{value}" for name, value in line.items()} for line in lines], stderr=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
