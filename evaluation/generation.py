"""Adapters and replies for the commands that compare ways of training and answering, from the code of a run."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

from peft import PeftModel
from torch.nn import Module

from evaluation.command import new_parser
from evaluation.measured_lines import add_lines_options
from evaluation.score.labels import Label
from evaluation.splits import Split, add_split_options, drawn_splits, given_split, split_problems
from finetune.base_model import BaseModel, load_base
from finetune.base_selection import base_problems
from finetune.distributed import SINGLE_PROCESS
from finetune.evidence import Setup
from finetune.fit import final_adapter, make_setup, training_rows
from finetune.lora import temporary_adapter
from finetune.memory import OutOfMemory
from finetune.prompt import Example, NoPrompt, PromptWriter, prompt_writer
from finetune.reply_writer import max_reply_tokens, write_replies
from finetune.training import NoAdapter, TrainingRun, completion_losses, train
from finetune.training_data import TrainingConfig, config_for, make_training_data
from retrieval.compose import sentences
from retrieval.cross_validation import out_of_fold_log_probabilities
from retrieval.encoder import Encoder, encoder_problems, load_encoder
from retrieval.facts import facts
from retrieval.intent_classifier import Floats, IntentClassifier, fit_classifier
from retrieval.label_names import label_names_gate
from retrieval.prediction import Reply
from retrieval.retrieve import Retrieval, retrieve_train_rows
from retrieval.runtime import configure, deterministic_kernels
from retrieval.tickets import InputProblems, LabelledTicket
from retrieval.train_set import TrainSet, representative_rows

BASE_HELP = "as for run.py, but auto is smollm2-135m on every CPU (default: auto)"
FAILURES = (OutOfMemory, NoAdapter)  # what their users can mend: a smaller base


def add_generation_options(parser: argparse.ArgumentParser) -> None:
    """The options of a command that trains and answers splits."""
    folder_help = "folders with train.jsonl, val.jsonl, val_labels.jsonl; the same one again is another seed"
    parser.add_argument("--split", type=Path, nargs="+", default=[], metavar="DIR", help=folder_help)
    add_split_options(parser)
    parser.add_argument("--base-model", default="auto", metavar="BASE", help=BASE_HELP)
    parser.add_argument("--encoder", default="auto", metavar="ENCODER", help="as for run.py (default: auto)")


def parse_generation(module: str, text: str | None, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of such a command that keeps its lines in a file; `text` is its docstring."""
    parser = new_parser(module, text)
    add_generation_options(parser)
    add_lines_options(parser)
    return parser.parse_args(arguments)


def load_for_generation(options: argparse.Namespace) -> tuple[list[Split], BaseModel, Encoder]:
    """The splits, the base and the encoder that these options name.

    Raises:
        InputProblems: with all that is wrong.
        ModelUnavailable: a model cannot be loaded.
    """
    problems = [*base_problems(options.base_model, Path()), *encoder_problems(options.encoder), *split_problems(options)]
    problems += [] if options.split or options.folds else ["found neither --split nor --folds, expected one of them or both"]
    problems += ["--base-model none: found no base, expected one to train"] if options.base_model == "none" else []
    if problems:
        raise InputProblems(problems)
    configure()
    deterministic_kernels()
    encoder = load_encoder(options.encoder)
    given = [given_split(d / "train.jsonl", d / "val.jsonl", d / "val_labels.jsonl", encoder) for d in options.split]
    splits = [replace(split, seed=number) for number, split in enumerate(given)]
    splits += drawn_splits(options, encoder) if options.folds else []
    return splits, load_base(options.base_model), encoder


@dataclass(frozen=True, slots=True)
class RunAdapter:
    """The final adapter of a run on a split."""

    classifier: IntentClassifier
    setup: Setup
    model: PeftModel
    training: TrainingRun


