"""LM intent scores by the noisy channel: how likely is this ticket, given the reply that it would get?

The bare base is shown a stored reply and asked for the customer's ticket; the score of the row is the log-likelihood of the
ticket that came, and an intent has the score of its best row (Min et al. 2022, arXiv 2108.04106). The base has seen no row, so
its scores need no folds. A row's prompt goes through the model once; the tickets follow in batches upon its keys and values.
"""

import copy
import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from finetune.base_model import BaseModel
from finetune.distributed import SINGLE_PROCESS, Processes
from finetune.gates import LmWeight
from finetune.lora import without_adapter
from finetune.memory import OutOfMemory, batches_by_length, memory_guard
from finetune.prompt import NoPrompt, PromptWriter
from retrieval.console import bar
from retrieval.known_models import QWEN_CODER, SMOLLM
from retrieval.prompt_text import ticket_request
from retrieval.retrieve import IntentQuestion
from retrieval.tickets import LabelledTicket

MAX_TICKET_TOKENS = 120  # of a ticket are scored, from its beginning
BLOCK = 64  # tickets at a time: what a deadline cuts off is lost, the rows' prompts are computed for each block
BATCH_TOKENS = 256  # of tickets that go through the model together: the logits of 150,000 words take 150 MB
BATCH_TOKENS_GPU = 4096

NEAR_ROWS = 6  # rows near a ticket that are scored, on every device: the weights were measured with so many
UNSURE = 0.7  # confidence of the classifier; the scores of surer tickets cost cross-entropy on the set with replies
# By SHA-256 of the weights: the weights that were fixed on public sets (EXPERIMENTS.md). Other bases take that of their size.
MEASURED_WEIGHTS = {f"sha256:{SMOLLM.sha256}": 0.0, f"sha256:{QWEN_CODER.sha256}": 0.3}

Request = Callable[[LabelledTicket], str]  # a stored row -> what the base is asked


def lm_weight(base: BaseModel) -> LmWeight:
    """The weight of a base's scores, fixed on public sets; a base that nobody measured takes that of the one of its size."""
    if base.digest in MEASURED_WEIGHTS:
        return LmWeight(MEASURED_WEIGHTS[base.digest], "was measured with this base")
    like = QWEN_CODER if base.large else SMOLLM
    return LmWeight(MEASURED_WEIGHTS[f"sha256:{like.sha256}"], f"is that of {like.name}, not measured with this base")


def bare_scorer(
    model: torch.nn.Module,
    writer: PromptWriter,
    weight: float,
    *,
    deadline: float,
    label: str = "LM intent scores",
    processes: Processes,
) -> "NoisyChannel":
    """The scorer of a run, for tickets of which the classifier is unsure."""
    return NoisyChannel(model, writer, weight, NEAR_ROWS, UNSURE, deadline=deadline, label=label, processes=processes)


