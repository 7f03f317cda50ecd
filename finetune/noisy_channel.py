"""LM intent scores by the noisy channel: how likely is this ticket, given its intent's name, or the reply that it would get?

The bare base is asked for a customer's ticket about what an intent is named after, or for the ticket that a stored reply
answers; the score is the log-likelihood of the ticket that came (Min et al. 2022, arXiv 2108.04106). An intent has the score of
its best row, and the sum where the base is given both. Names that mean nothing (`retrieval.label_names`) are not given. The
base has seen no row, so its scores need no folds. A prompt goes through the model once; the tickets follow in batches upon its
keys and values.
"""

import copy
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from finetune.base_model import BaseModel
from finetune.distributed import SINGLE_PROCESS, Processes
from finetune.gates import LmWeight
from finetune.lora import without_adapter
from finetune.memory import OutOfMemory, batches_by_length, memory_guard
from finetune.prompt import NoPrompt, PromptWriter
from retrieval.console import bar
from retrieval.known_models import QWEN_CODER, SMOLLM
from retrieval.prompt_text import named_ticket_request, ticket_request
from retrieval.retrieve import IntentQuestion
from retrieval.tickets import LabelledTicket

MAX_TICKET_TOKENS = 120  # of a ticket are scored, from its beginning
BLOCK = 64  # tickets at a time: what a deadline cuts off is lost, the rows' prompts are computed for each block
BATCH_TOKENS = 256  # of tickets that go through the model together: the logits of 150,000 words take 150 MB
BATCH_TOKENS_GPU = 4096

NEAR_ROWS = 6  # rows near a ticket that are scored, on every device: the weights were measured with so many

Given = Literal["name", "reply"]  # what the base is given of a row
Request = Callable[[LabelledTicket], str]  # a stored row -> what the base is asked
Pair = tuple[str, str]  # what the base is asked, and the ticket that may follow

REQUESTS: Mapping[Given, Request] = {"name": named_ticket_request, "reply": ticket_request}
# The classifier's confidence from which on a ticket is not scored: given replies, the scores of surer ones cost cross-entropy.
UNSURE: Mapping[Given, float] = {"name": 0.9, "reply": 0.7}
# By SHA-256 of the weights, and whether the names mean something: what was fixed on public sets (EXPERIMENTS.md, section 6).
MEASURED: Mapping[tuple[str, bool], tuple[tuple[Given, ...], float]] = {
    (SMOLLM.sha256, True): (("name",), 0.4),
    (SMOLLM.sha256, False): (("reply",), 0.0),
    (QWEN_CODER.sha256, True): (("name", "reply"), 0.3),
    (QWEN_CODER.sha256, False): (("reply",), 0.3),
}


@dataclass(frozen=True, slots=True)
class Scoring:
    """How tickets are scored."""

    given: tuple[Given, ...]  # what the base is given; the scores are added up
    weight: LmWeight  # of the sum; 0 if nothing is worth scoring


def scoring_for(base: BaseModel, *, with_names: bool) -> Scoring:
    """How a base's scores were worth most on public sets; a base that nobody measured is taken as the one of its size.

    Args:
        base: that scores.
        with_names: whether the intents' names mean something.
    """
    digest = base.digest.removeprefix("sha256:")
    if (digest, with_names) in MEASURED:
        given, weight = MEASURED[digest, with_names]
        return Scoring(given, LmWeight(weight, "was measured with this base"))
    like = QWEN_CODER if base.large else SMOLLM
    given, weight = MEASURED[like.sha256, with_names]
    return Scoring(given, LmWeight(weight, f"is that of {like.name}, not measured with this base"))


