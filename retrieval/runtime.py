"""The process's own switches: threads, determinism, quiet libraries. Called once, before any model is loaded.

The number of threads changes the order of float sums, so it is fixed and goes into the record of the run. On CUDA the
workspace variable must stand before CUDA starts.

What it does not know: seeds (they are passed to whoever draws).
"""

import os
import warnings


def settle() -> int:
    """Sets the switches; returns the number of threads."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft|sentence_transformers)\b.*")

    import faiss
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    return threads


def deterministic_kernels() -> None:
    """Asks torch for kernels that give the same result every time; apart, because torch loads its compiler for that (2 s)."""
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