@dataclass(slots=True)
class NoisyChannel:
    """Scores rows near a ticket with a bare base; an `LmScorer` of `retrieval.retrieve`."""

    model: torch.nn.Module  # the base; an adapter on it is switched off while scoring
    writer: PromptWriter  # of its prompts
    weight: float  # of the scores beside the classifier's log-probabilities
    candidates: int = NEAR_ROWS  # rows near a ticket that are scored
    below: float = UNSURE  # tickets to which the classifier gives a lower confidence are scored
    deadline: float = math.inf  # `time.monotonic()` after which nothing further is scored
    label: str = "LM intent scores"  # for the progress bar
    processes: Processes = SINGLE_PROCESS  # that share the stored replies
    request: Request = ticket_request  # what the base is asked
    timed_out: bool = False  # whether the deadline left tickets out
    without_memory: int = 0  # tickets that did not fit into memory and were left out

    def score(self, questions: Sequence[IntentQuestion]) -> dict[str, Mapping[str, float]]:
        """By ticket id the scores of its rows' intents, nats; a ticket that cannot be scored with all its rows is left out."""
        found: dict[str, Mapping[str, float]] = {}
        # Each process has embedded by itself, and a last digit decides whether a ticket is unsure: all take the first's.
        questions = self.processes.gather(questions)[0]
        for start in range(0, len(questions), BLOCK):
            block = questions[start : start + BLOCK]
            if self._expired():
                break
            likelihoods = self.row_scores(block)
            found |= {
                question.ticket.id: _best_rows(question, likelihoods)
                for question in block
                if all(math.isfinite(likelihoods.get(pair_key(question, row), math.nan)) for row in question.rows)
            }
        return found

    def row_scores(self, questions: Sequence[IntentQuestion]) -> dict[str, float]:
        """The log-likelihood of each ticket given each of its rows, by `pair_key`; missing where it could not be computed."""
        found, short = dict[str, float](), set[str]()
        with without_adapter(self.model):
            for request, asked in bar(self.processes.share(self._by_request(questions)), self.label):
                if time.monotonic() > self.deadline:
                    self.timed_out = True
                    break
                try:
                    found |= self._scores(request, asked)
                except OutOfMemory:
                    short |= {question.ticket.id for question, _ in asked}
        self.timed_out = self.processes.any(self.timed_out)
        self.without_memory += len(set().union(*self.processes.gather(short)))
        return self.processes.merge(found)

    @property
    def limits(self) -> tuple[str, ...]:
        """What cut the scoring short in a way that a second run may not repeat, a sentence each."""
        timed_out = (
            ("the time budget ended the LM intent scores: the other tickets have retrieval's",) if self.timed_out else ()
        )
        short = f"memory ran out for the LM intent scores of {self.without_memory} tickets: they have retrieval's"
        return (*timed_out, *([short] if self.without_memory else []))

    def _expired(self) -> bool:
        self.timed_out |= self.processes.any(time.monotonic() > self.deadline)
        return self.timed_out

    def _by_request(self, questions: Sequence[IntentQuestion]) -> list[tuple[str, list[tuple[IntentQuestion, LabelledTicket]]]]:
        """Every request that is needed, in the order of first need, and the tickets and rows that need it."""
        found: dict[str, list[tuple[IntentQuestion, LabelledTicket]]] = defaultdict(list)
        for question in questions:
            for row in question.rows:
                found[self.request(row)].append((question, row))
        return list(found.items())

    def _scores(self, request: str, asked: Sequence[tuple[IntentQuestion, LabelledTicket]]) -> dict[str, float]:
        texts = list(dict.fromkeys(question.ticket.text for question, _ in asked))
        try:
            prompt = self.writer.request(request, max_new_tokens=MAX_TICKET_TOKENS)
        except NoPrompt:
            return {}
        tickets = [self.writer.continuation(text)[:MAX_TICKET_TOKENS] for text in texts]
        of_text = dict(zip(texts, log_likelihoods(self.model, prompt, tickets), strict=True))
        return {pair_key(question, row): of_text[question.ticket.text] for question, row in asked}


def pair_key(question: IntentQuestion, row: LabelledTicket) -> str:
    """The name of a ticket and a row that it is scored with."""
    return f"{question.ticket.id}\n{row.id}"


def _best_rows(question: IntentQuestion, likelihoods: Mapping[str, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for row in question.rows:
        score = likelihoods[pair_key(question, row)]
        found[row.intent] = max(found.get(row.intent, -math.inf), score)
    return found


def log_likelihoods(model: torch.nn.Module, prompt: Sequence[int], completions: Sequence[Sequence[int]]) -> list[float]:
    """The log-likelihood of each completion after the prompt, nats, summed over its tokens; the prompt is computed once.

    Raises:
        OutOfMemory: it does not fit.
    """
    device = next(model.parameters()).device
    found, most = [0.0] * len(completions), BATCH_TOKENS_GPU if device.type == "cuda" else BATCH_TOKENS
    with torch.inference_mode(), memory_guard("scoring tickets"):
        ids = torch.tensor([list(prompt)], device=device)  # (1, length)
        first = model(input_ids=ids, use_cache=True, logits_to_keep=1)
        beginning = first.logits[0, -1].float().log_softmax(-1)  # (v,)
        for batch in batches_by_length([*map(len, completions)], most):
            scores = _scores_after(model, first.past_key_values, beginning, [completions[i] for i in batch])
            for i, score in zip(batch, scores, strict=True):
                found[i] = score
    return found


def _scores_after(
    model: torch.nn.Module, prompt_cache: Any, beginning: torch.Tensor, batch: Sequence[Sequence[int]]
) -> list[float]:
    device, count, width = beginning.device, len(batch), max(map(len, batch))
    if not width:  # tickets of no token at all
        return [0.0] * count
    cache = copy.deepcopy(prompt_cache)
    length = cache.get_seq_length()
    cache.batch_repeat_interleave(count)
    ids = torch.tensor([[*tokens, *[0] * (width - len(tokens))] for tokens in batch], device=device)  # (count, width)
    real = torch.tensor([[1.0] * len(tokens) + [0.0] * (width - len(tokens)) for tokens in batch], device=device)
    logits = model(
        input_ids=ids,
        attention_mask=torch.ones(count, length + width, dtype=torch.long, device=device),
        position_ids=torch.arange(length, length + width, device=device).expand(count, -1),
        past_key_values=cache,
        use_cache=True,
    ).logits[:, :-1]  # (count, width - 1, v): padding stands behind, where no real token can see it
    after = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    each = torch.cat([beginning[ids[:, 0]][:, None], -after.view(count, width - 1)], dim=1)  # (count, width)
    return [float(score) for score in (each * real).double().sum(dim=1).cpu()]
