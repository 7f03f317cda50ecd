"""python -m evaluation.prompt_variants: which training prompts teach the base to answer?

Takes all_splits (draws from labelled files, or a folder with train.jsonl, val.jsonl and val_labels.jsonl), trains one
adapter per
variant and train_set, answers the test rows with it, and compares each reply, as written and as a customer would get it (a
draft
that fails the check replaced by a stored reply), with the ideal one and with copying the first exemplar. All variants of a
train_set share its rows, vectors, intent_scores and answering prompts. One JSON line per train_set and variant goes to
stdout, a table to stderr.

What it does not know: facts, where a train_set has no must-mention lists; then cosine to the ideal reply is all there is.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from evaluation.labels import Label
from evaluation.splits import Split, drawn_splits, given_split, read_labelled
from finetune.base_model import BaseModel, load_base
from finetune.lora import learning_rate, temporary_adapter, tune
from finetune.prompt import prompt_writer
from finetune.reply_writer import max_reply_tokens, write_replies
from finetune.training_data import TrainingConfig, make_training_data
from retrieval.console import say
from retrieval.cross_validation import out_of_fold_scores
from retrieval.encoder import Encoder, ModelUnavailable, SentenceEncoder
from retrieval.intent_classifier import IntentClassifier, fit_classifier
from retrieval.label_names import label_names_gate
from retrieval.replies import Question, Reply, asked, copy_reply
from retrieval.retrieve import retrieve
from retrieval.runtime import configure, deterministic_kernels
from retrieval.tickets import InputProblems


@dataclass(frozen=True, slots=True)
class Variant:
    """One row of the comparison; `config` None is the base without an adapter."""

    name: str
    config: TrainingConfig | None
    exemplar_tickets: bool = False


VARIANTS = (
    Variant("no LoRA", None),
    Variant("own always", TrainingConfig(own_reply_share=1.0)),
    Variant("own half", TrainingConfig(own_reply_share=0.5)),
    Variant("own never", TrainingConfig(own_reply_share=0.0)),
    Variant("own half, siblings else", TrainingConfig(own_reply_share=0.5, siblings=True)),
    Variant("own always, with tickets", TrainingConfig(own_reply_share=1.0), exemplar_tickets=True),
    Variant("own never, with tickets", TrainingConfig(own_reply_share=0.0), exemplar_tickets=True),
    Variant("own never, 4 epochs", TrainingConfig(own_reply_share=0.0, epochs=4)),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A train_set's classifier, and its test rows as questions: what all variants share."""

    name: str
    classifier: IntentClassifier
    questions: tuple[Question, ...]
    labels: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """One variant on one train_set; a list holds a figure for each test row."""

    train_set: str
    variant: str
    written: list[float]  # cosine of the reply as written to the ideal one
    checked: list[float]  # cosine of the reply as a customer would get it
    replaced: int
    facts_met: int
    facts: int
    wrong_facts: int
    seconds: float


def ask(train_set: Split) -> Asked:
    """IntentScores on the test rows of a train_set and chooses their exemplars."""
    classifier = fit_classifier(train_set.train_set, with_names=label_names_gate(train_set.train_set, seed=0).passed)
    return Asked(
        train_set.name,
        classifier,
        tuple(asked(found) for found in retrieve(classifier, train_set.tickets, train_set.vectors)),
        train_set.labels,
    )


def answer(train_set: Asked, variant: Variant, base: BaseModel, *, seed: int) -> list[Reply]:
    """The replies of one variant to the test rows of a train_set."""
    writer = prompt_writer(base.tokenizer, base.max_length, exemplar_tickets=variant.exemplar_tickets)
    max_new_tokens = max_reply_tokens(writer, train_set.classifier.train_set.rows)
    if variant.config is None:
        found = write_replies(train_set.questions, base.model, base, writer, max_new_tokens=max_new_tokens).replies
        return [found[question.row_id] for question in train_set.questions]
    data = make_training_data(
        train_set.classifier.train_set, out_of_fold_scores(train_set.classifier), writer, variant.config, seed=seed
    )
    with temporary_adapter(base, seed=seed) as tuned:
        tune(tuned, data.epochs, rate=learning_rate(base), seed=seed, label=variant.name)
        found = write_replies(train_set.questions, tuned, base, writer, max_new_tokens=max_new_tokens).replies
    return [found[question.row_id] for question in train_set.questions]


