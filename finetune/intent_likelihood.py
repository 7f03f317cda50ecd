"""LM intent scores: the likelihood of each candidate's label name as the answer to a ticket.

The classifier's likeliest intents are the candidates. The prompt shows a row of each and ends with `intent:`; it goes through
the model once, and the names follow as a batch upon its cached keys and values. A score is the sum of the log-probabilities of
a name's tokens, the end of its line included, in nats.
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
from finetune.memory import OutOfMemory, memory_guard
from finetune.prompt import NoPrompt, Prompt, PromptWriter
from retrieval.console import bar
from retrieval.retrieve import IntentQuestion


@dataclass(slots=True)
class IntentLikelihood:
    """Scores candidate intents with a language model; an `LmScorer` of `retrieval.retrieve`."""

    model: torch.nn.Module  # the base, or the base with its adapter
    writer: PromptWriter  # of its prompts
    weight: float  # of the scores beside the classifier's log-probabilities
    deadline: float = math.inf  # `time.monotonic()` after which no further question is asked
    label: str = "LM intent scores"  # for the progress bar
    processes: Processes = SINGLE_PROCESS  # that share the questions
    timed_out: bool = False  # whether the deadline left questions out
    memory_retries: int = 0  # how many questions did not fit into memory and were left out

    def score(self, questions: Sequence[IntentQuestion]) -> dict[str, Mapping[str, float]]:
        """The scores of each question's candidates by ticket id; a question too long for the base is left out."""
        found: dict[str, Mapping[str, float]] = {}
        timed_out, too_large = False, 0
        for question in bar(self.processes.share(questions), self.label):
            if timed_out := time.monotonic() > self.deadline:
                break
            try:
                with suppress(NoPrompt):
                    found[question.ticket.id] = self._scores(question)
            except OutOfMemory:
                too_large += 1
        self.timed_out |= self.processes.any(timed_out)
        self.memory_retries += sum(self.processes.gather(too_large))
        return self.processes.merge(found)

    @property
    def limits(self) -> tuple[str, ...]:
        """What cut the scoring short in a way that a second run may not repeat, a sentence each."""
        timed_out = (
            ("the time budget ended the LM intent scores: the other tickets have retrieval's",) if self.timed_out else ()
        )
        short = f"memory ran out for the LM intent scores of {self.memory_retries} tickets: they have retrieval's"
        return (*timed_out, *([short] if self.memory_retries else []))

    def _scores(self, question: IntentQuestion) -> dict[str, float]:
        names = [self.writer.name(intent) for intent in question.candidates]
        ticket, longest = question.ticket, max(map(len, names))
        prompt = self.writer.intent_prompt(ticket.id, ticket.text, question.rows, max_new_tokens=longest)
        return dict(zip(question.candidates, likelihoods(self.model, prompt, names), strict=True))


def likelihoods(model: torch.nn.Module, prompt: Prompt, completions: Sequence[Sequence[int]]) -> list[float]:
    """The log-likelihood of each completion after the prompt, nats; the prompt is computed once.

    Raises:
        OutOfMemory: it does not fit.
    """
    device = next(model.parameters()).device
    length, width, count = len(prompt.ids), max(map(len, completions)), len(completions)
    with torch.inference_mode(), memory_guard("scoring intents"):
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
