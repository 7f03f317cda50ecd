"""What the language model thinks of a ticket's intent: the likelihood of each candidate's name as the answer.

The pool's likeliest intents are the candidates. The prompt shows a row of each and ends with `intent:`; it goes through the
model once, and the names follow as a batch upon its cached keys and values. What is returned is the sum of the
log-probabilities of a name's tokens, its line's end included.

What it does not know: whether the view is worth anything here (`gates.view_gate`), or how it is mixed in (`retrieval.opinion`).
"""

import copy
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch

from finetune.prompt import NoPrompt, Prompt, PromptWriter
from finetune.team import ALONE, Team
from retrieval.desk import Desk
from retrieval.encoder import Vectors
from retrieval.exemplars import intent_exemplars
from retrieval.index import ranked
from retrieval.opinion import Opinions
from retrieval.progress import bar
from retrieval.tickets import LabelledTicket, Ticket
from retrieval.voting import IntentPool, Votes, vote_in_chunks

CANDIDATES = 5


@dataclass(frozen=True, slots=True)
class IntentQuestion:
    """A ticket, its candidate intents (likeliest first), and rows that show them."""

    row_id: str
    ticket: str
    candidates: tuple[str, ...]
    exemplars: tuple[LabelledTicket, ...]


def intent_question(
    desk: Desk, votes: Votes, number: int, row_id: str, ticket: str, *, own: int | None = None
) -> IntentQuestion:
    """Asks for the intent of ticket `number` of the votes; `own` is its row in the desk, which must not show itself."""
    candidates = ranked(votes.log_probabilities[number], CANDIDATES)
    chosen = intent_exemplars(desk, votes, number, candidates, own=own)
    return IntentQuestion(row_id, ticket, tuple(desk.intents[c] for c in candidates), tuple(desk.rows[i] for i in chosen))


def opinions_on(
    pool: IntentPool,
    tickets: Sequence[Ticket],
    vectors: Vectors,
    model: torch.nn.Module,
    writer: PromptWriter,
    *,
    weight: float,
    deadline: float,
    team: Team = ALONE,
) -> tuple[Opinions, bool]:
    """The model's word on m new tickets, (m, d) their vectors; and whether all were asked before the deadline."""
    questions: list[IntentQuestion] = []
    for votes in vote_in_chunks(pool, vectors, [ticket.text for ticket in tickets]):
        batch = tickets[len(questions) : len(questions) + len(votes.winners)]
        questions += [intent_question(pool.desk, votes, i, ticket.id, ticket.text) for i, ticket in enumerate(batch)]
    found, complete = ask_intents(questions, model, writer, deadline=deadline, team=team)
    return Opinions(weight, found), complete


def ask_intents(
    questions: Sequence[IntentQuestion],
    model: torch.nn.Module,
    writer: PromptWriter,
    *,
    deadline: float = math.inf,
    label: str = "ask for intents",
    team: Team = ALONE,
) -> tuple[dict[str, Mapping[str, float]], bool]:
    """The model's word on each question, by row id, and whether all that can be asked were, before the deadline.

    Args:
        questions: ids unique.
        model: the base, or the base with its adapter.
        writer: of the base.
        deadline: `time.monotonic()` after which no further one is asked.
        label: for the progress bar.
        team: the processes that share the questions.
    """
    found: dict[str, Mapping[str, float]] = {}
    late = False
    for question in bar(team.share(questions), label):
        if late := time.monotonic() > deadline:
            break
        with suppress(NoPrompt):  # too long for the window: the pool's word stands
            found[question.row_id] = _opinion(question, model, writer)
    return team.merged(found), not team.agrees(late)


def _opinion(question: IntentQuestion, model: torch.nn.Module, writer: PromptWriter) -> dict[str, float]:
    names = [writer.name(intent) for intent in question.candidates]
    prompt = writer.intent_prompt(question.row_id, question.ticket, question.exemplars, room=max(map(len, names)))
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
