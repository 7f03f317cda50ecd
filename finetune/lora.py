"""LoRA adapters on a base model: attached, scaled, taken away, saved.

One PEFT model carries the `final` adapter and, one after the other, the adapters of the folds: a second `get_peft_model` would
wrap the first one. The seed is set before an adapter is made, so `lora_A` is the same every time.

An adapter on a base in bf16 is in bf16, too: with one in fp32, PEFT casts all that goes through a layer there and back, and a
training step takes up to a third longer (EXPERIMENTS.md, section 10). On a base in NF4 it is in fp32.

PEFT keeps `target_modules` in a set and writes it in the order of the process's hash seed; it is sorted here, so that equal
runs write equal bytes. The scale goes into `lora_alpha`: PEFT's own ways of scaling are lost on saving. The config names a base
that can be loaded again: a hub id with its revision, a folder, or, for a GGUF file, the converted copy in the cache of this
machine; elsewhere, load any base with the digest in `run.json` and put the adapter on it with `PeftModel`.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch.nn import Module
from transformers import set_seed

from finetune.base_model import BaseModel
from finetune.distributed import SINGLE_PROCESS, Processes
from finetune.memory import memory_guard
from retrieval.errors import ModelUnavailable, load_or_explain
from retrieval.files import use_default_permissions, write_by, write_json
from retrieval.run_files import ADAPTER_FILES

LORA_R = 16
LORA_ALPHA = 32
FINAL = "final"
ADAPTER, CONFIG = "adapter_model.safetensors", "adapter_config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"


def _config() -> LoraConfig:
    return LoraConfig(r=LORA_R, lora_alpha=LORA_ALPHA, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")


def attach(base: BaseModel, *, seed: int) -> PeftModel:
    """Puts the fresh `final` adapter on the base."""
    set_seed(seed)
    return get_peft_model(base.model, _config(), adapter_name=FINAL, autocast_adapter_dtype=False)


@contextmanager
def fold_adapter(model: PeftModel, name: str, *, seed: int, processes: Processes = SINGLE_PROCESS) -> Iterator[None]:
    """A further fresh adapter, active for as long as the block lasts; afterwards the final one is active again.

    Raises:
        OutOfMemory: it does not fit, in any of the processes.
    """
    set_seed(seed)
    try:
        with memory_guard("the adapter of a fold", processes):
            model.add_adapter(name, _config(), autocast_adapter_dtype=False)
            model.set_adapter(name)
        yield
    finally:
        model.set_adapter(FINAL)
        model.peft_config.pop(name, None)
        for layer in lora_layers(model):  # one by one: an adapter that was made for some layers only is taken away, too
            layer.delete_adapter(name)


@contextmanager
def temporary_adapter(base: BaseModel, *, seed: int) -> Iterator[PeftModel]:
    """A fresh adapter for as long as the block lasts; afterwards the base is as it was."""
    model = attach(base, seed=seed)
    try:
        yield model
    finally:
        model.unload()


@contextmanager
def without_adapter(model: Module) -> Iterator[None]:
    """The bare base for as long as the block lasts, whether or not an adapter is on it."""
    with model.disable_adapter() if isinstance(model, PeftModel) else nullcontext():
        yield


def set_scale(model: PeftModel, scale: float) -> None:
    """Lets the active adapter count for so much of what it learned; 0 is the base."""
    for layer in lora_layers(model):
        for name in layer.active_adapters:
            layer.set_scale(name, scale)


def lora_layers(model: PeftModel) -> list[LoraLayer]:
    """The layers that carry adapters."""
    return [module for module in model.modules() if isinstance(module, LoraLayer)]


def save_adapter(model: PeftModel, base: BaseModel, folder: Path, *, scale: float = 1.0) -> None:
    """Writes the final adapter, its config and the tokenizer into an existing folder."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        write_by(partial(model.save_pretrained, name, save_embedding_layers=False, selected_adapters=[FINAL]), Path(name))
        made = Path(name) / FINAL
        write_by(partial(base.tokenizer.save_pretrained, made), made)
        config = json.loads((made / CONFIG).read_text(encoding="utf-8"))
        config |= {"base_model_name_or_path": base.path, "revision": base.commit}
        config["lora_alpha"] = round(LORA_ALPHA * scale)
        config["target_modules"] = sorted(config["target_modules"])
        write_json(made / CONFIG, dict(sorted(config.items())))
        _forget_how_it_was_loaded(made / TOKENIZER_CONFIG)
        for file in ADAPTER_FILES:  # not PEFT's empty model card, nor a tokenizer's folder of further templates
            if (made / file).is_file():
                (made / file).replace(folder / file)
                use_default_permissions(folder / file)


def load_adapter(base: BaseModel, folder: Path, *, scale: float) -> PeftModel:
    """Puts the final adapter of a finished run on the base that it was trained on; `scale` is that of the run.

    Raises:
        ModelUnavailable: the file cannot be read, or it holds an adapter of another base.
    """
    path = folder / ADAPTER
    weights = load_or_explain(f"the adapter {path}", lambda: load_file(path))
    model = load_or_explain(f"the adapter {path}", lambda: attach(base, seed=0))
    fresh = get_peft_model_state_dict(model, adapter_name=FINAL, save_embedding_layers=False)
    if {name: weight.shape for name, weight in weights.items()} != {name: weight.shape for name, weight in fresh.items()}:
        model.unload()
        raise ModelUnavailable(f"the adapter {path} is that of another base than {base.name}: train again")
    load_or_explain(f"the adapter {path}", lambda: set_peft_model_state_dict(model, weights, adapter_name=FINAL))
    set_scale(model, scale)
    return model


def _forget_how_it_was_loaded(path: Path) -> None:
    """Takes out what transformers notes about this machine: an adapter on a hub must not ask for local files only."""
    config = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {key: value for key, value in config.items() if key not in ("is_local", "local_files_only")})
