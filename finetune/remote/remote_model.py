"""A remote model as run.py uses it: tried once, then asked for intent scores and replies as far as its gates allow.

Whatever ends its work early (money, time, the endpoint) leaves the rest to the local parts, and the record says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finetune.remote.budget import Budget
from finetune.remote.client import RemoteClient
from finetune.remote.endpoint import endpoint_of
from finetune.remote.gates import remote_intents_untested, remote_replies_untested
from finetune.remote.intent_scores import NEAR_ROWS, WEIGHT, RemoteScorer
from finetune.remote.prices import price_of
from finetune.remote.questions import max_reply_tokens
from finetune.remote.replies import write_remote_replies
from finetune.remote.trial import Trial, planned_usd, trial_on, try_intents, try_replies
from retrieval.command_line import Settings
from retrieval.encoder import Encoder, Vectors
from retrieval.gate import Gate
from retrieval.intent_classifier import IntentClassifier
from retrieval.prediction import Reply
from retrieval.retrieve import LmScorer, Retrieval, retrieve
from retrieval.tickets import Ticket

TRYING, ANSWERING = 0.88, 0.93  # shares of the time budget at which the calls of a stage end; a local base still writes after


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A model that was tried."""

    client: RemoteClient
    classifier: IntentClassifier  # fitted on all rows
    intents_gate: Gate
    replies_gate: Gate
    tried_rows: int  # train rows that it was asked about
    deadline: float  # `time.monotonic()` at which the last call ends

    @property
    def gates(self) -> tuple[Gate, Gate]:
        """Whether it scores intents and whether it writes replies."""
        return self.intents_gate, self.replies_gate

    @property
    def varies(self) -> bool:
        """Whether a second run may answer otherwise: something was sent, or would have been with more time."""
        return self.client.calls > 0 or self.client.timed_out

    @property
    def warnings(self) -> tuple[str, ...]:
        """What went wrong, a sentence each."""
        client, found = self.client, list[str]()
        if client.given_up:
            found.append(f"{client.endpoint.model} was given up: {client.given_up}; the local parts did the rest")
        if client.failed:
            found.append(f"{client.endpoint.model} left {len(client.failed)} questions unanswered, first {client.failed[0]}")
        return tuple(found)

    def retrieve(self, tickets: Sequence[Ticket], vectors: Vectors, *, local: LmScorer | None) -> tuple[Retrieval, ...]:
        """The retrievals of m tickets with (m, d) vectors; `local` scores the intents that the model does not."""
        if not self.intents_gate.passed or self.client.given_up:
            return retrieve(self.classifier, tickets, vectors, lm_scorer=local)
        train_set = self.classifier.train_set
        scorer = RemoteScorer(self.client, train_set.intents, self.deadline, "remote intent scores", train_set.descriptions)
        found = retrieve(self.classifier, tickets, vectors, lm_scorer=scorer)
        rest = [i for i, ticket in enumerate(tickets) if ticket.id in scorer.unanswered]
        if local is None or not rest:
            return found
        again = retrieve(self.classifier, [tickets[i] for i in rest], vectors[rest], lm_scorer=local)
        of_id = {one.ticket.id: one for one in again}
        return tuple(of_id.get(one.ticket.id, one) for one in found)

    def write_replies(self, found: Sequence[Retrieval]) -> dict[str, Reply]:
        """By ticket id its checked replies; empty where the gate says no, and without the tickets that it could not answer."""
        if not self.replies_gate.passed:
            return {}
        train_set = self.classifier.train_set
        return write_remote_replies(
            self.client,
            found,
            max_tokens=max_reply_tokens(train_set.rows),
            label="remote replies",
            deadline=self.deadline,
            descriptions=train_set.descriptions,
        )

    def record(self) -> dict[str, Any]:
        """What run.json says about it; where its intent scores are used, their weight as well."""
        client, price = self.client, self.client.budget.price
        found = {
            "model": client.endpoint.model,
            "host": client.endpoint.host,
            "calls": client.calls,
            "prompt_tokens": client.usage.prompt,
            "completion_tokens": client.usage.completion,
            "cost_usd": round(client.budget.spent, 6),
            "budget_usd": client.budget.limit,
            "usd_per_million_tokens": {"prompt": price.prompt, "completion": price.completion, "known": price.known},
            "sent": {"train_rows": self.tried_rows, "tickets": len(client.sent)},
            "gates": {gate.name: gate.decision for gate in self.gates},
            "given_up": client.given_up,
            "unanswered": client.failed,
        }
        scores = {"lm_scores": {"weight": WEIGHT, "near_rows": NEAR_ROWS}} if self.intents_gate.passed else {}
        return {"remote": found | scores}

    def summary(self) -> str:
        """What was sent where, and what it cost."""
        client = self.client
        name = f"{client.endpoint.model} at {client.endpoint.host}"
        if not client.calls:
            return f"{name}: nothing was sent"
        known = "" if client.budget.price.known else ", at the dearest price known, for its own is not"
        cost = f"{client.budget.spent:.4f} of {client.budget.limit:g} USD{known}"
        tokens = f"{client.usage.prompt} prompt and {client.usage.completion} completion tokens"
        sent = f"sent were {self.tried_rows} train rows and {len(client.sent)} tickets, each with the stored rows near it"
        return f"{name}: {client.calls} calls, {tokens}, {cost}; {sent}"


def try_remote_model(
    settings: Settings, classifier: IntentClassifier, encoder: Encoder, tickets: Sequence[Ticket]
) -> RemoteModel:
    """Tries the model that was named on train rows, unless the budget cannot pay for that and for the tickets."""
    name, seed = settings.remote_model, settings.seed
    client = RemoteClient(endpoint_of(name), Budget(settings.remote_budget_usd, price_of(name)), seed)
    trial, deadline = trial_on(classifier, seed=seed), settings.deadline(TRYING)
    planned = planned_usd(trial, client.budget.price, tickets)
    if planned > client.budget.limit:
        cost = f"its trial and {len(tickets)} tickets would cost about {planned:.2f} USD"
        client.given_up = f"{cost}, --remote-budget-usd allows {client.budget.limit:g}"
    gates = _gates(trial, client, encoder, deadline)
    tried = len(client.sent)
    client.sent.clear()
    return RemoteModel(client, classifier, *gates, tried, settings.deadline(ANSWERING))


def _gates(trial: Trial, client: RemoteClient, encoder: Encoder, deadline: float) -> tuple[Gate, Gate]:
    if client.given_up:
        return remote_intents_untested(client.given_up), remote_replies_untested(client.given_up)
    intents, log_p = try_intents(trial, client, deadline=deadline)
    return intents, try_replies(trial, client, encoder, log_p, deadline=deadline)
