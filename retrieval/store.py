"""The retrieval part of a weights folder: rows, vectors, FAISS index. Saved by a run, loaded by whoever looks into one.

    train_set.jsonl         the train rows as they were given
    train_set.safetensors   the vectors of tickets, replies and intent names
    tickets.faiss      the index over the centred ticket vectors

What it does not know: the adapter and the record of the run, which lie beside these.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from retrieval.encoder import guarded
from retrieval.files import share, write_jsonl
from retrieval.index import VectorIndex
from retrieval.tickets import InputProblems, read_train
from retrieval.train_set import TrainSet

ROWS, VECTORS, INDEX, RECORD = "train_set.jsonl", "train_set.safetensors", "tickets.faiss", "run.json"
PARTS = ("tickets", "replies", "names")  # of the vectors


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What of a run's settings decides how its tickets are looked up."""

    encoder: str | None = None  # None: the embedded one
    seed: int = 0


def save_train_set(train_set: TrainSet, index: VectorIndex, folder: Path) -> None:
    """Writes rows, vectors and index."""
    rows = ({("ticket" if key == "text" else key): value for key, value in asdict(row).items()} for row in train_set.rows)
    write_jsonl(folder / ROWS, rows)
    save_file({"tickets": train_set.tickets, "replies": train_set.replies, "names": train_set.names}, folder / VECTORS)
    share(folder / VECTORS)
    index.save(folder / INDEX)


def load_train_set(folder: Path) -> TrainSet:
    """Reads a train_set back.

    Raises:
        InputProblems: the folder is not one that a run wrote.
        ModelUnavailable: the vectors cannot be read.
    """
    rows, problems = read_train(folder / ROWS)
    if not (folder / VECTORS).is_file():
        problems.append(f"{folder / VECTORS}: found no such file, expected a weights folder that run.py wrote")
    if problems:
        raise InputProblems(problems)
    intents = tuple(sorted({row.intent for row in rows}))
    vectors = guarded(str(folder / VECTORS), lambda: load_file(folder / VECTORS))
    if {name: len(vectors.get(name, ())) for name in PARTS} != {
        "tickets": len(rows),
        "replies": len(rows),
        "names": len(intents),
    }:
        raise InputProblems([f"{folder}: found {VECTORS} and {ROWS} of different runs, expected a folder as run.py left it"])
    number = {intent: c for c, intent in enumerate(intents)}
    intent_of = np.array([number[row.intent] for row in rows], dtype=np.int64)
    return TrainSet(rows, intents, intent_of, vectors["tickets"], vectors["replies"], vectors["names"])


def load_settings(folder: Path) -> tuple[RunSettings, list[str]]:
    """The settings of the run that wrote a weights folder, and a sentence for every problem."""
    path = folder / RECORD
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["settings"]
        return RunSettings(found["encoder"], int(found["seed"])), []
    except OSError as error:
        problem = f"{path}: cannot be read ({error.strerror}), expected a weights folder that run.py wrote"
    except (ValueError, KeyError, TypeError):
        problem = f"{path}: found something else, expected the record that run.py wrote"
    return RunSettings(), [problem]
