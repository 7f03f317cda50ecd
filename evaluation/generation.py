"""Adapters and replies for the commands that compare ways of training and answering, from the code of a run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch.nn import Module

from finetune.base_model import BaseModel
from finetune.lora import temporary_adapter
from finetune.memory import OutOfMemory
from finetune.prompt import prompt_writer
from finetune.reply_writer import max_reply_tokens, write_replies
from finetune.training import NoAdapter, train
from finetune.training_data import TrainingConfig, make_training_data
from retrieval.cross_validation import out_of_fold_log_probabilities
from retrieval.exemplars import EXEMPLARS
from retrieval.intent_classifier import IntentClassifier
from retrieval.prediction import Reply
from retrieval.retrieve import Retrieval
from retrieval.train_set import TrainSet

FAILURES = (OutOfMemory, NoAdapter)  # what their users can mend: a smaller base


@contextmanager
def trained_adapter(
    classifier: IntentClassifier, base: BaseModel, config: TrainingConfig, *, seed: int, label: str
) -> Iterator[Module]:
    """The base with an adapter trained on the classifier's rows, for as long as the block lasts."""
    log_p, writer = out_of_fold_log_probabilities(classifier), prompt_writer(base.tokenizer, base.max_length)
    epochs = make_training_data(classifier, log_p, writer, config, seed=seed).epochs
    with temporary_adapter(base, seed=seed) as model:
        train(model, epochs, learning_rate=config.learning_rate, seed=seed, label=label)
        yield model


def generated_replies(
    found: Sequence[Retrieval], model: Module, base: BaseModel, train_set: TrainSet, *, label: str, exemplars: int = EXEMPLARS
) -> list[Reply]:
    """The checked reply to each ticket, as long as the longest stored one and a quarter."""
    writer = prompt_writer(base.tokenizer, base.max_length)
    length = max_reply_tokens(writer, train_set.rows)
    replies = write_replies(found, model, base, writer, max_new_tokens=length, exemplars=exemplars, label=label).replies
    return [replies[retrieval.ticket.id] for retrieval in found]