def measure(train_set: Asked, variant: str, replies: Sequence[Reply], encoder: Encoder, seconds: float) -> Measured:
    """Compares replies with the ideal ones."""
    ideal = encoder.encode([label.ideal_reply for label in train_set.labels])
    written = encoder.encode([reply.draft or reply.text for reply in replies])
    checked = encoder.encode([reply.text for reply in replies])
    pairs = list(zip(train_set.labels, replies, strict=True))
    return Measured(
        train_set=train_set.name,
        variant=variant,
        written=[round(float(c), 4) for c in np.sum(ideal * written, axis=1)],
        checked=[round(float(c), 4) for c in np.sum(ideal * checked, axis=1)],
        replaced=sum(reply.source == "replaced" for reply in replies),
        facts_met=sum(len(label.must_mention) - len(label.missing_facts(reply.text)) for label, reply in pairs),
        facts=sum(len(label.must_mention) for label in train_set.labels),
        wrong_facts=sum(len(label.wrong_facts(reply.text)) for label, reply in pairs),
        seconds=round(seconds, 1),
    )


def print_table(measured: Sequence[Measured]) -> None:
    """A line per variant, over all all_splits; differences to copying are paired by row."""
    table = Table(
        "variant",
        "all_splits",
        "rows",
        "cosine written",
        "cosine checked",
        "minus copy",
        "replaced",
        "facts",
        "s per train_set",
    )
    copied = {found.train_set: found.checked for found in measured if found.variant == "copy"}
    for name in dict.fromkeys(found.variant for found in measured):
        own = [found for found in measured if found.variant == name]
        differences = [a - b for found in own for a, b in zip(found.checked, copied[found.train_set], strict=True)]
        error = np.std(differences) / np.sqrt(len(differences))
        table.add_row(
            *(name, str(len(own)), str(len(differences))),
            *(f"{np.mean(np.concatenate([getattr(found, which) for found in own])):.3f}" for which in ("written", "checked")),
            f"{np.mean(differences):+.3f} ± {error:.3f}",
            str(sum(found.replaced for found in own)),
            f"{sum(found.facts_met for found in own)}/{sum(found.facts for found in own)}",
            f"{np.mean([found.seconds for found in own]):.0f}",
        )
    Console(stderr=True).print(table)


def main() -> int:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.prompt_variants", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--draw-from", type=Path, nargs="+", default=[], help="JSONL files of train rows to draw all_splits from"
    )
    parser.add_argument(
        "--train_set", type=Path, nargs="+", default=[], help="folders with train.jsonl, val.jsonl, val_labels.jsonl"
    )
    names = [variant.name for variant in VARIANTS]
    parser.add_argument("--base-model", default="auto", help="as for run.py")
    parser.add_argument("--splits", type=int, default=3, help="draws")
    parser.add_argument("--intents", type=int, default=12, help="intents per draw, two train rows each")
    parser.add_argument("--tests", type=int, default=16, help="test rows per draw")
    parser.add_argument("--max-reply-words", type=int, default=80, help="leave out rows with longer replies")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=f"of {names} (default: all)")
    options = parser.parse_args()
    configure()
    deterministic_kernels()
    measured: list[Measured] = []
    try:
        encoder, base = SentenceEncoder(None), load_base(options.base_model)
        all_splits = [
            given_split(d / "train.jsonl", d / "val.jsonl", d / "val_labels.jsonl", encoder) for d in options.train_set
        ]
        if options.draw_from:
            rows = read_labelled(options.draw_from, max_reply_words=options.max_reply_words)
            sizes = {"splits": options.splits, "intents": options.intents, "tests": options.tests}
            all_splits += drawn_splits(rows, encoder, per_intent=2, **sizes)
    except InputProblems as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return 2
    except ModelUnavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for seed, train_set in enumerate(map(ask, all_splits)):
        measured.append(measure(train_set, "copy", [copy_reply(question) for question in train_set.questions], encoder, 0.0))
        for variant in (variant for variant in VARIANTS if variant.name in options.only):
            began = time.monotonic()
            replies = answer(train_set, variant, base, seed=seed)
            measured.append(measure(train_set, variant.name, replies, encoder, time.monotonic() - began))
            say(f"{train_set.name}, {variant.name}: {measured[-1].seconds:.0f} s, {measured[-1].facts_met} facts")
            print(json.dumps(asdict(measured[-1])), flush=True)
    print_table(measured)
    return 0


if __name__ == "__main__":
    sys.exit(main())
