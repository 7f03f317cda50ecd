"""Which files of a hub repository make a checkpoint, and whether the local hub cache holds them all.

Wanted are safetensors weights and what config, tokenizer and chat template consist of; no pickles, no code, no other formats,
nothing in folders. Where a repository has one weight file and shards, the one file is taken, as transformers does.

A folder in the cache proves nothing: a download that was cut short leaves one as well. It counts as whole when the weights are
there, every shard that the index names, since `hub` fetches the small files first and the weights last.

What it does not know: the network, sizes, time.
"""

import json
from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import Path

from huggingface_hub import constants, try_to_load_from_cache

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARDS = "model-*-of-*.safetensors"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
SMALL = (
    *TOKENIZERS,
    "config.json",
    "generation_config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "chat_template*.json",
    "chat_template*.jinja",
)


def cached(source: str, revision: str | None) -> Path | None:
    """The folder of a checkpoint that lies whole in the local hub cache; asks no network."""
    config = try_to_load_from_cache(source, "config.json", cache_dir=constants.HF_HUB_CACHE, revision=revision)
    if not isinstance(config, str):  # None, or a mark that the repository is known to have none
        return None
    folder = Path(config).parent
    names = {path.name for path in folder.iterdir() if path.is_file()}  # a link to a file that is gone is none
    return None if lacks(names) or not _shards(folder, names) <= names else folder


def lacks(names: Collection[str]) -> str:
    """What a repository or folder with these files lacks to be a checkpoint; empty if nothing."""
    if "config.json" not in names:
        return "config.json"
    if WEIGHTS not in names and INDEX not in names:
        return "weights in safetensors"
    return "" if any(name in names for name in TOKENIZERS) else "tokenizer"


def small(names: Collection[str]) -> list[str]:
    """The files beside the weights."""
    index = [] if WEIGHTS in names or INDEX not in names else [INDEX]
    return index + sorted(name for name in names if any(fnmatchcase(name, pattern) for pattern in SMALL) and "/" not in name)


def weights(names: Collection[str]) -> list[str]:
    """The weight files."""
    if WEIGHTS in names:
        return [WEIGHTS]
    return sorted(name for name in names if fnmatchcase(name, SHARDS) and "/" not in name)


def _shards(folder: Path, names: Collection[str]) -> set[str]:
    """The files that the index names; none where one file holds all weights."""
    if WEIGHTS in names:
        return set()
    try:
        return set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError):
        return {"the files of an index that can be read"}
