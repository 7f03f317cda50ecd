"""python -m evaluation.benchmarks.scale: what retrieval costs as the train set grows.

Each size runs in a process of its own: fit the classifier on so many train rows, retrieve for new tickets (intents, neighbours,
exemplars), look for near-duplicates. Rows are made, not read: 150 intents, ticket texts of about eleven words drawn from a
vocabulary in which few words are frequent and many are rare (Zipf), and vectors scattered around a centre for each intent as an
encoder scatters them. So nothing is embedded here; the encoder is measured apart, on the same texts, and comes on top.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np

from evaluation.command import count, new_parser, print_table, run_command
from retrieval.encoder import Vectors, load_encoder, unit
from retrieval.intent_classifier import fit_classifier
from retrieval.label_names import label_names_gate
from retrieval.retrieve import retrieve
from retrieval.runtime import configure
from retrieval.tickets import LabelledTicket, Ticket
from retrieval.train_set import TrainSet, embed_train_set, near_duplicates

MODULE = "evaluation.benchmarks.scale"
INTENTS, WIDTH, VOCABULARY, WORDS = 150, 384, 20_000, 11
CENTRE_COSINE = 0.5  # of a row and its intent's centre


class ScatteredEncoder:
    """An encoder that knows no words: the next text's vector lies near the centre that is next in line."""

    name = "scattered"

    def __init__(self, intents: Sequence[int], generator: np.random.Generator) -> None:
        self._centres = unit(np.random.default_rng(0).standard_normal((INTENTS, WIDTH)).astype(np.float32))
        self._intents, self._generator = intents, generator

    def encode(self, texts: Sequence[str]) -> Vectors:
        """`n` texts -> (n, WIDTH) fp32 rows of length 1."""
        centres = self._centres[np.resize(np.asarray(self._intents), len(texts))]
        noise = unit(self._generator.standard_normal((len(texts), WIDTH)).astype(np.float32))
        return unit(CENTRE_COSINE * centres + np.sqrt(1 - CENTRE_COSINE**2) * noise)


def made_texts(rows: int, *, seed: int) -> tuple[list[str], list[int], ScatteredEncoder]:
    """So many texts, the intents they belong to, and the encoder that knows where they lie."""
    generator = np.random.default_rng(seed)
    drawn = np.minimum(generator.zipf(1.3, size=(rows, WORDS)), VOCABULARY)
    intents = [i % INTENTS for i in range(rows)]
    texts = [" ".join(f"w{word}" for word in row) + f" topic{c}" for row, c in zip(drawn, intents, strict=True)]
    return texts, intents, ScatteredEncoder(intents, generator)


def made_train_set(rows: int) -> TrainSet:
    """A train set of so many rows."""
    texts, intents, encoder = made_texts(rows, seed=1)
    pairs = enumerate(zip(texts, intents, strict=True))
    return embed_train_set([LabelledTicket(f"t{i}", text, f"topic.{c}", f"Reply {i}.") for i, (text, c) in pairs], encoder)


def measure(rows: int, tickets: int) -> dict[str, str]:
    """One size, in this process: a line of the table."""
    configure()
    train_set = made_train_set(rows)
    texts, _, encoder = made_texts(tickets, seed=2)
    new, vectors = [Ticket(f"v{i}", text) for i, text in enumerate(texts)], encoder.encode(texts)
    before, began = _memory_gib(), time.monotonic()
    classifier = fit_classifier(train_set, with_names=label_names_gate(train_set, seed=0).passed)
    fitted = time.monotonic()
    retrieve(classifier, new, vectors)
    retrieved = time.monotonic()
    near_duplicates(train_set)
    ended = time.monotonic()
    return {
        "train rows": f"{rows:,}",
        "fit s": f"{fitted - began:.1f}",  # label-name gate, indexes and regression
        "per ticket ms": f"{1000 * (retrieved - fitted) / tickets:.1f}",  # retrieval alone
        "near-duplicates s": f"{ended - retrieved:.1f}",
        "GiB with rows": f"{before:.2f}",  # before anything was fitted, the rows and vectors in it
        "GiB peak": f"{_memory_gib():.2f}",  # of the process
    }


def _memory_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def embedding_ms() -> float:
    """Milliseconds that the default encoder takes for a text."""
    configure()
    encoder, texts = load_encoder(), made_texts(500, seed=3)[0]
    began = time.monotonic()
    encoder.encode(texts)
    return 1000 * (time.monotonic() - began) / len(texts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures every size and prints the table."""
    parser = new_parser(MODULE, __doc__)
    parser.add_argument("--rows", type=count, nargs="+", default=[1_000, 10_000, 100_000], metavar="N", help="sizes to measure")
    parser.add_argument("--tickets", type=count, default=500, metavar="M", help="new tickets to retrieve for (default: 500)")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)  # one size, for the process made for it
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Measures one size here, or each in a process of its own."""
    if options.alone:
        print(json.dumps(measure(options.rows[0], options.tickets)))
        return 0
    print_table([_in_its_own_process(rows, options.tickets) for rows in options.rows])
    print(f"embedding: {embedding_ms():.1f} ms a text, on top; two texts a train row, one a ticket")
    return 0


def _in_its_own_process(rows: int, tickets: int) -> dict[str, str]:
    words = ["--alone", "--rows", str(rows), "--tickets", str(tickets)]
    done = subprocess.run([sys.executable, "-m", MODULE, *words], check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


if __name__ == "__main__":
    sys.exit(main())
