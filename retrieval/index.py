"""FAISS over the centred vectors of the train rows.

Sentence vectors of one train_set share a large common part ("a support ticket"); subtracting the mean of the train rows
takes it
out. The index stores `unit(e - mu)`, a
query is centred by the same `mu`, so a score is a centred cosine.

What it does not know: intents. It ranks rows, `voting` makes intents of them.
"""

from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from retrieval.encoder import Vectors
from retrieval.train_set import unit

# Scores closer than this are ties, and ties go to the earlier row: a vector moves by 1e-6 with its batch.
DECIMALS = 5


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """An exact inner-product index over (n, d) centred unit vectors."""

    mean: Vectors  # (d,)
    faiss_index: faiss.IndexFlatIP

    def centred(self, vectors: Vectors) -> Vectors:
        """(m, d) unit vectors -> (m, d) centred unit vectors, as the index stores them."""
        return unit(vectors - self.mean)

    def similarities(self, queries: Vectors) -> Vectors:
        """(m, d) centred queries -> (m, n) rounded scores, one for every stored row in the order of the rows."""
        count = self.faiss_index.ntotal
        if not count:
            return np.zeros((len(queries), 0), dtype=np.float32)
        # k never exceeds the number of rows: FAISS fills the rest with row -1 (faiss#1731).
        scores, rows = self.faiss_index.search(np.ascontiguousarray(queries), count)
        found = np.empty_like(scores)
        np.put_along_axis(found, rows, scores, axis=1)
        return np.round(found, DECIMALS)

    def save(self, path: Path) -> None:
        """Writes the FAISS index; the mean goes with the run's record."""
        faiss.write_index(self.faiss_index, str(path))


def build_index(vectors: Vectors) -> VectorIndex:
    """Centres (n, d) unit vectors by their mean and stores them."""
    mean = vectors.mean(axis=0) if len(vectors) else np.zeros(vectors.shape[1], dtype=np.float32)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(unit(vectors - mean)))
    return VectorIndex(mean=mean, faiss_index=index)


def ranked(scores: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """The positions of the `count` highest of (n,) scores, ties by position, whatever float noise says."""
    rounded = np.round(scores, DECIMALS)
    return np.asarray(np.lexsort((np.arange(len(rounded)), -rounded))[:count], dtype=np.int64)