@contextmanager
def adapter_of_a_run(split: Split, base: BaseModel, *, seed: int) -> Iterator[RunAdapter]:
    """Trains the adapter that a run would train on the split, which is there for as long as the block lasts."""
    classifier = fit_classifier(split.train_set, with_names=label_names_gate(split.train_set, seed=0).passed)
    config, rows = config_for(base), training_rows(classifier, base)
    setup = make_setup(classifier, rows, base, config, seed=seed, processes=SINGLE_PROCESS)
    data = make_training_data(setup.classifier, setup.log_p, setup.writer, config, seed=seed)
    model, training = final_adapter(setup, data, inf)
    try:
        yield RunAdapter(classifier, setup, model, training)
    finally:
        model.unload()


@contextmanager
def trained_adapter(
    classifier: IntentClassifier,
    base: BaseModel,
    config: TrainingConfig,
    *,
    seed: int,
    label: str,
    supported_targets: bool = False,
) -> Iterator[Module]:
    """The base with an adapter trained on the classifier's rows, for as long as the block lasts.

    Args:
        classifier: of the rows.
        base: without an adapter.
        config: of the training.
        seed: of everything random.
        label: for the progress bar.
        supported_targets: whether only those sentences of a reply are learned whose facts stand in the prompt.
    """
    log_p, writer = out_of_fold_log_probabilities(classifier), prompt_writer(base.tokenizer, base.max_length)
    if supported_targets:
        epochs = (supported_examples(classifier, log_p, writer, config),) * config.epochs
    else:
        epochs = make_training_data(classifier, log_p, writer, config, seed=seed).epochs
    with adapter_trained_on(epochs, base, config, seed=seed, label=label) as model:
        yield model


@contextmanager
def adapter_trained_on(
    epochs: Sequence[Sequence[Example]], base: BaseModel, config: TrainingConfig, *, seed: int, label: str
) -> Iterator[Module]:
    """The base with an adapter trained on these examples, for as long as the block lasts."""
    with temporary_adapter(base, seed=seed) as model:
        gradient = config.prompt_gradient
        train(model, epochs, learning_rate=config.learning_rate, seed=seed, label=label, prompt_gradient=gradient)
        yield model


def supported_examples(
    classifier: IntentClassifier, log_probabilities: Floats, writer: PromptWriter, config: TrainingConfig
) -> tuple[Example, ...]:
    """A training example of each row: its own reply is not in the prompt, and only its supported sentences are the target.

    Supported is a sentence whose facts all stand in the exemplars or the ticket. A row of which nothing is left, or that is too
    long, is left out.
    """
    train_set = classifier.train_set
    rows = representative_rows(train_set, at_most=config.rows or len(train_set.rows))
    found = []
    for i, retrieval in zip(rows, retrieve_train_rows(classifier, rows, log_probabilities[rows]), strict=True):
        row, shown = train_set.rows[i], retrieval.exemplars[: config.exemplars]
        known = facts(" ".join([*(exemplar.ideal_reply for exemplar in shown), row.text]))
        target = " ".join(sentence for sentence in sentences(row.ideal_reply) if facts(sentence) <= known)
        if target:
            with suppress(NoPrompt):
                found.append(writer.example(replace(row, ideal_reply=target), shown))
    return tuple(found)


def unseen_losses(
    found: Sequence[Retrieval], labels: Sequence[Label], model: Module, base: BaseModel, *, exemplars: int
) -> list[float]:
    """The completion loss of each ticket's ideal reply, nats per token, with the prompt that answers the ticket."""
    writer = prompt_writer(base.tokenizer, base.max_length)
    rows = (
        (LabelledTicket(one.ticket.id, one.ticket.text, one.intent, label.ideal_reply), one.exemplars[:exemplars])
        for one, label in zip(found, labels, strict=True)
    )
    return completion_losses(model, [writer.example(row, shown) for row, shown in rows])


def generated_replies(
    found: Sequence[Retrieval], model: Module, base: BaseModel, train_set: TrainSet, *, label: str, exemplars: int
) -> list[Reply]:
    """The checked reply to each ticket, as long as the longest stored one and a quarter."""
    writer = prompt_writer(base.tokenizer, base.max_length)
    length = max_reply_tokens(writer, train_set.rows)
    replies = write_replies(found, model, base, writer, max_new_tokens=length, exemplars=exemplars, label=label).replies
    return [replies[retrieval.ticket.id] for retrieval in found]
