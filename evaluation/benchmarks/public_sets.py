"""The public sets that benchmarks read, and train sets drawn from them.

A folder holds NAME_train_K.jsonl (K rows per intent), NAME_test.jsonl and, where there is one, NAME_out_of_scope.jsonl. The
size of a draw is written `15x2` (15 intents with 2 rows) or `12x1+6x2+2x3` (20 intents, most of them with one row).
"""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from evaluation.command import count
from evaluation.embeddings import CachingEncoder
from retrieval.encoder import Encoder, Vectors, encoder_problems, load_encoder
from retrieval.tickets import InputProblems, LabelledTicket, Ticket, read_rows
from retrieval.train_set import Rows, TrainSet, embed_train_set

SETS = ("hwu64", "clinc150", "bitext")
MAX_TESTS = 300  # in a draw
SIZE = re.compile(r"\d+x\d+(\+\d+x\d+)*")

Size = tuple[tuple[int, int], ...]  # (intents, rows of each of them)


@dataclass(frozen=True, slots=True)
class PublicSet:
    """A public set, embedded once."""

    name: str
    train_set: TrainSet  # all its train rows
    tests: tuple[LabelledTicket, ...]
    vectors: Vectors  # of the tests
    outside: Vectors  # of out-of-scope tickets, none for most sets

    @property
    def has_replies(self) -> bool:
        """Whether the rows have replies."""
        return all(row.ideal_reply for row in self.train_set.rows)


@dataclass(frozen=True, slots=True)
class Draw:
    """A train set drawn from a public set, and m test rows of its intents."""

    train_set: TrainSet
    positions: Rows  # (m,) of the tests in their set
    tests: tuple[LabelledTicket, ...]
    vectors: Vectors  # (m, d) of the tests
    expected: Rows  # (m,) the positions of the tests' intents

    @property
    def tickets(self) -> tuple[Ticket, ...]:
        """The tests as tickets to be answered."""
        return tuple(Ticket(row.id, row.text) for row in self.tests)


def add_set_options(parser: argparse.ArgumentParser, *, sets: Sequence[str] = SETS, required: bool = True) -> None:
    """The options of every benchmark on public sets."""
    parser.add_argument("--data", type=Path, required=required, help="folder with NAME_train_K.jsonl and NAME_test.jsonl")
    names = f"default: {' '.join(sets)}"
    parser.add_argument("--sets", nargs="+", default=list(sets), metavar="NAME", help=names)
    parser.add_argument("--encoder", default="auto", metavar="ENCODER", help="as for run.py (default: auto)")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="folder in which vectors are kept for the next time")


def add_draw_options(parser: argparse.ArgumentParser, *, sizes: Sequence[str]) -> None:
    """The options of benchmarks on draws."""
    default = f"intents x rows of each (default: {' '.join(sizes)})"
    parser.add_argument(
        "--sizes", nargs="+", type=parsed_size, default=list(map(parsed_size, sizes)), metavar="NxK", help=default
    )
    parser.add_argument("--draws", type=count, default=20, help="of each size from each set (default: 20)")


def chosen_encoder(options: argparse.Namespace) -> CachingEncoder:
    """The encoder that the options name.

    Raises:
        InputProblems: there is no such encoder.
        ModelUnavailable: it cannot be loaded.
    """
    if problems := encoder_problems(options.encoder):
        raise InputProblems(problems)
    return CachingEncoder(load_encoder(options.encoder), options.cache)


def parsed_size(text: str) -> Size:
    """`12x1+6x2` -> ((12, 1), (6, 2))."""
    if not SIZE.fullmatch(text) or "0" in re.split(r"[x+]", text):
        raise argparse.ArgumentTypeError(f"found {text}, expected INTENTSxROWS, or several joined by +")
    return tuple((int(a), int(b)) for a, b in (part.split("x") for part in text.split("+")))


def written_size(size: Size) -> str:
    """((12, 1), (6, 2)) -> `12x1+6x2`."""
    return "+".join(f"{intents}x{rows}" for intents, rows in size)


def read_public(path: Path, fields: Sequence[str] = ("id", "ticket", "intent")) -> list[LabelledTicket]:
    """Rows of a public set, those without replies with an empty one; raises InputProblems if the file is bad."""
    rows, problems = read_rows(path, fields)
    if problems:
        raise InputProblems(problems)
    return [LabelledTicket(row["id"], row["ticket"], row.get("intent", ""), row.get("ideal_reply", "")) for row in rows]


def load_set(folder: Path, name: str, encoder: Encoder, *, shots: int = 10) -> PublicSet:
    """Reads and embeds a set with so many train rows per intent; raises InputProblems if a file is bad."""
    train, tests = read_public(folder / f"{name}_train_{shots}.jsonl"), read_public(folder / f"{name}_test.jsonl")
    path = folder / f"{name}_out_of_scope.jsonl"
    outside = read_public(path, ("id", "ticket")) if path.is_file() else []
    return PublicSet(
        name=name,
        train_set=embed_train_set(train, encoder),
        tests=tuple(tests),
        vectors=encoder.encode([row.text for row in tests]),
        outside=encoder.encode([row.text for row in outside]),
    )


def draw(source: PublicSet, size: Size, *, seed: int, tests: int = MAX_TESTS) -> Draw:
    """A train set of a size, and at most so many test rows of its intents."""
    generator, whole = np.random.default_rng(seed), source.train_set
    order = generator.permutation(len(whole.intents))[: sum(intents for intents, _ in size)]
    per_intent = dict(zip(order.tolist(), np.repeat([rows for _, rows in size], [n for n, _ in size]), strict=False))
    chosen = np.sort(order)
    members = [generator.permutation(np.flatnonzero(whole.labels == c))[: per_intent[int(c)]] for c in chosen]
    kept = whole.subset(np.concatenate(members))
    names = tuple(whole.intents[c] for c in chosen)
    small = replace(kept, intents=names, labels=np.searchsorted(chosen, kept.labels), name_vectors=whole.name_vectors[chosen])
    own = np.array([i for i, row in enumerate(source.tests) if row.intent in names], dtype=np.int64)
    return tested_on(source, small, generator.permutation(own)[:tests])


def tested_on(source: PublicSet, train_set: TrainSet, positions: Rows) -> Draw:
    """A draw with these test rows of a set."""
    tests = tuple(source.tests[i] for i in positions)
    expected = np.array([train_set.intents.index(row.intent) for row in tests], dtype=np.int64)
    return Draw(train_set, positions, tests, source.vectors[positions], expected)
