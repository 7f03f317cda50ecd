"""Which base models a machine can run, best first, and what may be named as --base-model.

    CUDA, >= 22 GiB free   Qwen2.5-7B-Instruct in bf16
    CUDA, 8 to 22 GiB      the same in 4-bit NF4
    CUDA, < 8 GiB          Qwen2.5-1.5B-Instruct in bf16
    CPU with bf16          Qwen2.5-Coder-1.5B-Instruct in bf16, with two cores, 8 GiB free, and 900 s of time budget
    other CPU              SmolLM2-135M-Instruct

On a GPU Qwen2.5-Coder-1.5B-Instruct and SmolLM2-135M-Instruct come last: they are known models that a package index has, too,
where no hub answers (`retrieval.known_models`). A CPU gets the 1.5B where it fine-tunes 30 rows and answers 50 tickets in less
than ten minutes with it (EXPERIMENTS.md, section 6).
The free memory that the device reports decides, not its name: another program may hold half of a large card. A candidate that
cannot be fetched, loaded or trained makes room for the next (`language_model.fit_language_model`). Imports nothing heavy:
run.py checks its options with it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from retrieval.files import lookup_problem
from retrieval.known_models import QWEN_CODER, SMOLLM, is_hub_choice, known_names

Precision = Literal["fp32", "bf16", "nf4"]

FULL_GIB, QUANTISED_GIB = 22.0, 8.0
EXPECTED = f"expected auto, none, {', '.join(known_names('base'))}, ORG/NAME[@REVISION], a checkpoint folder or a .gguf file"


@dataclass(frozen=True, slots=True)
class BaseCandidate:
    """A base model in a precision."""

    source: str  # a known name, a hub id, a folder or a GGUF file
    revision: str | None  # commit of a hub id, if one is pinned
    precision: Precision | None  # of its frozen weights; None where `base_model` chooses it by the device

    @property
    def label(self) -> str:
        """For messages."""
        return f"{self.source} in {self.precision}" if self.precision else self.source


QWEN_7B = ("Qwen/Qwen2.5-7B-Instruct", "a09a35458c702b33eeacc393d103063234e8bc28")
QWEN_1_5B = ("Qwen/Qwen2.5-1.5B-Instruct", "989aa7980e4cf806f80c7fef2b1adb7bc71aa306")
SMALL = BaseCandidate(SMOLLM.name, None, None)


def candidates(choice: str, free_gpu_gib: float | None, *, fast_cpu: bool = False) -> tuple[BaseCandidate, ...]:
    """The candidates for a value of --base-model, best first.

    Args:
        choice: auto, or a base.
        free_gpu_gib: free memory of the GPU, None without one.
        fast_cpu: whether the processor could fine-tune the 1.5B in minutes (`base_model.cpu_runs_large`).
    """
    if choice == "auto":
        return _automatic(free_gpu_gib, fast_cpu=fast_cpu)
    if choice == SMOLLM.name:
        return (SMALL,)
    source, _, revision = (choice, "", "") if Path(choice).exists() else choice.partition("@")
    precisions: tuple[Precision | None, ...] = (None,) if free_gpu_gib is None else ("bf16", "nf4")
    return tuple(BaseCandidate(source, revision or None, precision) for precision in precisions)


def _automatic(free_gpu_gib: float | None, *, fast_cpu: bool) -> tuple[BaseCandidate, ...]:
    coder = BaseCandidate(QWEN_CODER.name, None, "bf16")
    if free_gpu_gib is None:
        return (coder, SMALL) if fast_cpu else (SMALL,)
    found: tuple[BaseCandidate, ...] = (BaseCandidate(*QWEN_1_5B, "bf16"), coder, SMALL)
    if free_gpu_gib >= QUANTISED_GIB:
        found = (BaseCandidate(*QWEN_7B, "nf4"), *found)
    return (BaseCandidate(*QWEN_7B, "bf16"), *found) if free_gpu_gib >= FULL_GIB else found


def base_problems(choice: str, weights: Path) -> list[str]:
    """What is wrong with the value of --base-model, a sentence each; `weights` is where the run will write."""
    path = Path(choice)
    if choice in ("auto", "none", *known_names("base")):
        return []
    if problem := lookup_problem(path):
        return [_problem(choice, problem)]
    if path.is_dir():
        return _folder_problems(choice, path, weights)
    if choice.endswith(".gguf"):
        return _gguf_problems(choice, path)
    if path.exists():
        return [_problem(choice, "a file that is not .gguf")]
    return [] if is_hub_choice(choice) else [_problem(choice, "no such path, and it is no hub id")]


def _folder_problems(choice: str, folder: Path, weights: Path) -> list[str]:
    if folder.resolve() == weights.resolve():
        return [f"--weights {weights}: found the folder of --base-model, whose files would be replaced, expected another"]
    return [] if (folder / "config.json").is_file() else [_problem(choice, "a folder without config.json")]


def _gguf_problems(choice: str, path: Path) -> list[str]:
    if not path.is_file():
        return [_problem(choice, "no such file")]
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        return [_problem(choice, f"a file that cannot be read ({error.strerror})")]
    return [] if start == b"GGUF" else [_problem(choice, "a file that does not start with GGUF")]


def _problem(choice: str, found: str) -> str:
    return f"--base-model {choice}: found {found}, {EXPECTED}"
