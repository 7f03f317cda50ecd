"""Tries a remote model on train rows before it may see a new ticket: each row is hidden from itself, as for all evidence.

The model has learned from no row, so nothing has to be trained without one; the classifier that it is compared with has not
seen the row either. Replies are tried on one half of the rows first: where those will not do, or clearly do, the other is not
paid for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from finetune.gates import MIN_REPLIES
from finetune.remote.client import RemoteClient
from finetune.remote.gates import (
    MIN_SCORED,
    first_half_stop,
    remote_intents_gate,
    remote_intents_untested,
    remote_replies_untested,
    remote_reply_gate,
)
from finetune.remote.intent_scores import NEAR_ROWS, SURE, RemoteScorer
from finetune.remote.prices import Price, Usage
from finetune.remote.questions import BYTES_PER_TOKEN, Question, intent_question, max_reply_tokens, reply_question
from finetune.remote.replies import write_remote_replies
from finetune.reply_quality import gains_over_copies
from retrieval.compose import with_composed_replies
from retrieval.cross_validation import folds, out_of_fold_log_probabilities, refit
from retrieval.encoder import Encoder
from retrieval.gate import Gate
from retrieval.intent_classifier import Floats, IntentClassifier
from retrieval.lm_fusion import fuse, lm_score_matrix
from retrieval.prediction import Reply
from retrieval.retrieve import IntentQuestion, Retrieval, retrieve_train_rows, train_row_questions
from retrieval.tickets import Ticket
from retrieval.train_set import Rows, representative_rows, rows_with_siblings

MAX_LEARNED = 400  # rows that the classifiers of the trial are fitted on, many times over
MAX_TRIED = 40  # of them that the model is asked about: enough to see a gain, and each costs money


@dataclass(frozen=True, slots=True)
class Trial:
    """What a model is tried on."""

    classifier: IntentClassifier  # fitted on n rows
    log_p: Floats  # (n, c) of these rows, out-of-fold
    rows: Rows  # (m,) those that the model is asked about
    questions: tuple[IntentQuestion, ...]  # about their intents
    seed: int

    def retrievals(self, log_p: Floats, rows: Rows) -> tuple[Retrieval, ...]:
        """Rows as if they were new tickets, given the (n, c) log-probabilities of all."""
        return retrieve_train_rows(self.classifier, rows, log_p[rows])


def trial_on(classifier: IntentClassifier, *, seed: int) -> Trial:
    """The rows that a model is tried on: representative ones whose intent has another row."""
    every = classifier.train_set
    learned = representative_rows(every, at_most=MAX_LEARNED)
    fitted = classifier if len(learned) == len(every.rows) else refit(classifier, every.subset(learned))
    train_set = fitted.train_set
    fit = rows_with_siblings(train_set, np.arange(len(train_set.rows)))
    rows = fit[representative_rows(train_set.subset(fit), at_most=MAX_TRIED)]
    log_p = out_of_fold_log_probabilities(fitted)
    questions = train_row_questions(fitted, rows, log_p[rows], candidates=NEAR_ROWS, below=SURE)
    return Trial(fitted, log_p, rows, questions, seed)


def planned_usd(trial: Trial, price: Price, tickets: Sequence[Ticket]) -> float:
    """About what the trial costs together with asking about intent and reply of every ticket."""
    train_set, texts = trial.classifier.train_set, trial.classifier.train_set.descriptions
    intents = [intent_question(question, train_set.intents, texts) for question in trial.questions]
    tokens = max_reply_tokens(train_set.rows)
    replies = [
        reply_question(found, max_tokens=tokens, descriptions=texts) for found in trial.retrievals(trial.log_p, trial.rows)
    ]
    tried = [_usd(price, part) for part in (intents, replies)]
    each = sum(fmean(part) for part in tried if part)
    own = Usage(2 * sum(len(ticket.text.encode()) for ticket in tickets) // BYTES_PER_TOKEN)
    return sum(map(sum, tried)) + len(tickets) * each + price.usd(own)


def try_intents(trial: Trial, client: RemoteClient, *, deadline: float) -> tuple[Gate, Floats]:
    """The gate of the intent scores, and the (n, c) log-probabilities of all rows as answering will have them."""
    if len(trial.questions) < MIN_SCORED:
        few = f"{len(trial.questions)} train rows are unsure between intents, {MIN_SCORED} needed"
        return remote_intents_untested(few), trial.log_p
    train_set = trial.classifier.train_set
    scorer = RemoteScorer(client, train_set.intents, deadline, "remote intent scores of the train rows", train_set.descriptions)
    found = scorer.score(trial.questions)
    if client.given_up:
        return remote_intents_untested(client.given_up), trial.log_p
    scores = lm_score_matrix(found, [row.id for row in train_set.rows], train_set.intents)
    gate = remote_intents_gate(trial.log_p, scores, train_set.labels, seed=trial.seed)
    return gate, fuse(trial.log_p, scores, scorer.weight) if gate.passed else trial.log_p


def try_replies(trial: Trial, client: RemoteClient, encoder: Encoder, log_p: Floats, *, deadline: float) -> Gate:
    """The gate of the replies; `log_p` (n, c) chooses the exemplars."""
    if client.given_up:
        return remote_replies_untested(client.given_up)
    if len(trial.rows) < MIN_REPLIES:
        return remote_replies_untested(f"{len(trial.rows)} rows have another row of their intent, {MIN_REPLIES} needed")
    train_set, gains, stopped = trial.classifier.train_set, list[float](), ""
    half = folds(train_set, count=2)[trial.rows]
    for fold in (0, 1):
        found = trial.retrievals(log_p, trial.rows[half == fold])
        found = with_composed_replies(found, train_set.ticket_vectors[trial.rows[half == fold]], encoder)
        tokens = max_reply_tokens(train_set.rows)
        written = write_remote_replies(
            client,
            found,
            max_tokens=tokens,
            label="remote replies to the train rows",
            deadline=deadline,
            descriptions=train_set.descriptions,
        )
        gains += gains_over_copies(_passed(found, written), written, train_set, encoder).values()
        if client.given_up:
            return remote_replies_untested(client.given_up, gains)
        if fold == 0 and (stopped := first_half_stop(gains, len(written), seed=trial.seed)):
            break
    return remote_reply_gate(gains, stopped=stopped, seed=trial.seed)


def _passed(found: Sequence[Retrieval], written: dict[str, Reply]) -> list[Retrieval]:
    """The rows whose reply passed the check; a replaced one is a copy, which says nothing about the model."""
    return [one for one in found if one.ticket.id in written and written[one.ticket.id].source == "remote"]


def _usd(price: Price, questions: Sequence[Question]) -> list[float]:
    return [price.usd(question.expected()) for question in questions]
