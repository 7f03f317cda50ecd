"""Which files make a model: what is fetched of a repository or an archive, and whether a folder has all of it.

Weights in safetensors (or one GGUF file) and small text files: no pickles, no code, no other formats of the same weights.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

WEIGHTS, INDEX, SHARDS = "model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
CONFIGS = ("config.json", "generation_config.json", "tokenizer*.json", "special_tokens_map.json", "added_tokens.json")
FILES = (WEIGHTS, INDEX, SHARDS, *TOKENIZERS, *CONFIGS, "merges.txt", "chat_template*.json", "chat_template*.jinja")
MODULES = "modules.json"  # what a sentence-transformers model consists of, in order
ENCODER_FILES = (*FILES, MODULES, "config_sentence_transformers.json", "sentence_*_config.json")
MODULE_FOLDERS = "[0-9]*_*"  # 1_Pooling, 2_Dense; in old repositories 0_Transformer


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of one kind of model; a `*` in a pattern never matches a slash."""

    entries: tuple[str, ...]  # files of which one must be there
    patterns: tuple[str, ...]  # all files that are wanted

    def wants(self, name: str) -> bool:
        """Whether a file with this path belongs to the model."""
        return any(_matches(name, pattern) for pattern in self.patterns)

    def lack(self, names: Collection[str]) -> str:
        """What a repository with these files lacks to be such a model; empty if nothing."""
        found = {name for name in names if self.wants(name)}
        if found.isdisjoint(self.entries):
            return " or ".join(self.entries)
        if self.patterns == self.entries:  # a single file
            return ""
        kinds = {name.rpartition("/")[2] for name in found}
        if kinds.isdisjoint((WEIGHTS, INDEX)):
            return "weights in safetensors"
        return "tokenizer" if kinds.isdisjoint(TOKENIZERS) else ""

    def is_whole(self, folder: Path) -> bool:
        """Whether a folder has all files of the model; a link to a file that is gone is none."""
        names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        wanted = {name for name in names if self.wants(name)}
        try:
            return not self.lack(wanted) and wanted.issuperset(_named_shards(folder, wanted)) and _has_modules(folder, wanted)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # JSON that is none, or of another shape
            return False


CHECKPOINT = Layout(("config.json",), FILES)
ENCODER = Layout((MODULES, "config.json"), (*ENCODER_FILES, *(f"{MODULE_FOLDERS}/{name}" for name in ENCODER_FILES)))


def single_file(name: str) -> Layout:
    """The layout of a model in one file."""
    return Layout((name,), (name,))


def _matches(name: str, pattern: str) -> bool:
    names, patterns = name.split("/"), pattern.split("/")
    return len(names) == len(patterns) and all(map(fnmatchcase, names, patterns))


def _named_shards(folder: Path, names: Collection[str]) -> set[str]:
    """The weight files that the indexes name, where no single file holds all weights."""
    places = {name.removesuffix(INDEX) for name in names if name.endswith(INDEX)}
    shards = set[str]()
    for place in places:
        if place + WEIGHTS not in names:
            weight_map = json.loads((folder / (place + INDEX)).read_text(encoding="utf-8"))["weight_map"]
            shards.update(place + shard for shard in weight_map.values())
    return shards


def _has_modules(folder: Path, names: Collection[str]) -> bool:
    """Whether every module of a sentence-transformers model has its files; one that normalises has none."""
    if MODULES not in names:
        return True
    for module in json.loads((folder / MODULES).read_text(encoding="utf-8")):
        place, kind = module["path"], module["type"].rpartition(".")[2]
        needed = f"{place}/{WEIGHTS}" if kind == "Dense" else f"{place}/"
        if place and kind != "Normalize" and not any(name.startswith(needed) for name in names):
            return False
    return True
