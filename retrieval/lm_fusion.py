"""Adds a language model's scores of a few candidate intents to the classifier's probabilities.

The candidates share their probability anew, by the classifier's log-probability plus the weighted LM score; every other intent
keeps what it has. So a language model can choose between candidates and cannot bring in an intent that retrieval rules out.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LmScores = Mapping[str, Mapping[str, float]]  # ticket id -> candidate intent -> log-likelihood in nats; tickets may be missing


def lm_score_matrix(scores: LmScores, ids: Sequence[str], intents: Sequence[str]) -> Floats:
    """(m, c) LM scores, NaN where there is none."""
    position = {intent: c for c, intent in enumerate(intents)}
    found = np.full((len(ids), len(intents)), np.nan)
    for i, ticket_id in enumerate(ids):
        for intent, score in scores.get(ticket_id, {}).items():
            found[i, position[intent]] = score
    return found


def fuse(log_probabilities: Floats, lm_scores: Floats, weight: float) -> Floats:
    """(m, c) log-probabilities and (m, c) LM scores, NaN for none -> (m, c) log-probabilities."""
    scored = ~np.isnan(lm_scores)
    if not weight or not scored.any():
        return log_probabilities
    before = np.where(scored, log_probabilities, -np.inf)
    after = np.where(scored, log_probabilities + weight * np.nan_to_num(lm_scores), -np.inf)
    some = scored.any(axis=1, keepdims=True)
    moved = after - np.where(some, _log_sum(after), 0.0) + np.where(some, _log_sum(before), 0.0)
    return np.where(scored, moved, log_probabilities)


def _log_sum(logits: Floats) -> Floats:
    """(m, c) -> (m, 1) logarithm of the summed exponentials."""
    highest = np.max(logits, axis=1, keepdims=True)
    highest = np.where(np.isfinite(highest), highest, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(logits - highest).sum(axis=1, keepdims=True)) + highest)
