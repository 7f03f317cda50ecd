"""The process's own switches: threads, determinism, quiet libraries. Called once, before any model is loaded.

The number of threads changes the order of float sums, so it is fixed and goes into the record of the run; processes of one run
on one machine share its cores. Waiting threads sleep instead of spinning: where another program holds a core, spinning threads
made a run ten times slower. oneDNN, which multiplies in bf16, compiles code for every shape of a product. It would keep that of
1,024 shapes, and torch 1,024 more; tickets of all lengths have so many that .3 GiB would be kept for nothing (EXPERIMENTS.md,
section 10). On CUDA the workspace variable must stand before CUDA starts; TF32 stays off (torch's default for matrix products,
not for cuDNN), and no algorithm is chosen by a race (`benchmark`).
"""

import atexit
import gc
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from retrieval.cpu import usable_cores

# A launcher (torchrun, accelerate) numbers its processes; the first prints and writes.
PROCESS_INDEX = int(os.environ.get("RANK", "0")) if os.environ.get("WORLD_SIZE", "1") != "1" else 0


KEPT_SHAPES = "64"  # of products; the sample then compiles 1,217 times, 811 times if all are kept
ADDRESS_SPACE = 2 * 2**30  # bytes; torch and faiss alone map 1.6 GiB, most of it files


class WorkerLost(Exception):
    """Another process of this run is gone or does not answer; the message is one sentence for the user."""


def check_address_space() -> None:
    """To be called before numpy is imported: under such a limit the libraries end the process without a word.

    Raises:
        MemoryError: the process may not map as much as the libraries need; the message is one sentence.
    """
    try:
        import resource
    except ImportError:  # not on Windows
        return
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < ADDRESS_SPACE:
        found = f"found a limit of {limit / 2**30:.1f} GiB on the memory of this process"
        raise MemoryError(f"{found}, expected {ADDRESS_SPACE / 2**30:.0f} GiB or more: raise it (ulimit -v)")


def configure(*, verbose: bool = False) -> int:
    """Sets the switches; returns the number of threads. Without `verbose` the libraries say nothing but errors.

    Raises:
        MemoryError: see `check_address_space`.
    """
    check_address_space()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch and faiss load their OpenMP
    for cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):  # read at the first product; oneDNN's, and torch's
        os.environ.setdefault(cache, KEPT_SHAPES)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    _silence(verbose=verbose)
    atexit.register(gc.freeze)  # else the end of the process looks at all objects of the libraries once more (3 s)
    with no_garbage_collection():
        import faiss
        import torch
        from transformers.utils import logging as transformers_logging

    if not verbose:
        transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    threads = max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    # This build multiplies matrices only from 128,000 queries on; from 20 on it takes a tenth of the time at 100,000 rows.
    faiss.cvar.distance_compute_blas_threshold, faiss.cvar.distance_compute_blas_database_bs = 20, 4096
    return threads


def _silence(*, verbose: bool) -> None:
    """Switches the libraries' own bars off, and what they say on stderr below an error; before they are imported."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    logging.captureWarnings(not verbose)  # to a logger that nobody listens to
    warnings.formatwarning = lambda message, category, *_: f"{category.__name__}: {message}\n"
    if logging.lastResort:  # what prints for loggers without a handler
        logging.lastResort.setLevel(logging.WARNING if verbose else logging.ERROR)


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """For large imports: looking through all of their objects again and again takes a fifth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def deterministic_kernels() -> None:
    """Asks torch for kernels that give the same result every time; apart, because torch loads its compiler for that (2 s)."""
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # NaN in new memory finds errors
    torch.backends.cudnn.benchmark = False