@dataclass(slots=True)
class NoisyChannel:
    """Scores rows near a ticket with a bare base; an `LmScorer` of `retrieval.retrieve`."""

    model: torch.nn.Module  # the base; an adapter on it is switched off while scoring
    writer: PromptWriter  # of its prompts
    weight: float  # of the scores beside the classifier's log-probabilities
    given: tuple[Given, ...]  # what the base is given
    deadline: float = math.inf  # `time.monotonic()` after which nothing further is scored
    label: str = "LM intent scores"  # for the progress bar
    processes: Processes = SINGLE_PROCESS  # that share the stored replies
    timed_out: bool = False  # whether the deadline left tickets out
    without_memory: int = 0  # different tickets that did not fit into memory and were left out

    @property
    def candidates(self) -> int:
        """How many rows near a ticket are scored."""
        return NEAR_ROWS

    @property
    def below(self) -> float:
        """Tickets to which the classifier gives a lower confidence are scored."""
        return max(UNSURE[given] for given in self.given)

    def score(self, questions: Sequence[IntentQuestion]) -> dict[str, Mapping[str, float]]:
        """By ticket id the scores of its rows' intents, nats; a ticket that cannot be scored with all its rows is left out."""
        found: dict[str, Mapping[str, float]] = {}
        questions = self.processes.first(questions)  # each has embedded by itself, and a last digit makes a ticket unsure
        for start in range(0, len(questions), BLOCK):
            block = questions[start : start + BLOCK]
            if self._expired():
                break
            found |= self._block_scores(block)
        return found

    def _block_scores(self, questions: Sequence[IntentQuestion]) -> dict[str, Mapping[str, float]]:
        asked = [(one, REQUESTS[given]) for given in self.given for one in questions if one.confidence < UNSURE[given]]
        likelihoods = self.likelihoods((request(row), one.ticket.text) for one, request in asked for row in one.rows)
        parts: dict[str, list[dict[str, float]]] = defaultdict(list)
        for one, request in asked:
            parts[one.ticket.id].append(_best_rows(one, request, likelihoods))
        return {ticket: _summed(scores) for ticket, scores in parts.items() if all(scores)}

    def likelihoods(self, pairs: Iterable[Pair]) -> dict[Pair, float]:
        """The log-likelihood of each ticket after its request, nats; a pair is missing where it could not be computed."""
        found, short = dict[Pair, float](), set[str]()
        with without_adapter(self.model):
            for request, texts in bar(self.processes.share(_by_request(pairs)), self.label):
                if time.monotonic() > self.deadline:
                    self.timed_out = True
                    break
                try:
                    found |= self._scores(request, texts)
                except OutOfMemory:
                    short |= set(texts)
        self.timed_out = self.processes.any(self.timed_out)
        self.without_memory += len(set().union(*self.processes.gather(short)))
        return self.processes.merge(found)

    @property
    def limits(self) -> tuple[str, ...]:
        """What cut the scoring short in a way that a second run may not repeat, a sentence each."""
        timed_out = (
            ("the time budget ended the LM intent scores: tickets without any keep the classifier's probabilities",)
            if self.timed_out
            else ()
        )
        lost = f"memory ran out for the LM intent scores of {self.without_memory} different tickets"
        short = f"{lost}: they keep the classifier's probabilities"
        return (*timed_out, *([short] if self.without_memory else []))

    def _expired(self) -> bool:
        self.timed_out |= self.processes.any(time.monotonic() > self.deadline)
        return self.timed_out

    def _scores(self, request: str, texts: Sequence[str]) -> dict[Pair, float]:
        try:
            prompt = self.writer.request(request, max_new_tokens=MAX_TICKET_TOKENS)
        except NoPrompt:
            return {}
        tickets = [self.writer.continuation(text)[:MAX_TICKET_TOKENS] for text in texts]
        scores = log_likelihoods(self.model, prompt, tickets)
        return {(request, text): score for text, score in zip(texts, scores, strict=True)}


def _by_request(pairs: Iterable[Pair]) -> list[tuple[str, list[str]]]:
    """Every request in the order of first need, and the tickets that need it, each once."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for request, text in pairs:
        found[request][text] = None
    return [(request, list(texts)) for request, texts in found.items()]


def _summed(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {intent: sum(each[intent] for each in scores) for intent in scores[0]}


def _best_rows(question: IntentQuestion, request_of: Request, likelihoods: Mapping[Pair, float]) -> dict[str, float]:
    """The score of each intent's best row; nothing if a row has none."""
    found: dict[str, float] = {}
    for row in question.rows:
        score = likelihoods.get((request_of(row), question.ticket.text), math.nan)
        if not math.isfinite(score):
            return {}
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
