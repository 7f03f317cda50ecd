"""The process's own switches: threads, determinism, quiet libraries. Called once, before any model is loaded.

The number of threads changes the order of float sums, so it is fixed and goes into the record of the run; processes of one run
on one machine share its cores. Waiting threads sleep instead of spinning: where another program holds a core, spinning threads
made a run ten times slower. On CUDA the workspace variable must stand before CUDA starts; TF32 stays off (torch's default
for matrix products, not for cuDNN), and no algorithm is chosen by a race (`benchmark`).
"""

import logging
import os
import warnings

# A launcher (torchrun, accelerate) numbers its processes; the first prints and writes.
PROCESS_INDEX = int(os.environ.get("RANK", "0")) if os.environ.get("WORLD_SIZE", "1") != "1" else 0


class WorkerLost(Exception):
    """Another process of this run is gone or does not answer; the message is one sentence for the user."""


def configure() -> int:
    """Sets the switches; returns the number of threads."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch and faiss load their OpenMP
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
    # This build multiplies matrices only from 128,000 queries on; from 20 on it takes a tenth of the time at 100,000 rows.
    faiss.cvar.distance_compute_blas_threshold, faiss.cvar.distance_compute_blas_database_bs = 20, 4096
    return threads


def deterministic_kernels() -> None:
    """Asks torch for kernels that give the same result every time; apart, because torch loads its compiler for that (2 s)."""
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
