"""Prompts whose exemplars say the stored replies in plain words, so that the adapter learns the product's wording, not copying.

The base itself writes the plain words once for each stored reply. In training the row's own reply, restated, is the best
exemplar, and the reply in the product's wording is the target. Drafts are checked against the stored replies themselves.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace

from torch.nn import Module

from evaluation.generation import adapter_trained_on
from finetune.base_model import BaseModel
from finetune.generate import generate
from finetune.prompt import Example, NoPrompt, Prompt, prompt_writer
from finetune.reply_writer import checked_reply, max_reply_tokens, reply_prompt
from finetune.training_data import TrainingConfig
from retrieval.cross_validation import out_of_fold_log_probabilities
from retrieval.facts import facts
from retrieval.intent_classifier import IntentClassifier
from retrieval.prediction import Reply
from retrieval.retrieve import Retrieval, retrieve_train_rows
from retrieval.tickets import LabelledTicket
from retrieval.train_set import representative_rows

REQUEST = (
    "A support agent sent this reply:\n{reply}\n\nSay the same in other words, as short plain notes. "
    "Keep every name, number, path and condition, and add nothing."
)

Restated = Mapping[str, str]  # stored reply -> the same in plain words


def restate(rows: Sequence[LabelledTicket], base: BaseModel) -> Restated:
    """Asks the bare base for the plain words of every stored reply; those that it does not bring to an end are missing."""
    writer = prompt_writer(base.tokenizer, base.max_length)
    length = max_reply_tokens(writer, rows)
    prompts = []
    for reply in dict.fromkeys(row.ideal_reply for row in rows):
        with suppress(NoPrompt):
            prompts.append(Prompt(reply, tuple(writer.request(REQUEST.format(reply=reply), max_new_tokens=length)), 0))
    found = generate(base.model, base, prompts, end_id=writer.end_id, max_new_tokens=length, label="restate replies")
    return {reply: said.text for reply, said in found.written.items() if said.text and said.ended}


def facts_kept(restated: Restated) -> float:
    """The share of the replies' facts that their plain words keep."""
    known = {reply: facts(reply) for reply in restated}
    return sum(len(known[reply] & facts(said)) for reply, said in restated.items()) / max(1, sum(map(len, known.values())))


def restating_adapter(
    classifier: IntentClassifier, base: BaseModel, config: TrainingConfig, restated: Restated, *, seed: int, label: str
) -> AbstractContextManager[Module]:
    """The base with an adapter that was trained on restated exemplars, for as long as its block lasts."""
    epochs = (training_examples(classifier, base, config, restated),) * config.epochs
    return adapter_trained_on(epochs, base, config, seed=seed, label=label)


def training_examples(
    classifier: IntentClassifier, base: BaseModel, config: TrainingConfig, restated: Restated
) -> tuple[Example, ...]:
    """One of each representative row whose reply was restated: that, then the others that retrieval would show it."""
    train_set, writer = classifier.train_set, prompt_writer(base.tokenizer, base.max_length)
    rows = representative_rows(train_set, at_most=config.rows or len(train_set.rows))
    log_p = out_of_fold_log_probabilities(classifier)[rows]
    examples = []
    for i, retrieval in zip(rows, retrieve_train_rows(classifier, rows, log_p), strict=True):
        row = train_set.rows[i]
        if row.ideal_reply not in restated:
            continue
        shown = _in_plain_words([row, *retrieval.exemplars][: config.exemplars], restated)
        with suppress(NoPrompt):
            examples.append(writer.example(row, shown))
    return tuple(examples)


def restating_replies(
    found: Sequence[Retrieval],
    model: Module,
    base: BaseModel,
    rows: Sequence[LabelledTicket],
    restated: Restated,
    *,
    exemplars: int,
) -> list[Reply]:
    """The reply to each ticket, written from restated exemplars and checked against the stored replies."""
    writer = prompt_writer(base.tokenizer, base.max_length)
    length = max_reply_tokens(writer, rows)
    prompts = {}
    for one in found:
        in_plain_words = replace(one, exemplars=tuple(_in_plain_words(one.exemplars, restated)))
        if prompt := reply_prompt(in_plain_words, writer, length, exemplars):
            prompts[one.ticket.id] = prompt
    written = generate(model, base, list(prompts.values()), end_id=writer.end_id, max_new_tokens=length).written
    return [checked_reply(one, prompts, written) for one in found]


def _in_plain_words(rows: Sequence[LabelledTicket], restated: Restated) -> list[LabelledTicket]:
    return [replace(row, ideal_reply=restated.get(row.ideal_reply, row.ideal_reply)) for row in rows]
