from pathlib import Path

import numpy as np
import pytest

from retrieval.encoder import ModelUnavailable, encoder_problems, humanised, load_or_explain, unit


@pytest.mark.parametrize(
    ("name", "words"),
    [("billing.seat_question", "billing seat question"), ("API/Token-Leak", "api token leak"), ("_", "_"), ("a..b", "a b")],
)
def test_an_intent_is_said_as_a_person_would_say_it(name: str, words: str) -> None:
    assert humanised(name) == words


def test_vectors_get_length_one_and_zero_stays_zero() -> None:
    assert unit(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == pytest.approx(np.array([[0.6, 0.8], [0.0, 0.0]]))
    assert unit(np.ones((2, 2), dtype=np.float64)).dtype == np.float32


def test_an_encoder_is_a_folder_a_hub_id_or_the_embedded_one(tmp_path: Path) -> None:
    for good in (None, str(tmp_path), "sentence-transformers/all-mpnet-base-v2"):
        assert encoder_problems(good) == []
    (tmp_path / "file").touch()
    for bad in ("./none", "minilm", str(tmp_path / "file"), "a/b/c"):
        assert f"--encoder {bad}: found no such folder and no hub id" in encoder_problems(bad)[0]
    assert "cannot be looked up" in encoder_problems("x" * 300)[0]


def test_whatever_a_library_raises_becomes_one_sentence() -> None:
    def fail() -> None:
        raise Exception("bad magic\nat line 7")

    with pytest.raises(ModelUnavailable, match=r"^the index cannot be loaded: bad magic$"):
        load_or_explain("the index", fail)
    with pytest.raises(ModelUnavailable, match="cannot be loaded: KeyError"):
        load_or_explain("the index", lambda: (_ for _ in ()).throw(KeyError()))
