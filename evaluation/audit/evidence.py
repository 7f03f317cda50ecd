"""What the audit looks at: the train rows with probabilities by classifiers that have not seen them, and the val tickets.

No language model is loaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.cross_validation import out_of_fold_log_probabilities
from retrieval.encoder import Encoder, Vectors
from retrieval.index import ranked
from retrieval.intent_classifier import Floats, fit_classifier, winners
from retrieval.label_names import label_names_gate
from retrieval.retrieve import Retrieval, retrieve
from retrieval.tickets import LabelledTicket, Ticket
from retrieval.train_set import Rows, TrainSet, embed_train_set

SEED = 0  # of the label-name test, as in a run without --seed


@dataclass(frozen=True, slots=True)
class Evidence:
    """Train rows and val tickets, measured."""

    rows: tuple[LabelledTicket, ...]  # n train rows as they were read
    train_set: TrainSet  # the same, what is masked in their replies left out
    log_p: Floats  # (n, c) of the rows, out-of-fold
    tickets: tuple[Retrieval, ...]  # of the m val tickets
    vectors: Vectors  # (m, d) of them

    def probability(self, row: int, intent: int) -> float:
        """Of an intent for a row, out-of-fold."""
        return float(np.exp(self.log_p[row, intent]))

    def winner(self, row: int) -> int:
        """The likeliest intent of a row, out-of-fold."""
        return int(winners(self.log_p[row][None])[0])

    def nearest(self, row: int, *, intent: int) -> int | None:
        """The other row of an intent that is nearest to a row; None if there is none."""
        members: Rows = np.flatnonzero(self.train_set.labels == intent)
        others = members[members != row]
        if not len(others):
            return None
        vectors = self.train_set.ticket_vectors
        return int(others[ranked(vectors[others] @ vectors[row], 1)[0]])


def gather(rows: Sequence[LabelledTicket], tickets: Sequence[Ticket], encoder: Encoder) -> Evidence:
    """Embeds and measures."""
    train_set = embed_train_set(rows, encoder)
    classifier = fit_classifier(train_set, with_names=label_names_gate(train_set, seed=SEED).passed)
    vectors = encoder.encode([ticket.text for ticket in tickets])
    found = retrieve(classifier, tickets, vectors) if tickets else ()
    return Evidence(tuple(rows), train_set, out_of_fold_log_probabilities(classifier), found, vectors)
