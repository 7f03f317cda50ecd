"""BM25 beside the vectors: which rows share the ticket's rare words.

Alone it is the worst voter there is at 30 rows, as a small addend it does no harm on public sets (EXPERIMENTS.md) and knows a
product's own words (SCIM, NDJSON), which the encoder has never seen.

What it does not know: stemming, synonyms, and languages that are written without spaces (each sentence is one word to it).
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rank_bm25 import BM25Okapi


def words(text: str) -> list[str]:
    """Lower-case words and numbers, in order."""
    return re.findall(r"\w+", text.lower())


class LexicalIndex:
    """BM25Okapi over short documents."""

    def __init__(self, documents: Sequence[str]) -> None:
        tokens = [words(document) for document in documents]
        self._size = len(tokens)
        # BM25Okapi divides by the mean document length and by the number of documents.
        self._bm25 = BM25Okapi(tokens) if any(tokens) else None

    def shared(self, text: str, other: str) -> list[str]:
        """The words that a text shares with another one and that tell documents apart, rarest first."""
        if self._bm25 is None:
            return []
        theirs = set(words(other))
        weight = {word: float(self._bm25.idf.get(word, 0.0)) for word in words(text) if word in theirs}
        return sorted((word for word in weight if weight[word] > 0), key=lambda word: (-weight[word], word))

    def scores(self, text: str) -> NDArray[np.float64]:
        """(n,) scores, never below zero: in a tiny corpus a frequent word's idf turns negative, which is no evidence."""
        if self._bm25 is None:
            return np.zeros(self._size)
        return np.maximum(np.asarray(self._bm25.get_scores(words(text)), dtype=np.float64), 0.0)
