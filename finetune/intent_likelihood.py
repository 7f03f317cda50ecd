"""What the language model thinks of a ticket's intent: the likelihood of each candidate's name as the answer.

The classifier's likeliest intents are the candidates. The prompt shows a row of each and ends with `intent:`; it goes
through the
model once, and the names follow as a batch upon its cached keys and values. What is returned is the sum of the
log-probabilities of a name's tokens, its line's end included.

What it does not know: whether the scorer is exemplar_score anything here (`gates.lm_scores_gate`), or how it is mixed in
(`retrieval.lm_scores`).
"""

import copy
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch

from finetune.distributed import SINGLE_PROCESS, Processes
from finetune.prompt import NoPrompt, Prompt, PromptWriter
from retrieval.console import bar
from retrieval.encoder import Vectors
from retrieval.exemplars import intent_exemplars
from retrieval.index import ranked
from retrieval.intent_classifier import IntentClassifier, IntentScores, score_in_chunks
from retrieval.lm_scores import LmScores
from retrieval.tickets import LabelledTicket, Ticket
from retrieval.train_set import TrainSet

CANDIDATES = 5


@dataclass(frozen=True, slots=True)
class IntentQuestion:
    """A ticket, its candidate intents (likeliest first), and rows that show them."""

    row_id: str
    ticket: str
    candidates: tuple[str, ...]
    exemplars: tuple[LabelledTicket, ...]


def intent_question(
    train_set: TrainSet, intent_scores: IntentScores, number: int, row_id: str, ticket: str, *, own: int | None = None
) -> IntentQuestion:
    """Asks for the intent of ticket `number` of the intent_scores; `own` is its row in the train_set, which must not show
    itself."""
    candidates = ranked(intent_scores.log_probabilities[number], CANDIDATES)
    chosen = intent_exemplars(train_set, intent_scores, number, candidates, own=own)
    return IntentQuestion(
        row_id, ticket, tuple(train_set.intents[c] for c in candidates), tuple(train_set.rows[i] for i in chosen)
    )


def lm_scores_on(
    classifier: IntentClassifier,
    tickets: Sequence[Ticket],
    vectors: Vectors,
    model: torch.nn.Module,
    writer: PromptWriter,
    *,
    weight: float,
    deadline: float,
    processes: Processes = SINGLE_PROCESS,
) -> tuple[LmScores, bool]:
    """The model's word on m new tickets, (m, d) their vectors; and whether all were asked before the deadline."""
    questions: list[IntentQuestion] = []
    for intent_scores in score_in_chunks(classifier, vectors, [ticket.text for ticket in tickets]):
        batch = tickets[len(questions) : len(questions) + len(intent_scores.winners)]
        questions += [
            intent_question(classifier.train_set, intent_scores, i, ticket.id, ticket.text) for i, ticket in enumerate(batch)
        ]
    found, complete = ask_intents(questions, model, writer, deadline=deadline, processes=processes)
    return LmScores(weight, found), complete


def ask_intents(
    questions: Sequence[IntentQuestion],
    model: torch.nn.Module,
    writer: PromptWriter,
    *,
    deadline: float = math.inf,
    label: str = "ask for intents",
    processes: Processes = SINGLE_PROCESS,
) -> tuple[dict[str, Mapping[str, float]], bool]:
    """The model's word on each question, by row id, and whether all that can be asked were, before the deadline.

    Args:
        questions: ids unique.
        model: the base, or the base with its adapter.
        writer: of the base.
        deadline: `time.monotonic()` after which no further one is asked.
        label: for the progress bar.
        processes: the processes that share the questions.
    """
    found: dict[str, Mapping[str, float]] = {}
    timed_out = False
    for question in bar(processes.share(questions), label):
        if timed_out := time.monotonic() > deadline:
            break
        with suppress(NoPrompt):  # too long for the max_length: the classifier's word stands
            found[question.row_id] = _lm_scores(question, model, writer)
    return processes.merged(found), not processes.agrees(timed_out)


def _lm_scores(question: IntentQuestion, model: torch.nn.Module, writer: PromptWriter) -> dict[str, float]:
    names = [writer.name(intent) for intent in question.candidates]
    prompt = writer.intent_prompt(question.row_id, question.ticket, question.exemplars, max_new_tokens=max(map(len, names)))
    return dict(zip(question.candidates, likelihoods(model, prompt, names), strict=True))


def likelihoods(model: torch.nn.Module, prompt: Prompt, completions: Sequence[Sequence[int]]) -> list[float]:
    """The log-likelihood of each completion after the prompt, nats; the prompt is computed once."""
    device = next(model.parameters()).device
    length, width, count = len(prompt.ids), max(map(len, completions)), len(completions)
    with torch.inference_mode():
        ids = torch.tensor([prompt.ids], device=device)  # (1, length)
        first = model(input_ids=ids, use_cache=True, logits_to_keep=1)
        cache = copy.deepcopy(first.past_key_values)
        cache.batch_repeat_interleave(count)
        padded = torch.tensor([[*c, *[0] * (width - len(c))] for c in completions], device=device)  # (count, width)
        after = model(
            input_ids=padded,
            attention_mask=torch.ones(count, length + width, dtype=torch.long, device=device),
            position_ids=torch.arange(length, length + width, device=device).expand(count, -1),
            past_key_values=cache,
            use_cache=True,
        ).logits  # (count, width, v): padding stands behind, where no real token can see it
        logits = torch.cat([first.logits.expand(count, -1, -1), after[:, :-1]], dim=1).float().log_softmax(-1)
        each = logits.gather(2, padded[:, :, None])[:, :, 0].cpu().double().numpy()  # (count, width)
    return [float(np.sum(row[: len(c)])) for row, c in zip(each, completions, strict=True)]
