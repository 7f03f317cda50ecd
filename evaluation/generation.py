"""Adapters and replies for the commands that compare ways of training and answering, from the code of a run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from torch.nn import Module

from finetune.base_model import BaseModel
from finetune.lora import temporary_adapter
from finetune.memory import OutOfMemory
from finetune.prompt import Example, NoPrompt, PromptWriter, prompt_writer
from finetune.reply_writer import max_reply_tokens, write_replies
from finetune.training import NoAdapter, train
from finetune.training_data import TrainingConfig, make_training_data
from retrieval.compose import sentences
from retrieval.cross_validation import out_of_fold_log_probabilities
from retrieval.exemplars import EXEMPLARS
from retrieval.facts import facts
from retrieval.intent_classifier import Floats, IntentClassifier
from retrieval.prediction import Reply
from retrieval.retrieve import Retrieval, retrieve_train_rows
from retrieval.train_set import TrainSet, representative_rows

FAILURES = (OutOfMemory, NoAdapter)  # what their users can mend: a smaller base


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
    with temporary_adapter(base, seed=seed) as model:
        train(model, epochs, learning_rate=config.learning_rate, seed=seed, label=label)
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
        row = train_set.rows[i]
        known = facts(" ".join([*(shown.ideal_reply for shown in retrieval.exemplars), row.text]))
        target = " ".join(sentence for sentence in sentences(row.ideal_reply) if facts(sentence) <= known)
        if target:
            with suppress(NoPrompt):
                found.append(writer.example(replace(row, ideal_reply=target), retrieval.exemplars))
    return tuple(found)


def generated_replies(
    found: Sequence[Retrieval], model: Module, base: BaseModel, train_set: TrainSet, *, label: str, exemplars: int = EXEMPLARS
) -> list[Reply]:
    """The checked reply to each ticket, as long as the longest stored one and a quarter."""
    writer = prompt_writer(base.tokenizer, base.max_length)
    length = max_reply_tokens(writer, train_set.rows)
    replies = write_replies(found, model, base, writer, max_new_tokens=length, exemplars=exemplars, label=label).replies
    return [replies[retrieval.ticket.id] for retrieval in found]
