"""Tiny models and regressions are fastest on one thread, and a collection of garbage need not walk through torch each time."""

import gc
from collections.abc import Iterator

import pytest
import torch
from threadpoolctl import threadpool_limits


@pytest.fixture(scope="session", autouse=True)
def tiny_models_run_fast() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze()
    with threadpool_limits(1):
        yield
    gc.unfreeze()
    torch.set_num_threads(threads)
