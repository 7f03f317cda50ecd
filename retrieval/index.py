"""FAISS over centred vectors: the train rows for neighbours and exemplars, the class prototypes for the votes.

Sentence vectors of one product share a large common part ("a support ticket"); subtracting the mean of the train rows takes
it out. The indexes store unit(e - mean), a query is centred by the same mean, so a score is a centred cosine. Equal texts are
stored once, so that a ticket which stands there a thousand times does not fill the whole list of neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from retrieval.encoder import Vectors, unit
from retrieval.errors import ModelUnavailable, load_or_explain
from retrieval.files import write_bytes

# Scores closer than this are ties, and ties go to the earlier row: a vector moves by 1e-6 with its batch.
DECIMALS = 5
ROWS_PER_TEXT = 8  # the first ones: where thousands of rows share one reply, they must not all be looked at


@dataclass(frozen=True, slots=True)
class RowIndex:
    """An exact inner-product index over the distinct texts of n rows."""

    mean: Vectors  # (d,) of all rows
    faiss_index: faiss.Index  # the centred unit vectors of t distinct texts
    text_of: NDArray[np.int64]  # (n,) the position of each row's text in the index
    rows_by_text: NDArray[np.int64]  # (n,) the rows, those of one text together
    starts: NDArray[np.int64]  # (t + 1,) where each text's rows begin in `rows_by_text`

    def centred(self, vectors: Vectors) -> Vectors:
        """(m, d) unit vectors -> (m, d) centred unit vectors, as the index stores them."""
        return unit(vectors - self.mean)

    def nearest(self, queries: Vectors, *, texts: int) -> list[NDArray[np.int64]]:
        """(m, d) centred queries -> for each the rows of its nearest distinct texts, at most `ROWS_PER_TEXT` of a text."""
        count = min(texts, self.faiss_index.ntotal)  # FAISS fills up with -1 beyond the number of vectors (faiss#1731)
        if not count:
            return [np.zeros(0, dtype=np.int64) for _ in queries]
        found = self.faiss_index.search(np.ascontiguousarray(queries), count)[1]  # (m, count)
        ends = np.minimum(self.starts[1:], self.starts[:-1] + ROWS_PER_TEXT)
        return [np.concatenate([self.rows_by_text[self.starts[t] : ends[t]] for t in row]) for row in found]

    def cosines(self, query: Vectors, rows: NDArray[np.int64]) -> Vectors:
        """(d,) centred query, (k,) rows -> (k,) centred cosines, rounded."""
        vectors = self.faiss_index.reconstruct_batch(self.text_of[rows]) if len(rows) else np.zeros((0, len(self.mean)))
        return np.asarray(np.round(vectors @ query, DECIMALS), dtype=np.float32)

    def save(self, path: Path) -> None:
        """Writes the FAISS index; the rest follows from the rows and their vectors."""
        write_bytes(path, faiss.serialize_index(self.faiss_index).tobytes())  # FAISS's own writer raises what names no reason


def build_row_index(vectors: Vectors, texts: Sequence[str]) -> RowIndex:
    """Centres (n, d) unit vectors of n texts by their mean and stores each distinct text once."""
    return _row_index(vectors, texts, None)


def load_row_index(path: Path, vectors: Vectors, texts: Sequence[str]) -> RowIndex:
    """The index of a finished run: the FAISS file, with the rows and vectors that it was built from.

    Raises:
        ModelUnavailable: the file cannot be read, or it belongs to other rows.
    """
    stored = load_or_explain(f"the FAISS index {path}", lambda: faiss.read_index(str(path)))
    if (stored.ntotal, stored.d) != (len(set(texts)), vectors.shape[1]):
        raise ModelUnavailable(f"the FAISS index {path} holds {stored.ntotal} vectors of other rows: run run.py again")
    return _row_index(vectors, texts, stored)


def _row_index(vectors: Vectors, texts: Sequence[str], stored: faiss.Index | None) -> RowIndex:
    position = {text: t for t, text in enumerate(dict.fromkeys(texts))}
    text_of = np.array([position[text] for text in texts], dtype=np.int64)
    mean = vectors.mean(axis=0) if len(vectors) else np.zeros(vectors.shape[1], dtype=np.float32)
    first = np.unique(text_of, return_index=True)[1]
    starts = np.concatenate([[0], np.cumsum(np.bincount(text_of, minlength=len(position)))])
    index = flat_index(unit(vectors[first] - mean)) if stored is None else stored
    return RowIndex(mean, index, text_of, np.argsort(text_of, kind="stable"), starts)


def flat_index(vectors: Vectors) -> faiss.IndexFlatIP:
    """An exact inner-product index over (n, d) vectors."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors))
    return index


def all_scores(index: faiss.IndexFlatIP, queries: Vectors) -> Vectors:
    """(m, d) queries -> (m, n) the score of every stored vector, in the order in which they were added."""
    scores, positions = index.search(np.ascontiguousarray(queries), index.ntotal)
    found = np.empty_like(scores)
    np.put_along_axis(found, positions, scores, axis=1)
    return found


def ranked(scores: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """The positions of the `count` highest of (n,) scores, ties by position, whatever float noise says."""
    rounded = np.round(scores, DECIMALS)
    return np.asarray(np.lexsort((np.arange(len(rounded)), -rounded))[:count], dtype=np.int64)
