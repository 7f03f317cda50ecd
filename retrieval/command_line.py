"""The options of run.py."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from retrieval.columns import add_columns_option
from retrieval.console import STARTED, Verbosity

MAX_SECONDS = 1e8  # three years


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user asked for, as far as it decides the result."""

    train: Path
    val: Path
    weights: Path
    output: Path
    base_model: str
    encoder: str
    seed: int
    time_budget_s: float
    columns: str = ""
    taxonomy: Path | None = None

    def deadline(self, share: float) -> float:
        """`time.monotonic()` when so much of the time budget is gone, counted from the start of the process."""
        return STARTED + share * self.time_budget_s


def parser() -> argparse.ArgumentParser:
    """The options with their help."""
    found = argparse.ArgumentParser(
        prog="run.py", description="Learns from about thirty labelled support tickets of one product and answers new ones."
    )
    add = found.add_argument
    train_help = "JSONL or CSV with id, ticket, intent, ideal_reply: what to learn from"
    add("--train", type=Path, required=True, metavar="FILE", help=train_help)
    add("--val", type=Path, required=True, metavar="FILE", help="JSONL or CSV with id, ticket: what to answer")
    add_columns_option(found)
    taxonomy_help = "JSON, intent -> description, synonyms: all intents, which can then be predicted without a train row"
    add("--taxonomy", type=Path, metavar="FILE", help=taxonomy_help)
    weights_help = "folder for adapter, index and records; made if missing; files of others in it are left alone"
    add("--weights", type=Path, required=True, metavar="DIR", help=weights_help)
    add("--output", type=Path, required=True, metavar="FILE", help="the result, one JSON object; replaced if it is there")
    base = (
        "language model: auto (the best that fits into memory), ORG/NAME[@REVISION] on a hub, a checkpoint folder, a .gguf file"
    )
    add("--base-model", default="auto", metavar="BASE", help=f"{base}, or none for retrieval alone (default: auto)")
    encoder_help = "all-mpnet-base-v2, all-MiniLM-L6-v2, a sentence-transformers folder, ORG/NAME[@REVISION] on a hub"
    auto = "the first, or the second where it cannot be had"
    add("--encoder", default="auto", metavar="ENCODER", help=f"{encoder_help}, or auto: {auto} (default: auto)")
    add("--seed", type=_seed, default=0, help="the same seed gives the same answers on one machine (default: 0)")
    budget = "seconds from the start of the process; training, measuring and writing end early to keep it (default: 1500)"
    add("--time-budget-s", type=_seconds, default=1500.0, metavar="S", help=budget)
    found.set_defaults(verbosity=Verbosity.NORMAL)
    choose = partial(found.add_mutually_exclusive_group().add_argument, dest="verbosity", action="store_const")
    choose("--quiet", const=Verbosity.QUIET, help="print warnings and errors only")
    more = "also print seconds, memory, where the models lie, the libraries' warnings"
    choose("--verbose", const=Verbosity.VERBOSE, help=more)
    return found


def parse(arguments: Sequence[str] | None) -> tuple[Settings, Verbosity]:
    """The settings, and how much to print; a mistake in the options ends the process with status 2, as argparse does."""
    options = vars(parser().parse_args(arguments))
    verbosity = options.pop("verbosity")
    return Settings(**options), verbosity


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"found {text}, expected a whole number from 0 to 4294967295")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"found {text}, expected a number of seconds above 0, at most {MAX_SECONDS:.0f}")
    return seconds
