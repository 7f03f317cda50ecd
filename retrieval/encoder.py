"""Texts to unit vectors, with sentence-transformers.

`auto` is all-mpnet-base-v2; where it cannot be had, all-MiniLM-L6-v2 takes its place with a warning, because its package is
installed with the program. The batch size is fixed, because a text's vector moves by about 1e-6 with the texts that share its
batch (sentence-transformers#2312); whoever ranks by a score rounds it first (`index.DECIMALS`). A text is cut at the encoder's
maximum length: 384 word pieces for all-mpnet-base-v2, 256 for all-MiniLM-L6-v2.
"""

import re
from collections.abc import Sequence
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.console import bar
from retrieval.cpu import prefers_onednn
from retrieval.errors import ModelUnavailable, load_or_explain, says_out_of_memory
from retrieval.files import lookup_problem
from retrieval.known_models import HUB_ID, MINILM, MPNET, known_names
from retrieval.runtime import no_garbage_collection

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Linear, Module

    from retrieval.model_files import ModelFiles

Vectors = NDArray[np.float32]

AUTO = "auto"
BATCH_SIZE = 8
FALLBACK_COST = "about 2 more of 100 intents will be wrong (EXPERIMENTS.md, section 2)"


class Encoder(Protocol):
    """Anything that turns texts into unit vectors."""

    @property
    def name(self) -> str:
        """What the encoder is: for the record, and for what was fitted to it."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """`n` texts -> (n, d) fp32 rows of length 1."""


class SentenceEncoder:
    """A sentence-transformers model in fp32, on the GPU if there is one."""

    def __init__(self, files: "ModelFiles", *, warnings: tuple[str, ...] = ()) -> None:
        """`warnings`: why it is not the encoder that was wanted.

        Raises:
            ModelUnavailable: the model cannot be loaded.
        """
        self.name, self.files, self.warnings = files.name, files, warnings
        with no_garbage_collection():  # seconds, so not at start-up
            import torch
            from sentence_transformers import SentenceTransformer

            device = "cuda" if torch.cuda.is_available() else "cpu"
            load = partial(SentenceTransformer, str(files.path), device=device, local_files_only=True, trust_remote_code=False)
            self._model = load_or_explain(f"the encoder {files.name}", load)
        if device == "cpu" and prefers_onednn() and _has_onednn():
            _multiply_with_onednn(self._model)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """`n` texts -> (n, d) fp32 rows of length 1.

        Raises:
            MemoryError: a batch does not fit.
        """
        return self.encode_in_batches(texts, BATCH_SIZE)

    def encode_in_batches(self, texts: Sequence[str], size: int) -> Vectors:
        """The same, so many at a time."""
        if not texts:
            return np.zeros((0, self._model.get_embedding_dimension() or 0), dtype=np.float32)
        order = np.argsort([-len(text) for text in texts])  # as sentence-transformers does it, which says nothing meanwhile
        batches = [order[i : i + size] for i in range(0, len(order), size)]
        options = {"batch_size": size, "normalize_embeddings": True, "convert_to_numpy": True, "show_progress_bar": False}
        try:
            found = [self._model.encode([texts[i] for i in batch], **options) for batch in bar(batches, "embed")]
        except RuntimeError as error:
            if not says_out_of_memory(error):
                raise
            raise MemoryError(
                f"a batch of {size} texts does not fit: close other programs, or name a smaller --encoder"
            ) from error
        return np.asarray(np.concatenate(found)[np.argsort(order)], dtype=np.float32)


def _has_onednn() -> bool:
    """Whether this torch has the product; it has no public name, so another version may lack it."""
    import torch

    built_with_it: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return built_with_it and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _multiply_with_onednn(model: "Module") -> None:
    """Takes oneDNN's product in all linear layers, for inference alone: half of the time, vectors move by 1e-6."""
    import torch

    for layer in model.modules():
        if type(layer) is torch.nn.Linear and layer.weight.dtype is torch.float32:
            layer.forward = partial(_onednn_linear, layer)  # type: ignore[method-assign]


def _onednn_linear(layer: "Linear", inputs: "Tensor") -> "Tensor":
    """The layer's output."""
    import torch

    outputs: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, layer.weight, layer.bias, "none", [], "")
    return outputs


def load_encoder(choice: str = AUTO, *, deadline: float = inf) -> SentenceEncoder:
    """The encoder for a value of --encoder; `deadline` is the `time.monotonic()` at which a download ends.

    Raises:
        ModelUnavailable: it cannot be had or loaded here; for `auto`, neither it nor the one that would take its place.
    """
    from retrieval.model_files import find_encoder_files, find_model

    if choice != AUTO:
        return SentenceEncoder(find_encoder_files(choice, deadline=deadline))
    try:
        return SentenceEncoder(find_model(MPNET.name, deadline=deadline))
    except ModelUnavailable as error:
        warning = f"{MINILM.name} takes the place of {MPNET.name}, {FALLBACK_COST}: {error}"
        return SentenceEncoder(find_model(MINILM.name, deadline=deadline), warnings=(warning,))


def encoder_record(files: "ModelFiles") -> dict[str, str | None]:
    """What run.json says about an encoder; `choice` is the value of --encoder that loads the same weights again."""
    choice = files.name if files.name in known_names("encoder") else f"{files.name}@{files.revision}"
    return {
        "name": files.name,
        "choice": str(files.path) if files.source == "folder" else choice,
        "source": files.source,
        "revision": files.revision,
        "digest": files.digest,
    }


def encoder_problems(choice: str) -> list[str]:
    """What is wrong with the value of --encoder, before anything is loaded."""
    names = (AUTO, *known_names("encoder"))
    expected = f"expected {', '.join(names)}, a folder, or ORG/NAME[@REVISION] on a hub"
    if problem := lookup_problem(Path(choice)):
        return [f"--encoder {choice}: found {problem}, {expected}"]
    repository, at, revision = choice.partition("@")
    on_hub = HUB_ID.fullmatch(repository) and bool(at) == bool(revision) and not Path(choice).exists()
    if choice in names or Path(choice).is_dir() or on_hub:
        return []
    return [f"--encoder {choice}: found no such folder and no such name, {expected}"]


def humanised(name: str) -> str:
    """An intent's name as a person would say it: `billing.seat_question` -> `billing seat question`."""
    return " ".join(re.split(r"[\s_./-]+", name.lower())).strip() or name


def unit(vectors: NDArray[np.floating]) -> Vectors:
    """(..., d) rows at length 1; a row of zeros stays zero, for it has no direction."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 1e-9), dtype=np.float32)
