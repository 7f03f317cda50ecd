"""The process's own switches: threads, determinism, quiet libraries. Called once, before any model is loaded.

The number of threads changes the order of float sums, so it is fixed and goes into the record of the run; processes of one run
on one machine share its cores. On CUDA the workspace variable must stand before CUDA starts; TF32 stays off (torch's default
for matrix products, not for cuDNN), and no algorithm is chosen by a race (`benchmark`).

What it does not know: seeds (they are passed to whoever draws).
"""

import logging
import os
import warnings

# A launcher (torchrun, accelerate) numbers its processes; the first speaks and writes.
RANK = int(os.environ.get("RANK", "0")) if os.environ.get("WORLD_SIZE", "1") != "1" else 0


class WorkerLost(Exception):
    """Another process of this run is gone or does not answer; the message is one sentence for the user."""


def configure() -> int:
    """Sets the switches; returns the number of threads."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # on a CPU it misses kernels that only GPUs need
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft|sentence_transformers)\b.*")

    import faiss
    import torch
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(1, threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    return threads


def deterministic_kernels() -> None:
    """Asks torch for kernels that give the same result every time; apart, because torch loads its compiler for that (2 s)."""
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
