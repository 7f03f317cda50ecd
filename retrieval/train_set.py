"""The train rows with their vectors: the one object that the stages of a run share.

Every row is embedded once; whatever needs a part of the rows (cross-validation, a training subset) takes a slice. The list of
intents stays whole in a slice, so an intent that lost its last row is still there with its name.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from retrieval.encoder import Encoder, Vectors, humanised, unit
from retrieval.index import ranked
from retrieval.masking import masked
from retrieval.taxonomy import Taxonomy
from retrieval.tickets import LabelledTicket, normalised, quoted

NEAR_DUPLICATE = 0.97  # cosine
MAX_COMPARED = 20_000  # rows, the first ones: every pair is compared, and 100,000 rows would take minutes
MAX_REPORTED = 5
BLOCK = 512

Rows = NDArray[np.int64]  # positions of train rows


@dataclass(frozen=True, slots=True)
class TrainSet:
    """The train rows, their intents and their vectors."""

    encoder: str  # the name of the encoder that made the vectors
    rows: tuple[LabelledTicket, ...]  # n train rows
    intents: tuple[str, ...]  # c intents, sorted; may hold intents without a row
    labels: Rows  # (n,) the position of each row's intent in `intents`
    ticket_vectors: Vectors  # (n, d) unit vectors of the tickets
    reply_vectors: Vectors  # (n, d) unit vectors of the ideal replies
    name_vectors: Vectors  # (c, d) unit vectors of the humanised intent names, with their descriptions where there are any
    taxonomy: Taxonomy | None = None  # where it is given, `intents` are its own, and some may have no row from the beginning

    @property
    def descriptions(self) -> Mapping[str, str]:
        """What the intents are about, by name; none without a taxonomy, or if its descriptions did not pass their test."""
        return self.taxonomy.described if self.taxonomy else {}

    @property
    def label_texts(self) -> tuple[str, ...]:
        """(c,) the words of the labels: humanised names, and descriptions where there are any."""
        texts = self.descriptions
        return tuple(": ".join(filter(None, (humanised(name), texts.get(name)))) for name in self.intents)

    def known_reply_vectors(self, texts: Iterable[str]) -> dict[str, Vectors]:
        """The (d,) unit vector of each of these texts that is a stored reply."""
        wanted, replies = set(texts), zip(self.rows, self.reply_vectors, strict=True)
        return {row.ideal_reply: vector for row, vector in replies if row.ideal_reply in wanted}

    @property
    def row_counts(self) -> Rows:
        """(c,) how many rows each intent has."""
        return np.bincount(self.labels, minlength=len(self.intents))

    @property
    def rowless_intents(self) -> int:
        """How many intents have no row."""
        return int((self.row_counts == 0).sum())

    def has_rows(self, intent: int) -> bool:
        """Whether any row has the intent at this position."""
        return bool((self.labels == intent).any())

    def subset(self, rows: Sequence[int] | Rows) -> "TrainSet":
        """These rows in this order, with all intents."""
        chosen = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            rows=tuple(self.rows[i] for i in chosen),
            labels=self.labels[chosen],
            ticket_vectors=self.ticket_vectors[chosen],
            reply_vectors=self.reply_vectors[chosen],
        )

    def class_sums(self, vectors: Vectors) -> Vectors:
        """(n, d) a vector for each row -> (c, d) the sum of each intent's rows."""
        count = len(self.rows)
        ones, positions = np.ones(count, dtype=np.float32), (np.arange(count), self.labels)
        members = csr_array((ones, positions), shape=(count, len(self.intents)))
        return np.asarray(members.T @ vectors, dtype=np.float32)

    def without(self, rows: Sequence[int] | Rows) -> "TrainSet":
        """All rows but these."""
        return self.subset(np.setdiff1d(np.arange(len(self.rows)), np.asarray(rows, dtype=np.int64)))


