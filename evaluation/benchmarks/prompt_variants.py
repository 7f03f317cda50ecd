"""python -m evaluation.benchmarks.prompt_variants: which training prompts make the base answer well?

Takes splits (drawn from labelled files, or folders with train.jsonl, val.jsonl and val_labels.jsonl), trains one adapter per
variant and split, answers the test rows with it, and compares each reply, as drafted and as checked (a draft that fails the
check is replaced by a stored reply), with the ideal one and with copying the first exemplar. One JSON line per split and
variant goes to stdout, a table to stderr.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from evaluation.benchmarks.restatements import facts_kept, restate, restating_adapter, restating_replies
from evaluation.command import new_parser, print_table, run_command, with_error
from evaluation.generation import (
    FAILURES,
    add_generation_options,
    generated_replies,
    load_for_generation,
    trained_adapter,
    unseen_losses,
)
from evaluation.score.grading import rouge_l
from evaluation.splits import Split
from finetune.base_model import BaseModel
from finetune.reply_quality import reply_qualities
from finetune.training_data import TrainingConfig, config_for
from retrieval.console import say
from retrieval.encoder import Encoder
from retrieval.intent_classifier import IntentClassifier, fit_classifier
from retrieval.label_names import label_names_gate
from retrieval.prediction import Reply, copy_reply
from retrieval.retrieve import Retrieval, retrieve

COPY = "copy"
SUPPORTED = "own reply never, supported sentences as the target"
RESTATED = "own reply restated, 15 rows"
VARIANTS: dict[str, dict[str, Any] | None] = {  # what differs from the base's own TrainingConfig; None: no adapter
    "no LoRA": None,
    "own reply always": {"own_reply_share": 1.0},
    "own reply half": {"own_reply_share": 0.5},
    "own reply never": {"own_reply_share": 0.0},
    "own reply never, 4 epochs": {"own_reply_share": 0.0, "epochs": 4},
    "own reply always, 15 rows": {"own_reply_share": 1.0, "rows": 15},
    "own reply never, 15 rows": {"own_reply_share": 0.0, "rows": 15},
    SUPPORTED: {"own_reply_share": 0.0},
    f"{SUPPORTED}, 15 rows": {"own_reply_share": 0.0, "rows": 15},
    RESTATED: {"rows": 15},
    "4 exemplars, gradient through the prompt": {"exemplars": 4, "prompt_gradient": True},
    "4 exemplars": {"exemplars": 4},
    "2 exemplars": {"exemplars": 2},
    "2 exemplars, 15 rows": {"exemplars": 2, "rows": 15},
    "2 exemplars, 1 epoch": {"exemplars": 2, "epochs": 1},
}


Measured = dict[str, Any]  # one variant on one split, as it goes to stdout


def answer(
    split: Split, classifier: IntentClassifier, found: Sequence[Retrieval], variant: str, base: BaseModel, *, seed: int
) -> tuple[list[Reply], list[float]]:
    """The replies of one variant to a split's test rows, and the completion losses of the ideal ones."""
    changes, supported = VARIANTS[variant], variant.startswith(SUPPORTED)
    config = replace(config_for(base), **({"rows": None} | (changes or {})))
    if variant == RESTATED:
        return _restated(split, classifier, found, config, base, seed=seed), []
    adapter = trained_adapter(classifier, base, config, seed=seed, label=variant, supported_targets=supported)
    with nullcontext(base.model) if changes is None else adapter as model:
        losses = unseen_losses(found, split.labels, model, base, exemplars=config.exemplars)
        rows, shown = classifier.train_set, config.exemplars
        return generated_replies(found, model, base, rows, label=variant, exemplars=shown), losses


def _restated(
    split: Split,
    classifier: IntentClassifier,
    found: Sequence[Retrieval],
    config: TrainingConfig,
    base: BaseModel,
    *,
    seed: int,
) -> list[Reply]:
    rows = split.train_set.rows
    restated = restate(rows, base)
    say(f"{split.name}: {len(restated)} stored replies restated, {facts_kept(restated):.0%} of their facts kept")
    with restating_adapter(classifier, base, config, restated, seed=seed, label=RESTATED) as model:
        return restating_replies(found, model, base, rows, restated, exemplars=config.exemplars)


