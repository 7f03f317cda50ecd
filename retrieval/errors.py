"""How a model that cannot be had or loaded, and memory that runs out, are reported: a sentence, never a traceback."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Of torch's allocator on a CPU, of the system where a file cannot be mapped, of CUDA, of cuBLAS outside of torch's allocator.
OUT_OF_MEMORY = ("can't allocate memory", "Cannot allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


class ModelUnavailable(Exception):
    """A model that was asked for cannot be had or loaded here; the message is for the user."""


class Refused(Exception):
    """One source cannot deliver a model; the message is the half of a sentence that says why and what to do."""


def says_out_of_memory(error: BaseException) -> bool:
    """Whether an error's words are those of memory that is short; torch raises a plain RuntimeError for it on a CPU."""
    return any(words in str(error) for words in OUT_OF_MEMORY)


def memory_sentence(error: MemoryError) -> str:
    """What a user reads where memory ran out."""
    return f"not enough memory: {str(error) or 'close other programs, allow this one more, or name a smaller model'}"


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
