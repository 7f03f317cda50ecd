import numpy as np
from rank_bm25 import BM25Okapi

from retrieval.bm25 import BM25Index, words


def test_scores_are_those_of_rank_bm25_without_the_negative_ones() -> None:
    documents = ["the seat of a guest", "the api token", "the the the", "guest guest token rotation", "", "export the data"]
    queries = ["the guest token", "guest guest", "nothing of it", "", "the"]
    bm25 = BM25Okapi([words(document) for document in documents])
    expected = [np.maximum(bm25.get_scores(words(query)), 0.0) for query in queries]
    assert np.allclose(BM25Index(documents).scores(queries), expected, atol=1e-5)


def test_trap_13_documents_without_words_score_zero_and_are_no_error() -> None:
    assert BM25Index(["…", "!"]).scores(["anything", ""]).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert BM25Index([]).scores(["anything"]).shape == (1, 0)


def test_trap_13_scores_are_never_negative() -> None:
    assert (BM25Index(["seat seat", "seat", "seat token"]).scores(["seat"]) >= 0).all()


def test_shared_words_stand_rarest_first() -> None:
    index = BM25Index(["the seat", "the token", "the token rotation", "the export", "the plan"])
    assert index.shared_words("rotate the token: rotation!", "The TOKEN rotation") == ["rotation", "token", "the"]
    assert index.shared_words("unknown word", "unknown word") == []