def embed_train_set(rows: Sequence[LabelledTicket], encoder: Encoder, taxonomy: Taxonomy | None = None) -> TrainSet:
    """Embeds tickets, replies and intent names; the intents are those of the rows, or of the taxonomy.

    Descriptions are left out: they join where they pass their test (`label_names`). Customers' data in stored replies are
    masked here, so that nothing behind it sees them.
    """
    rows = masked(rows)
    intents, labels = intents_of(rows, taxonomy)
    return TrainSet(
        encoder=encoder.name,
        rows=tuple(rows),
        intents=intents,
        labels=labels,
        ticket_vectors=_encode_distinct([row.text for row in rows], encoder),
        reply_vectors=_encode_distinct([row.ideal_reply for row in rows], encoder),
        name_vectors=encoder.encode([humanised(intent) for intent in intents]),
        taxonomy=taxonomy.without_descriptions() if taxonomy else None,
    )


def intents_of(rows: Sequence[LabelledTicket], taxonomy: Taxonomy | None = None) -> tuple[tuple[str, ...], Rows]:
    """The sorted intents of n rows, or of the taxonomy, and (n,) the position of each row's intent."""
    intents = tuple(sorted(taxonomy.descriptions if taxonomy else {row.intent for row in rows}))
    position = {intent: c for c, intent in enumerate(intents)}
    return intents, np.array([position[row.intent] for row in rows], dtype=np.int64)


def _encode_distinct(texts: Sequence[str], encoder: Encoder) -> Vectors:
    """(n, d) the vectors of n texts; equal texts are embedded once, for support teams repeat their replies."""
    position = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    return encoder.encode(list(position))[[position[text] for text in texts]]


def near_duplicates(train_set: TrainSet, *, threshold: float = NEAR_DUPLICATE) -> list[str]:
    """Pairs of rows with almost the same ticket and different intents, a sentence each: one of the labels is probably wrong.

    At most `MAX_REPORTED` pairs, looked for among the first `MAX_COMPARED` rows.
    """
    found: list[str] = []
    for i, j in near_duplicate_pairs(train_set, threshold=threshold, at_most=MAX_REPORTED):
        one, other = train_set.rows[i], train_set.rows[j]
        pair = f"{quoted(one.id)} ({one.intent}) and {quoted(other.id)} ({other.intent})"
        found.append(f"near-duplicate tickets {pair}")
    return found


def near_duplicate_pairs(
    train_set: TrainSet, *, threshold: float = NEAR_DUPLICATE, at_most: int | None = None
) -> list[tuple[int, int]]:
    """The positions of pairs of rows with almost the same ticket and different intents, among the first `MAX_COMPARED`."""
    found: list[tuple[int, int]] = []
    vectors = train_set.ticket_vectors[:MAX_COMPARED]
    for start in range(0, len(vectors), BLOCK):
        cosines = vectors[start : start + BLOCK] @ vectors.T  # (block, n)
        for row, j in np.argwhere(cosines >= threshold):
            i = start + row
            if i < j and train_set.labels[i] != train_set.labels[j]:
                found.append((int(i), int(j)))
                if len(found) == at_most:
                    return found
    return found


def representative_rows(train_set: TrainSet, *, at_most: int) -> Rows:
    """The positions of at most so many rows, ascending; all of them where that is enough.

    Every intent in turn gives the row that is nearest to the mean of its tickets among those that are left, a repeated ticket
    last; so all intents are covered before any has two rows.
    """
    if len(train_set.rows) <= at_most:
        return np.arange(len(train_set.rows))
    turn = np.empty(len(train_set.rows), dtype=np.int64)  # the round in which a row's intent gives it
    for intent in range(len(train_set.intents)):
        members = np.flatnonzero(train_set.labels == intent)
        turn[members[_most_typical_first(train_set, members)]] = np.arange(len(members))
    return np.sort(np.lexsort((train_set.labels, turn))[:at_most])


def rows_with_siblings(train_set: TrainSet, rows: Rows) -> Rows:
    """Those of the rows whose intent has another row: no reply could be found for the others."""
    return rows[train_set.row_counts[train_set.labels[rows]] > 1]


def _most_typical_first(train_set: TrainSet, members: Rows) -> Rows:
    if not len(members):
        return members
    vectors = train_set.ticket_vectors[members]
    order = ranked(vectors @ unit(vectors.mean(axis=0)), len(members))
    seen: Counter[str] = Counter()
    repeats = np.zeros(len(members), dtype=np.int64)
    for i in order:
        text = normalised(train_set.rows[members[i]].text)
        repeats[i] = seen[text]
        seen[text] += 1
    return order[np.argsort(repeats[order], kind="stable")]