def measure(
    split: Split,
    variant: str,
    replies: Sequence[Reply],
    encoder: Encoder,
    *,
    losses: Sequence[float] = (),
    seconds: float = 0.0,
) -> Measured:
    """Compares replies with the ideal ones."""
    ideals, stored = [label.ideal_reply for label in split.labels], {row.ideal_reply for row in split.train_set.rows}
    ideal = encoder.encode(ideals)
    drafted = encoder.encode([reply.draft or reply.text for reply in replies])
    checked = encoder.encode([reply.text for reply in replies])
    pairs = list(zip(split.labels, replies, strict=True))
    return {
        "split": split.name,
        "variant": variant,
        "losses": [round(loss, 4) for loss in losses],  # of the ideal replies, nats per token
        "drafted": [round(float(c), 4) for c in np.sum(ideal * drafted, axis=1)],  # cosine of each draft to the ideal reply
        "checked": [round(float(c), 4) for c in np.sum(ideal * checked, axis=1)],  # cosine of what a customer would get
        "quality": [round(float(q), 4) for q in reply_qualities([r.text for r in replies], ideals, encoder)],  # of the same
        "rouge_l": [round(rouge_l(reply.text, ideal), 4) for reply, ideal in zip(replies, ideals, strict=True)],
        "stored": sum(reply.text in stored for reply in replies),  # word for word a stored reply
        "replaced": sum(reply.source == "replaced" for reply in replies),
        "facts_met": sum(len(label.must_mention) - len(label.missing_facts(reply.text)) for label, reply in pairs),
        "facts": sum(len(label.must_mention) for label in split.labels),
        "wrong_facts": sum(len(label.wrong_facts(reply.text)) for label, reply in pairs),
        "seconds": round(seconds, 1),
    }


def measure_all(splits: Sequence[Split], variants: Sequence[str], base: BaseModel, encoder: Encoder) -> Iterator[Measured]:
    """Copying and every variant, split by split; all variants of a split share its vectors and its prompts."""
    for split in splits:
        classifier = fit_classifier(split.train_set, with_names=label_names_gate(split.train_set, seed=0).passed)
        found = retrieve(classifier, split.tickets, split.vectors)
        yield measure(split, COPY, [copy_reply(one) for one in found], encoder)
        for variant in variants:
            began = time.monotonic()
            replies, losses = answer(split, classifier, found, variant, base, seed=split.seed)
            yield measure(split, variant, replies, encoder, losses=losses, seconds=time.monotonic() - began)


def table_line(variant: str, measured: Sequence[Measured]) -> dict[str, str]:
    """A variant over all splits; differences to copying are paired by row."""
    own, copied = ([found for found in measured if found["variant"] == name] for name in (variant, COPY))
    drafted, checked = (np.concatenate([found[key] for found in own]) for key in ("drafted", "checked"))
    gains = checked - np.concatenate([found["checked"] for found in copied])
    return {
        "variant": variant,
        "loss": _loss(own),
        "splits": str(len(own)),
        "rows": str(len(gains)),
        "cosine drafted": f"{drafted.mean():.3f}",
        "cosine checked": f"{checked.mean():.3f}",
        "minus copy": with_error(gains.tolist(), digits=3),
        "quality": f"{np.mean(np.concatenate([found['quality'] for found in own])):.3f}",
        "ROUGE-L": f"{np.mean(np.concatenate([found['rouge_l'] for found in own])):.3f}",
        "replaced": str(sum(found["replaced"] for found in own)),
        "stored reply": str(sum(found["stored"] for found in own)),
        "facts": f"{sum(found['facts_met'] for found in own)}/{sum(found['facts'] for found in own)}",
        "s per split": f"{np.mean([found['seconds'] for found in own]):.0f}",
    }


def _loss(measured: Sequence[Measured]) -> str:
    losses = [loss for found in measured for loss in found["losses"]]
    return f"{np.mean(losses):.3f}" if losses else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the comparison."""
    parser = new_parser("evaluation.benchmarks.prompt_variants", __doc__)
    add_generation_options(parser)
    only_help = f"of {', '.join(VARIANTS)} (default: all)"
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME", help=only_help)
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options), failures=FAILURES)


def run(options: argparse.Namespace) -> int:
    """Reads, measures, prints."""
    splits, base, encoder = load_for_generation(options)
    measured: list[Measured] = []
    for found in measure_all(splits, options.only, base, encoder):
        measured.append(found)
        say("{split}, {variant}: {seconds:.0f} s, {facts_met} facts".format(**found))
        print(json.dumps(found), flush=True)
    print_table([table_line(variant, measured) for variant in (COPY, *options.only)], stderr=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
