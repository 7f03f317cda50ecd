"""A further voter's word on the intents that the classifier holds likeliest: how it is mixed into the classifier's
probabilities.

The voter is asked about a few candidates only. Among these their shared probability is distributed anew, by the classifier's
log-probability plus the weighted lm_score; every other intent keeps what it has. So an lm_score can choose between
candidates and
cannot bring in an intent that the classifier does not consider.

What it does not know: who the voter is (`finetune.intent_likelihood`), and whether it is exemplar_score hearing
(`finetune.gates`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LmScores:
    """LmScores on tickets.

    Attributes:
        weight: how much they count beside the classifier; 0 for not at all.
        of_ticket: by ticket id, the log-likelihood of each candidate intent; tickets may be missing.
    """

    weight: float
    of_ticket: Mapping[str, Mapping[str, float]]

    def matrix(self, ids: Sequence[str], intents: Sequence[str]) -> Floats:
        """(m, c) log-likelihoods, NaN where there is no lm_score."""
        found = np.full((len(ids), len(intents)), np.nan)
        number = {intent: c for c, intent in enumerate(intents)}
        for row, ticket in enumerate(ids):
            for intent, said in self.of_ticket.get(ticket, {}).items():
                found[row, number[intent]] = said
        return found


NO_LM_SCORES = LmScores(0.0, {})


def fuse(log_probabilities: Floats, lm_scores: Floats, weight: float) -> Floats:
    """(m, c) log-probabilities and (m, c) lm_scores with NaN for none -> (m, c) log-probabilities."""
    asked = ~np.isnan(lm_scores)
    if not weight or not asked.any():
        return log_probabilities
    before = np.where(asked, log_probabilities, -np.inf)
    after = np.where(asked, log_probabilities + weight * np.nan_to_num(lm_scores), -np.inf)
    some = asked.any(axis=1, keepdims=True)
    moved = after - np.where(some, _log_sum(after), 0.0) + np.where(some, _log_sum(before), 0.0)
    return np.where(asked, moved, log_probabilities)


def _log_sum(logits: Floats) -> Floats:
    """(m, c) -> (m, 1) logarithm of the summed exponentials."""
    highest = np.max(logits, axis=1, keepdims=True)
    highest = np.where(np.isfinite(highest), highest, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(logits - highest).sum(axis=1, keepdims=True)) + highest)
