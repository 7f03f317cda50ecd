"""A base scores the tickets of a draw, given one thing or another of each row; the scores are kept in a folder."""

import argparse
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from evaluation.benchmarks.noisy_channel.scored import Scored, ScoredDraw
from evaluation.benchmarks.public_sets import Draw
from finetune.base_model import BaseModel
from finetune.lora import temporary_adapter
from finetune.memory import OutOfMemory
from finetune.noisy_channel import NoisyChannel, Pair, Request
from finetune.prompt import prompt_writer
from finetune.training import train
from finetune.training_data import config_for
from retrieval.console import say
from retrieval.cross_validation import out_of_fold_log_probabilities
from retrieval.encoder import Vectors, humanised
from retrieval.exemplars import NearRows, candidate_rows, exemplar_scores, near_rows
from retrieval.intent_classifier import Floats, IntentClassifier, fit_classifier
from retrieval.label_names import label_names_gate
from retrieval.prompt_text import named_ticket_request, ticket_request
from retrieval.tickets import InputProblems, LabelledTicket
from retrieval.train_set import Rows, TrainSet

ANOTHER = "Write another customer's ticket about the same thing."
GIVEN: Mapping[str, Request] = {  # what the base is given
    "reply": ticket_request,  # of a row without a reply, its ticket
    "reply, terse": lambda row: (
        f"Reply: {row.ideal_reply}\n\nWhat did the customer ask? Answer with the customer's words alone."
    ),
    "reply, role": lambda row: (
        f"You are a customer. After you wrote to the support, you got this reply:\n{row.ideal_reply}\n\nWhat had you written?"
    ),
    "ticket": lambda row: ticket_request(replace(row, ideal_reply="")),
    "both": lambda row: (
        f"A customer wrote this ticket:\n{row.text}\n\nA support agent sent this reply:\n{row.ideal_reply}\n\n{ANOTHER}"
    ),
    "name": named_ticket_request,
    "name, terse": lambda row: (
        f"Topic: {humanised(row.intent)}\n\nWrite what a customer would ask about it, in the customer's words."
    ),
    "name, role": lambda row: (
        f"You are a customer and write to the support about this: {humanised(row.intent)}. What do you write?"
    ),
    "name, reply": lambda row: f"A customer wrote about this: {humanised(row.intent)}. {ticket_request(row)}",
    "tuned": ticket_request,
    "name, tuned": named_ticket_request,
}
TUNED = ("tuned", "name, tuned")
TUNED_EPOCHS = 2
TRAINED = dict.fromkeys(TUNED, f"{TUNED_EPOCHS} epochs at the rate of a run")  # kept scores are of another training otherwise
SCORED_BELOW = 0.95  # tickets with a higher confidence of the classifier are not scored: they are right anyway


def score_draw(drawn: Draw, base: BaseModel | None, given: Sequence[str], options: argparse.Namespace, key: str) -> ScoredDraw:
    """Scores a draw, or reads the scores where they are kept; without a base they must be."""
    train_set = drawn.train_set
    classifier = fit_classifier(train_set, with_names=label_names_gate(train_set, seed=0).passed)

    def scored(
        tickets: Sequence[LabelledTicket],
        vectors: Vectors,
        expected: Rows,
        log_p: Floats,
        near: list[NearRows],
        *,
        name: str,
    ) -> Scored:
        """These tickets with all scores that are wanted."""
        rows = _candidates(classifier, log_p, near, options.candidates)
        scores = {}
        for what in given:
            make = partial(_scores, train_set, tickets, rows, base, what)
            asked = "\n".join(GIVEN[what](row) for row in train_set.rows) + str(rows.tolist())
            scores[what] = _kept(options.cache, f"{name} {what}", asked + TRAINED.get(what, ""), make)
        return Scored(classifier, tuple(tickets), vectors, expected, log_p, near, rows, scores)

    log_p = classifier.score(drawn.vectors, [row.text for row in drawn.tests]).log_probabilities
    tests = scored(drawn.tests, drawn.vectors, drawn.expected, log_p, near_rows(classifier, drawn.vectors, log_p), name=key)
    if not options.own_rows:
        return ScoredDraw(tests, None)
    log_p = out_of_fold_log_probabilities(classifier)
    near = near_rows(classifier, train_set.ticket_vectors, log_p, hidden=range(len(train_set.rows)))
    own = scored(train_set.rows, train_set.ticket_vectors, train_set.labels, log_p, near, name=f"{key} own rows")
    return ScoredDraw(tests, own)


def _candidates(classifier: IntentClassifier, log_p: Floats, near: Sequence[NearRows], count: int) -> Rows:
    """(m, count) the rows that are scored, -1 where there are none."""
    labels = classifier.train_set.labels
    rows = np.full((len(near), count), -1, dtype=np.int64)
    for i in map(int, np.flatnonzero(np.exp(log_p.max(axis=1)) < SCORED_BELOW)):
        chosen = candidate_rows(classifier.train_set, near[i], exemplar_scores(near[i], log_p[i], labels), count=count)
        rows[i, : len(chosen)] = chosen
    return rows


def _kept(folder: Path, key: str, asked: str, make: Callable[[], Floats]) -> Floats:
    """The scores that are kept under a key and for what was asked, or those that are made now."""
    digest = hashlib.sha256("\n".join((key, asked)).encode()).hexdigest()
    file = folder / f"channel-{digest[:20]}.npy"
    if file.is_file():
        return np.asarray(np.load(file, allow_pickle=False))
    began = time.monotonic()
    found = make()
    say(f"{key}: scored in {time.monotonic() - began:.0f} s")
    np.save(file, found)
    return found


def _scores(train_set: TrainSet, tickets: Sequence[LabelledTicket], rows: Rows, base: BaseModel | None, given: str) -> Floats:
    """(m, k) scores of the candidate rows; NaN where there is none."""
    if base is None:
        raise InputProblems([f"--cache: found no scores of {given} for a draw, expected all, as --base-model is none"])
    stored, request_of = train_set.rows, GIVEN[given]
    asked = {(i, k): (request_of(stored[rows[i, k]]), tickets[i].text) for i, k in np.argwhere(rows >= 0).tolist()}
    likelihoods = _likelihoods(base, stored, asked.values(), given)
    found = np.full(rows.shape, np.nan)
    for place, pair in asked.items():
        found[place] = likelihoods.get(pair, np.nan)  # a prompt may be too long
    return found


def _likelihoods(base: BaseModel, stored: Sequence[LabelledTicket], pairs: Iterable[Pair], given: str) -> Mapping[Pair, float]:
    writer = prompt_writer(base.tokenizer, base.max_length)
    if given not in TUNED:
        return _complete(NoisyChannel(base.model, writer, 1.0, ()), pairs)
    with temporary_adapter(base, seed=0) as model:
        examples = [writer.answer(row.id, GIVEN[given](row), row.text) for row in stored]
        learning_rate = config_for(base).learning_rate
        train(model, [examples] * TUNED_EPOCHS, learning_rate=learning_rate, seed=0, label="train on tickets")
        # No PeftModel, so the adapter stays on.
        return _complete(NoisyChannel(model.base_model, writer, 1.0, ()), pairs)


def _complete(channel: NoisyChannel, pairs: Iterable[Pair]) -> Mapping[Pair, float]:
    found = channel.likelihoods(pairs)
    if channel.limits:
        raise OutOfMemory(channel.limits[0])
    return found
