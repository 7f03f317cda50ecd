"""Evidence with probabilities as a test says, so that no classifier decides what is found."""

from collections.abc import Mapping, Sequence

import numpy as np

from evaluation.audit.evidence import Evidence
from retrieval.retrieve import IntentScore, Retrieval
from retrieval.tickets import LabelledTicket, Ticket
from tests.fakes import ROWS, HashEncoder, train_set

REST = 1e-4  # the probability of an intent that is not mentioned


def evidence(
    rows: Sequence[LabelledTicket] = ROWS,
    probabilities: Mapping[int, Mapping[str, float]] | None = None,
    tickets: Sequence[Retrieval] = (),
) -> Evidence:
    """Every row is sure of its own intent, but for those whose probabilities are given, by position."""
    found = train_set(rows)
    p = np.full((len(rows), len(found.intents)), REST)
    for i, row in enumerate(rows):
        for intent, value in (probabilities or {}).get(i, {row.intent: 1.0}).items():
            p[i, found.intents.index(intent)] = value
    vectors = HashEncoder().encode([one.ticket.text for one in tickets])
    return Evidence(tuple(rows), found, np.log(p / p.sum(axis=1, keepdims=True)), tuple(tickets), vectors)


def retrieval(number: int, text: str, first: float, second: float, *, in_scope: float = 0.9) -> Retrieval:
    """A val ticket with the probabilities of its two likeliest intents."""
    intents = (IntentScore("billing.seat", first, {}), IntentScore("api.token", second, {}))
    return Retrieval(Ticket(f"v{number}", text), intents, in_scope, 0.3, (), ())
