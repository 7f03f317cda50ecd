"""The language model's part of a weights folder: adapter, its config, the tokenizer.

PEFT keeps `target_modules` in a set and writes it in the order of the process's hash seed; it is sorted here, so that equal
runs write equal bytes. The config names a base that can be loaded again: a hub id with its revision, a folder, or, for a
GGUF file, the converted copy in the cache of this machine; elsewhere, load any base with the digest in `run.json` and put
the adapter on it with `PeftModel`.

What it does not know: the retrieval part (`retrieval.store`) and the record of the run.
"""

import json
from pathlib import Path

from peft import PeftModel

from finetune.base_model import BaseModel
from retrieval.files import share, write_json

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def save_adapter(model: PeftModel, base: BaseModel, folder: Path) -> None:
    """Writes the adapter, its config and the tokenizer."""
    model.save_pretrained(folder, save_embedding_layers=False)
    share(folder / WEIGHTS)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    config |= {"base_model_name_or_path": base.source, "revision": base.revision}
    config["target_modules"] = sorted(config["target_modules"])
    write_json(folder / CONFIG, dict(sorted(config.items())))
    base.tokenizer.save_pretrained(folder)


def remove_adapter(folder: Path) -> None:
    """Takes away what an earlier run left: an adapter beside a record that knows nothing of it misleads."""
    for name in (WEIGHTS, CONFIG):
        (folder / name).unlink(missing_ok=True)
