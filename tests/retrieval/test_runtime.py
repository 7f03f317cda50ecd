"""What the libraries print: errors alone, their own bars never; no garbage collection where it only costs time."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes import save_base
from tests.test_run import ROOT

PROGRAM = """
import atexit, gc, logging, warnings
atexit.register(lambda: print(gc.isenabled(), gc.get_freeze_count() > 100_000))  # after the handlers of configure
from retrieval.runtime import configure
configure(verbose={verbose})
from tqdm.auto import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer
AutoModelForCausalLM.from_pretrained({base!r})
tokenizer = AutoTokenizer.from_pretrained({base!r}, model_max_length=4)
tokenizer("more than a few words for a tokenizer that takes so few of them")
list(tqdm(range(3)))
logging.getLogger("a.library").warning("a logged warning")
warnings.warn("a warning", FutureWarning)
logging.getLogger("a.library").error("an error")
"""

PRODUCTS = """
import psutil
from retrieval.runtime import configure
configure()
import torch
weights = torch.zeros(512, 512, dtype=torch.bfloat16)
def multiply(rows):
    torch.zeros(rows, 512, dtype=torch.bfloat16) @ weights
def memory_after(shapes):
    for rows in shapes:
        multiply(rows)
    return psutil.Process().memory_info().rss / 2**20
before = memory_after(range(1, 200))
print(memory_after(range(200, 1000)) - before)
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"))


def ran(base: Path, *, verbose: bool) -> subprocess.CompletedProcess[str]:
    code = PROGRAM.format(verbose=verbose, base=str(base))
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)


def test_libraries_print_errors_alone_and_no_bars(base: Path) -> None:
    done = ran(base, verbose=False)
    assert done.stderr == "an error\n"
    assert done.stdout == "True True\n", "garbage is collected after the imports, but not all modules' objects at the end"


def test_in_a_verbose_run_they_print_their_warnings_a_line_each_and_still_no_bars(base: Path) -> None:
    lines = ran(base, verbose=True).stderr.splitlines()
    assert lines[-3:] == ["a logged warning", "FutureWarning: a warning", "an error"]
    assert any("Token indices sequence length" in line for line in lines)
    assert not any("%" in line for line in lines), "a bar"


def test_after_some_shapes_of_products_further_ones_need_no_more_memory() -> None:
    done = subprocess.run([sys.executable, "-c", PRODUCTS], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 50, "MiB"
