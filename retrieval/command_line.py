"""The options of run.py."""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from retrieval import __version__
from retrieval.columns import add_columns_option
from retrieval.console import STARTED, Verbosity
from retrieval.defaults_file import FILE, FLAG, name_or_path, parse_with_defaults
from retrieval.known_models import known_names
from retrieval.run_files import PROGRAM

DEFAULTS = Path(__file__).parents[1] / FILE  # beside run.py
MAX_SECONDS = 1e8  # three years
TRAINING_ONLY = ("taxonomy", "base_model", "encoder", "seed", "remote_model", "remote_budget_usd")  # a finished run has its own


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user asked for, as far as it decides the result."""

    train: Path | None  # None: the run in the weights folder answers
    val: Path
    weights: Path
    output: Path
    base_model: str
    encoder: str
    seed: int
    time_budget_s: float
    columns: str = ""
    taxonomy: Path | None = None
    remote_model: str = "none"
    remote_budget_usd: float = 1.0
    origins: Mapping[str, str] = field(default_factory=dict, kw_only=True, compare=False)  # flag, defaults.toml or built in

    def deadline(self, share: float) -> float:
        """`time.monotonic()` when so much of the time budget is gone, counted from the start of the process."""
        return STARTED + share * self.time_budget_s

    def record(self) -> dict[str, Any]:
        """What run.json says about the settings and about where each came from."""
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "origins"}
        settings = {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
        return {"settings": settings, "settings_from": dict(self.origins)}


def parser() -> argparse.ArgumentParser:
    """The options with their help."""
    found = argparse.ArgumentParser(
        prog="run.py", description="Learns from about thirty labelled support tickets of one product and answers new ones."
    )
    add = found.add_argument
    add("--version", action="version", version=f"{PROGRAM} {__version__}")
    train_help = "JSONL or CSV with id, ticket, intent, ideal_reply: what to learn from"
    without = f"without it the run in --weights answers, with its own {_flags(TRAINING_ONLY)}"
    add("--train", type=Path, metavar="FILE", help=f"{train_help}; {without}")
    add("--val", type=Path, required=True, metavar="FILE", help="JSONL or CSV with id, ticket: what to answer")
    add_columns_option(found)
    taxonomy_help = "JSON, intent -> description, synonyms: all intents, which can then be predicted without a train row"
    add("--taxonomy", type=Path, metavar="FILE", help=taxonomy_help)
    weights_help = "folder for adapter, index and records; made if missing; a run in it is replaced by --train when all of the "
    weights_help += "new one is there, files of others in it are left alone"
    add("--weights", type=Path, required=True, metavar="DIR", help=weights_help)
    add("--output", type=Path, required=True, metavar="FILE", help="the result, one JSON object; replaced if it is there")
    known = ", ".join(known_names("base"))
    base = f"language model: auto (the best that fits into memory), {known}, ORG/NAME[@REVISION] on a hub, "
    base += "a checkpoint folder, a .gguf file"
    add_model = partial(add, type=name_or_path, default="auto")
    add_model("--base-model", metavar="BASE", help=f"{base}, or none for retrieval alone (default: auto)")
    encoder_help = "all-mpnet-base-v2, all-MiniLM-L6-v2, a sentence-transformers folder, ORG/NAME[@REVISION] on a hub"
    auto = "the first, or the second where it cannot be had"
    add_model("--encoder", metavar="ENCODER", help=f"{encoder_help}, or auto: {auto} (default: auto)")
    add("--seed", type=_seed, default=0, help="the same seed gives the same answers on one machine (default: 0)")
    budget = "seconds from the start of the process; training, measuring and writing end early to keep it (default: 1500)"
    add("--time-budget-s", type=_seconds, default=1500.0, metavar="S", help=budget)
    remote = (
        "a model at OPENAI_BASE_URL (key: OPENAI_API_KEY) that scores intents and writes replies where train rows show a gain"
    )
    add("--remote-model", default="none", metavar="MODEL", help=f"{remote}; gets train rows and tickets (default: none)")
    add("--remote-budget-usd", type=_dollars, default=1.0, metavar="USD", help="what it may cost (default: 1.00)")
    levels = found.add_mutually_exclusive_group()
    choose = partial(levels.add_argument, dest="verbosity", action="store_const", default=Verbosity.NORMAL)
    choose("--quiet", const=Verbosity.QUIET, help="print warnings and errors only")
    more = "also print seconds, memory, where the models lie, the libraries' warnings"
    choose("--verbose", const=Verbosity.VERBOSE, help=more)
    return found


def parse(arguments: Sequence[str] | None, *, defaults: Path | None = None) -> tuple[Settings, Verbosity]:
    """The settings, and how much to print; `defaults` is the file beside run.py, unless another is named.

    A mistake in the options, or in the file, ends the process with status 2, as argparse does.
    """
    found = parse_with_defaults(parser, arguments, defaults or DEFAULTS)
    verbosity = found.options.pop("verbosity")
    return Settings(**found.options, origins={name: found.origins[name] for name in found.options}), verbosity


def training_only_problems(settings: Settings) -> list[str]:
    """A sentence about flags that only training obeys, where nothing is trained; defaults.toml may set them all the same."""
    given = [name for name in TRAINING_ONLY if settings.origins.get(name) == FLAG]
    if not given:
        return []
    cure = f"leave it out, for the run in {settings.weights} keeps its own, or name --train"
    return [f"{_flags(given)}: found without --train, expected with it: {cure}"]


def _flags(names: Sequence[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"found {text}, expected a whole number from 0 to 4294967295")
    return int(text)


def _dollars(text: str) -> float:
    try:
        dollars = float(text)
    except ValueError:
        dollars = 0.0
    if not 0 < dollars < math.inf:
        raise argparse.ArgumentTypeError(f"found {text}, expected a number of US dollars above 0")
    return dollars


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"found {text}, expected a number of seconds above 0, at most {MAX_SECONDS:.0f}")
    return seconds
