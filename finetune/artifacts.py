"""The language model's part of a weights folder: adapter, its config, the tokenizer.

PEFT keeps `target_modules` in a set and writes it in the order of the process's hash seed; it is sorted here, so that equal
runs write equal bytes. The scale goes into `lora_alpha`: PEFT's own ways of scaling are lost on saving. The config names a base
that can be loaded again: a hub id with its revision, a folder, or, for a GGUF file, the converted copy in the cache of this
machine; elsewhere, load any base with the digest in `run.json` and put the adapter on it with `PeftModel`.

What it does not know: the retrieval part (`retrieval.store`) and the record of the run.
"""

import json
import tempfile
from pathlib import Path

from peft import PeftModel

from finetune.base_model import BaseModel
from finetune.lora import ALPHA
from retrieval.files import share, write_json

CONFIG = "adapter_config.json"


def save_adapter(model: PeftModel, base: BaseModel, folder: Path, *, scale: float = 1.0) -> None:
    """Writes the adapter, its config and the tokenizer; PEFT's empty model card stays out of a folder that may hold another."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".adapter-") as name:
        made = Path(name)
        model.save_pretrained(made, save_embedding_layers=False)
        base.tokenizer.save_pretrained(made)
        (made / "README.md").unlink(missing_ok=True)
        config = json.loads((made / CONFIG).read_text(encoding="utf-8"))
        config |= {"base_model_name_or_path": base.source, "revision": base.revision}
        config["lora_alpha"] = round(ALPHA * scale)
        config["target_modules"] = sorted(config["target_modules"])
        write_json(made / CONFIG, dict(sorted(config.items())))
        for path in sorted(made.iterdir()):
            share(path)
            path.replace(folder / path.name)
