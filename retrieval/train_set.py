"""The support train_set as vectors: the one object that the stages of a run share.

Every row is embedded once; whatever needs the train_set without some of its rows (leave-one-out, cross-fitting) takes `keep`,
which slices and never embeds again. The list of intents stays whole in a slice, so a class that lost its last row is still
there with its name: the same mechanism serves intents that have no row from the start.

What it does not know: how its vectors are compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from retrieval.encoder import Encoder, Vectors, humanised
from retrieval.tickets import LabelledTicket, shown

NEAR_DUPLICATE = 0.97
MOST_COMPARED = 20_000  # rows, the first ones: every pair is looked at, and 100,000 rows would take minutes
MOST_SAID = 5
BLOCK = 512


@dataclass(frozen=True, slots=True)
class TrainSet:
    """The train rows, their intents and their vectors.

    Attributes:
        rows: n train rows.
        intents: c intents, sorted; may hold intents without a row.
        intent_of: (n,) the number of each row's intent in `intents`.
        tickets: (n, d) unit vectors of the tickets.
        replies: (n, d) unit vectors of the ideal replies.
        names: (c, d) unit vectors of the humanised intent names.
    """

    rows: tuple[LabelledTicket, ...]
    intents: tuple[str, ...]
    intent_of: NDArray[np.int64]
    tickets: Vectors
    replies: Vectors
    names: Vectors

    def keep(self, numbers: Sequence[int] | NDArray[np.int64]) -> "TrainSet":
        """The train_set with only these rows, in this order, and with all of its intents."""
        chosen = np.asarray(numbers, dtype=np.int64)
        return replace(
            self,
            rows=tuple(self.rows[i] for i in chosen),
            intent_of=self.intent_of[chosen],
            tickets=self.tickets[chosen],
            replies=self.replies[chosen],
        )

    def without(self, numbers: Sequence[int] | NDArray[np.int64]) -> "TrainSet":
        """The train_set with all rows but these."""
        return self.keep(np.setdiff1d(np.arange(len(self.rows)), np.asarray(numbers, dtype=np.int64)))


def embed_train_set(rows: Sequence[LabelledTicket], encoder: Encoder) -> TrainSet:
    """Embeds tickets, replies and intent names."""
    intents = tuple(sorted({row.intent for row in rows}))
    number = {intent: c for c, intent in enumerate(intents)}
    return TrainSet(
        rows=tuple(rows),
        intents=intents,
        intent_of=np.array([number[row.intent] for row in rows], dtype=np.int64),
        tickets=_encoded_once([row.text for row in rows], encoder),
        replies=_encoded_once([row.ideal_reply for row in rows], encoder),
        names=encoder.encode([humanised(intent) for intent in intents]),
    )


def _encoded_once(texts: Sequence[str], encoder: Encoder) -> Vectors:
    """(n, d) the vectors of n texts; a text that stands there twice is embedded once, as all_splits repeat their replies."""
    number = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    return encoder.encode(list(number))[[number[text] for text in texts]]


def near_duplicates(train_set: TrainSet, *, threshold: float = NEAR_DUPLICATE) -> list[str]:
    """Pairs of rows whose tickets are almost the same but whose intents differ, a sentence each (at most five; of the first
    `MOST_COMPARED` rows).

    Rows of one intent may resemble each other as they like; two intents for one question are an error in the labels.
    """
    found: list[str] = []
    tickets = train_set.tickets[:MOST_COMPARED]
    for start in range(0, len(tickets), BLOCK):
        cosines = tickets[start : start + BLOCK] @ tickets.T  # (block, n)
        for row, j in np.argwhere(cosines >= threshold):
            i = start + row
            if i < j and train_set.intent_of[i] != train_set.intent_of[j]:
                one, other = train_set.rows[i], train_set.rows[j]
                found.append(f"near-duplicate tickets {shown(one.id)} ({one.intent}) and {shown(other.id)} ({other.intent})")
                if len(found) == MOST_SAID:
                    return found
    return found


def unit(vectors: NDArray[np.floating]) -> Vectors:
    """Rows at length 1; a row of zeros stays zero (it has no direction to score with)."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 1e-9), dtype=np.float32)
