"""What retrieval costs as the train_set grows: `python -m evaluation.scale`.

Each size runs in a process of its own: fit the intent_scores on so many train rows, look up new tickets (intent_scores,
neighbours, exemplars),
look for odd rows. Rows are made, not read: 150 intents, ticket texts of about eleven words drawn from a vocabulary in which few
words are frequent and many are rare (Zipf), and vectors scattered around a centre for each intent as an encoder scatters them.
So nothing is embedded here; what the encoder costs is measured apart, on the same texts, and comes on top for every row.

What it does not know: accuracy (`fewshot`), and the language model, which learns from a bounded subset at any size.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from retrieval.encoder import SentenceEncoder, Vectors
from retrieval.intent_classifier import fit_classifier
from retrieval.label_names import label_names_gate
from retrieval.retrieve import retrieve
from retrieval.runtime import configure
from retrieval.tickets import LabelledTicket, Ticket
from retrieval.train_set import TrainSet, embed_train_set, near_duplicates, unit

INTENTS, WIDTH, VOCABULARY, WORDS = 150, 384, 20_000, 11
NEARNESS = 0.5  # of a row to its intent's centre, a cosine


@dataclass(frozen=True, slots=True)
class Cost:
    """What one size cost.

    Attributes:
        rows: train rows.
        fit_s: names gate, indexes and regression.
        ticket_ms: for each new ticket, retrieval alone.
        odd_rows_s: the search for near-duplicates.
        before_gib: memory before anything was fitted, the rows and vectors in it.
        peak_gib: highest memory of the process.
    """

    rows: int
    fit_s: float
    ticket_ms: float
    odd_rows_s: float
    before_gib: float
    peak_gib: float


class _Scattered:
    """An encoder that knows no words: the next text's vector lies near the centre that is next in line."""

    name = "scattered"

    def __init__(self, intents: Sequence[int], generator: np.random.Generator) -> None:
        self._centres = unit(np.random.default_rng(0).standard_normal((INTENTS, WIDTH)).astype(np.float32))
        self._intents, self._generator = intents, generator

    def encode(self, texts: Sequence[str]) -> Vectors:
        centres = self._centres[np.resize(np.asarray(self._intents), len(texts))]
        noise = unit(self._generator.standard_normal((len(texts), WIDTH)).astype(np.float32))
        return unit(NEARNESS * centres + np.sqrt(1 - NEARNESS**2) * noise)


def made(count: int, *, seed: int) -> tuple[list[str], list[int], _Scattered]:
    """So many texts, the intents they belong to, and the encoder that knows where they lie."""
    generator = np.random.default_rng(seed)
    drawn = np.minimum(generator.zipf(1.3, size=(count, WORDS)), VOCABULARY)
    intents = [i % INTENTS for i in range(count)]
    texts = [" ".join(f"w{word}" for word in row) + f" topic{c}" for row, c in zip(drawn, intents, strict=True)]
    return texts, intents, _Scattered(intents, generator)


def made_train_set(count: int) -> TrainSet:
    """A train_set of so many rows."""
    texts, intents, encoder = made(count, seed=1)
    rows = [
        LabelledTicket(f"t{i}", text, f"topic.{c}", f"Reply {i}.")
        for i, (text, c) in enumerate(zip(texts, intents, strict=True))
    ]
    return embed_train_set(rows, encoder)


def measure(rows: int, tickets: int) -> Cost:
    """One size, in this process."""
    configure()
    train_set = made_train_set(rows)
    texts, _, encoder = made(tickets, seed=2)
    new = [Ticket(f"v{i}", text) for i, text in enumerate(texts)]
    vectors = encoder.encode(texts)
    before, began = _memory_gib(), time.monotonic()
    classifier = fit_classifier(train_set, with_names=label_names_gate(train_set, seed=0).passed)
    fitted = time.monotonic()
    retrieve(classifier, new, vectors)
    found = time.monotonic()
    near_duplicates(train_set)
    ended = time.monotonic()
    return Cost(rows, fitted - began, 1000 * (found - fitted) / tickets, ended - found, before, _memory_gib())


def _memory_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def embedding_ms(texts: int = 500) -> float:
    """Milliseconds that the embedded encoder takes for a text."""
    configure()
    encoder = SentenceEncoder(None)
    made_texts = made(texts, seed=3)[0]
    began = time.monotonic()
    encoder.encode(made_texts)
    return 1000 * (time.monotonic() - began) / texts


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the curve."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.scale", description="What retrieval costs as the train_set grows."
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000], metavar="N", help="sizes to measure")
    parser.add_argument("--tickets", type=int, default=500, metavar="M", help="new tickets to look up (default: 500)")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)  # one size, for the process made for it
    options = parser.parse_args(arguments)
    if min(*options.rows, options.tickets) < 1:
        parser.error("found a count below 1, expected whole numbers from 1 on")
    if options.alone:
        print(*asdict(measure(options.rows[0], options.tickets)).values())
        return 0
    costs = [_in_its_own_process(rows, options.tickets) for rows in options.rows]
    _show(costs, embedding_ms())
    return 0


def _in_its_own_process(rows: int, tickets: int) -> Cost:
    words = ["--alone", "--rows", str(rows), "--tickets", str(tickets)]
    done = subprocess.run([sys.executable, "-m", "evaluation.scale", *words], check=True, stdout=subprocess.PIPE, text=True)
    count, *figures = done.stdout.split()
    return Cost(int(count), *map(float, figures))


def _show(costs: Sequence[Cost], embed_ms: float) -> None:
    table = Table("train rows", "fit s", "per ticket ms", "odd rows s", "GiB with rows", "GiB peak")
    for cost in costs:
        seconds = (f"{cost.fit_s:.1f}", f"{cost.ticket_ms:.1f}", f"{cost.odd_rows_s:.1f}")
        table.add_row(f"{cost.rows:,}", *seconds, f"{cost.before_gib:.2f}", f"{cost.peak_gib:.2f}")
    console = Console()
    console.print(table)
    console.print(f"embedding: {embed_ms:.1f} ms a text, on top; two texts a train row, one a ticket")


if __name__ == "__main__":
    sys.exit(main())
