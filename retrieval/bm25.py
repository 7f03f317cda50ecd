"""BM25 beside the vectors: which documents share the ticket's rare words.

Alone it is the worst scorer at 30 rows, as a small addend it does no harm on public sets (EXPERIMENTS.md) and knows a product's
own words (SCIM, NDJSON), which the encoder has never seen. Words are split at white space and punctuation, without stemming.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rank_bm25 import BM25Okapi
from scipy.sparse import csr_array


def words(text: str) -> list[str]:
    """Lower-case words and numbers, in order."""
    return re.findall(r"\w+", text.lower())


class BM25Index:
    """BM25Okapi over short documents.

    rank-bm25 counts and weighs; it scores a query by walking over all documents in Python. A document's score is a sum over the
    query's words, so the summands are computed once, into a sparse matrix, and a query costs no more than its words occur.
    """

    def __init__(self, documents: Sequence[str]) -> None:
        tokens = [words(document) for document in documents]
        # BM25Okapi divides by the mean document length and by the number of documents.
        bm25 = BM25Okapi(tokens) if any(tokens) else None
        self._idf: dict[str, float] = bm25.idf if bm25 else {}
        self._number = {word: i for i, word in enumerate(self._idf)}
        self._summands = _summands(bm25, self._number) if bm25 else csr_array((0, len(tokens)), dtype=np.float32)

    def shared_words(self, text: str, other: str) -> list[str]:
        """The words that both texts hold and that tell documents apart, rarest first."""
        theirs = set(words(other))
        weight = {word: float(self._idf.get(word, 0.0)) for word in words(text) if word in theirs}
        return sorted((word for word in weight if weight[word] > 0), key=lambda word: (-weight[word], word))

    def scores(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(m, n) scores, never below zero: in a tiny corpus a frequent word's idf turns negative, which is no evidence."""
        known = [[self._number[word] for word in words(text) if word in self._number] for text in texts]
        starts = np.cumsum([0, *map(len, known)])
        columns = np.array([number for row in known for number in row], dtype=np.int64)
        counts = np.ones(len(columns), dtype=np.float32)  # a word that occurs twice is summed to 2
        queries = csr_array((counts, columns, starts), shape=(len(texts), len(self._number)))
        return np.asarray(np.maximum((queries @ self._summands).toarray(), 0.0), dtype=np.float32)


def _summands(bm25: BM25Okapi, number: dict[str, int]) -> csr_array:
    """(words, documents) what a word of a query adds to a document's score: the summand of `BM25Okapi.get_scores`."""
    held = ((number[word], d, count) for d, counts in enumerate(bm25.doc_freqs) for word, count in counts.items())
    rows, columns, counts = np.array(list(held), dtype=np.int64).reshape(-1, 3).T
    idf = np.array([bm25.idf[word] for word in number])
    length = bm25.k1 * (1 - bm25.b + bm25.b * np.array(bm25.doc_len) / bm25.avgdl)  # (documents,)
    values = idf[rows] * (counts * (bm25.k1 + 1) / (counts + length[columns]))
    return csr_array((values.astype(np.float32), (rows, columns)), shape=(len(number), len(bm25.doc_freqs)))
