"""python -m evaluation.benchmarks.reload: does a finished run that is loaded again answer as the run that trained?

    python -m evaluation.benchmarks.reload --folds ROWS.jsonl [MORE.jsonl] --intents 15 --per-intent 2 --tests 500

Draws a train set and tickets, runs run.py, loads its weights folder and gives it the tickets one at a time in reversed order:
no text shares a batch with another. Counts the differences, and says how far the vectors of tickets move with the texts that
share their batch: 8 and 32 together, or each beside the longest reply.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from evaluation.command import count, new_parser, print_table, run_command
from evaluation.splits import add_split_options, draw, read_labelled
from finetune.support_model import SupportModel
from retrieval.encoder import SentenceEncoder, Vectors
from retrieval.files import write_jsonl
from retrieval.prediction import Prediction
from retrieval.run_files import PREDICTIONS
from retrieval.tickets import LabelledTicket, Ticket

ROOT = Path(__file__).parents[2]
BATCHES = (8, 32)
TEXTS = 64  # tickets that are embedded in batches of several sizes

Explanation = Mapping[str, Any]  # a line of predictions.jsonl


def train_and_load(train: Sequence[LabelledTicket], tickets: Sequence[Ticket], folder: Path, options: Sequence[str]) -> None:
    """Runs run.py on the rows, its files in `folder`."""
    rows = ({"ticket" if key == "text" else key: value for key, value in asdict(row).items()} for row in train)
    write_jsonl(folder / "train.jsonl", rows)
    write_jsonl(folder / "val.jsonl", ({"id": ticket.id, "ticket": ticket.text} for ticket in tickets))
    paths = {"train": "train.jsonl", "val": "val.jsonl", "weights": "weights", "output": "results.json"}
    given = [text for name, path in paths.items() for text in (f"--{name}", str(folder / path))]
    subprocess.run([sys.executable, "run.py", *given, *options, "--quiet"], cwd=ROOT, check=True)


def one_at_a_time(model: SupportModel, tickets: Sequence[Ticket]) -> Iterator[Prediction]:
    """The answers to tickets, each alone."""
    for ticket in tickets:
        yield from model.answer([ticket])


def differences(first: Sequence[Explanation], second: Sequence[Explanation]) -> dict[str, int | float]:
    """How many of the same tickets were answered otherwise, and how far their confidences lie apart at most."""
    pairs = list(zip(first, second, strict=True))
    keys = {"intents": "predicted_intent", "replies": "prediction", "sources": "source", "exemplars": "exemplars"}
    found: dict[str, int | float] = {name: sum(a[key] != b[key] for a, b in pairs) for name, key in keys.items()}
    return found | {"confidence": max(abs(a["confidence"] - b["confidence"]) for a, b in pairs)}


def movements(encoder: SentenceEncoder, texts: Sequence[str], long: str) -> dict[str, float]:
    """How far the vectors of texts move, by the company in which they are embedded; the largest Euclidean distance."""
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    together = {f"{size} together": encoder.encode_in_batches(texts, size) for size in BATCHES}
    together["beside the longest reply"] = np.concatenate([encoder.encode([text, long])[:1] for text in texts])
    return {name: _largest(alone, vectors) for name, vectors in together.items()}


def _largest(one: Vectors, other: Vectors) -> float:
    return float(np.linalg.norm(one - other, axis=1).max())


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the comparison."""
    parser = new_parser("evaluation.benchmarks.reload", __doc__)
    add_split_options(parser)
    parser.add_argument("--base-model", default="none", metavar="BASE", help="as for run.py (default: none)")
    parser.add_argument("--encoder", default="auto", metavar="ENCODER", help="as for run.py (default: auto)")
    parser.add_argument("--seed", type=count, default=1, help="of the draw (default: 1)")
    options = parser.parse_args(arguments)
    return run_command(lambda: compare(options))


def compare(options: argparse.Namespace) -> int:
    """Draws, trains, loads, compares, prints."""
    rows = read_labelled(options.folds, max_reply_words=options.max_reply_words, per_intent=options.per_intent)
    sizes = {"intents": options.intents, "per_intent": options.per_intent, "tests": options.tests}
    train, tests = draw(rows, **sizes, seed=options.seed)
    tickets = [Ticket(row.id, row.text) for row in tests]
    with TemporaryDirectory() as name:
        folder = Path(name)
        train_and_load(train, tickets, folder, ["--base-model", options.base_model, "--encoder", options.encoder])
        lines = (folder / "weights" / PREDICTIONS).read_text(encoding="utf-8").splitlines()
        began = time.monotonic()
        model = SupportModel.load(folder / "weights")
        loaded = time.monotonic()
        again = [found.explanation() for found in one_at_a_time(model, tickets[::-1])][::-1]
        answered = time.monotonic()
    found: dict[str, Any] = {
        "train rows": len(train),
        "tickets": len(tickets),
        "other": differences([json.loads(line) for line in lines], again),
        "seconds to load": round(loaded - began, 1),
        "milliseconds a ticket": round(1000 * (answered - loaded) / len(tickets), 1),
    }
    if isinstance(model.encoder, SentenceEncoder):
        longest = max((row.ideal_reply for row in train), key=len)
        found["vectors move by"] = movements(model.encoder, [ticket.text for ticket in tickets[:TEXTS]], longest)
    print(json.dumps(found))
    print_table(table(found), stderr=True)
    return 0


def table(found: Mapping[str, Any]) -> list[dict[str, str]]:
    """What was measured, a line each."""
    lines = []
    for name, value in found.items():
        parts = {f"{name}: {part}": one for part, one in value.items()} if isinstance(value, dict) else {name: value}
        lines += [{"measured": part, "value": f"{one:.3g}"} for part, one in parts.items()]
    return lines


if __name__ == "__main__":
    sys.exit(main())
