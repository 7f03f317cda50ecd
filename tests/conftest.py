"""What all tests share: one real run, and threads that sleep while they wait."""

import os

# Set before torch and faiss are loaded, here and in every process that a test starts: threads that spin while they wait starve
# each other where several processes share two cores (a test took 85 s instead of 8).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
from hypothesis import settings

from tests.real_run import RealRun, run_sample

# The same examples every time, however slow the machine is, and nothing is kept between runs.
settings.register_profile("same", derandomize=True, deadline=None, database=None, max_examples=60)
settings.load_profile("same")


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> RealRun:
    """The real run: about a minute, made when the first test asks for it."""
    return run_sample(tmp_path_factory.mktemp("real"))
