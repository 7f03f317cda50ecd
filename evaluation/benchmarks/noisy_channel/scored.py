"""Tickets with a base's scores of the rows near them, and the ways of counting these scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from finetune.noisy_channel import NEAR_ROWS, UNSURE
from retrieval.encoder import Vectors
from retrieval.exemplars import NearRows
from retrieval.intent_classifier import Floats, IntentClassifier
from retrieval.lm_fusion import fuse
from retrieval.tickets import LabelledTicket
from retrieval.train_set import Rows


@dataclass(frozen=True, slots=True)
class Way:
    """A way of counting the scores."""

    given: str  # what the base was given
    weight: float  # beside the classifier's log-probabilities
    candidates: int  # rows near a ticket
    mean: bool = False  # of an intent's rows, instead of the best
    below: float = UNSURE["reply"]  # only tickets with a lower confidence are scored


@dataclass(frozen=True, slots=True)
class Scored:
    """Labelled tickets, and a base's scores of the train rows near them."""

    classifier: IntentClassifier
    tickets: tuple[LabelledTicket, ...]  # m of them
    vectors: Vectors  # (m, d) of them
    expected: Rows  # (m,) their intents
    log_p: Floats  # (m, c) of the classifier
    near: list[NearRows]
    rows: Rows  # (m, k) candidate rows, best first; -1 where there are fewer, as for tickets that are not scored
    scores: Mapping[str, Floats]  # what was given -> (m, k) nats

    def matrix(self, way: Way) -> Floats:
        """(m, c) the score of each intent's best row, or the mean of its rows; NaN where it has none among the candidates."""
        found = np.full(self.log_p.shape, np.nan)
        for i, rows in enumerate(self.rows[:, : way.candidates]):
            labels, scores = self.classifier.train_set.labels[rows[rows >= 0]], self.scores[way.given][i, : (rows >= 0).sum()]
            for intent in np.unique(labels):
                own = scores[labels == intent]
                found[i, intent] = own.mean() if way.mean else own.max()
        return found

    def fused(self, way: Way) -> Floats:
        """(m, c) log-probabilities after the fusion."""
        return fuse(self.log_p, self.asked(way), way.weight)

    def summed(self, given: Sequence[str], weight: float) -> Floats:
        """(m, c) log-probabilities after the fusion with the sum of several scores, each of tickets unsure enough for it."""
        parts = np.array([self.asked(Way(what, weight, NEAR_ROWS, below=unsure(what))) for what in given])  # (g, m, c)
        scored = ~np.isnan(parts)
        partial_scores = scored.any(axis=2, keepdims=True) & (scored != scored.any(axis=0))  # a run leaves such a ticket out
        whole = scored.any(axis=0) & ~partial_scores.any(axis=(0, 2))[:, None]
        return fuse(self.log_p, np.where(whole, np.nansum(parts, axis=0), np.nan), weight)

    def asked(self, way: Way) -> Floats:
        """(m, c) the scores of tickets with a confidence below the way's threshold."""
        unsure_enough = np.exp(self.log_p.max(axis=1)) < way.below
        return np.where(unsure_enough[:, None], self.matrix(way), np.nan)


@dataclass(frozen=True, slots=True)
class ScoredDraw:
    """The test tickets of a draw, and its train rows, each hidden from itself; the latter only if they are asked for."""

    tests: Scored
    own: Scored | None


def unsure(given: str) -> float:
    """The confidence below which a run would score tickets: with the threshold of replies, for what no run gives."""
    return UNSURE["name" if given in ("name", "name, tuned") else "reply"]
