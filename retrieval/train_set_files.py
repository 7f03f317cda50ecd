"""The train set of a run: its rows, vectors and FAISS index, written and read back."""

from dataclasses import asdict
from pathlib import Path

from safetensors.numpy import load_file, save

from retrieval.errors import load_or_explain
from retrieval.files import write_bytes, write_json, write_jsonl
from retrieval.index import RowIndex, load_row_index
from retrieval.run_files import INDEX, INTENTS, ROWS, VECTORS, taxonomy_file
from retrieval.taxonomy import read_train_and_taxonomy
from retrieval.tickets import AS_NAMED, InputProblems
from retrieval.train_set import TrainSet, intents_of

VECTOR_NAMES = ("tickets", "replies", "names")


def save_train_set(train_set: TrainSet, index: RowIndex, folder: Path) -> None:
    """Writes rows, vectors and index, and the taxonomy, if there is one, without descriptions that did not pass their test."""
    rows = ({("ticket" if key == "text" else key): value for key, value in asdict(row).items()} for row in train_set.rows)
    write_jsonl(folder / ROWS, rows)
    vectors = (train_set.ticket_vectors, train_set.reply_vectors, train_set.name_vectors)
    write_bytes(folder / VECTORS, save(dict(zip(VECTOR_NAMES, vectors, strict=True))))
    index.save(folder / INDEX)
    if train_set.taxonomy:
        write_json(folder / INTENTS, train_set.taxonomy.entries())


def load_train_set(folder: Path, encoder: str) -> tuple[TrainSet, RowIndex]:
    """The train set of a finished run, and its FAISS index; `encoder` is the name of the one that made its vectors.

    Raises:
        InputProblems: the folder is not one that a run wrote.
        ModelUnavailable: the vectors or the index cannot be read.
    """
    rows, taxonomy, problems = read_train_and_taxonomy(folder / ROWS, taxonomy_file(folder), columns=AS_NAMED)
    problems += [
        f"{folder / name}: found no such file, expected a weights folder that run.py wrote"
        for name in (VECTORS, INDEX)
        if not (folder / name).is_file()
    ]
    if problems:
        raise InputProblems(problems)
    intents, labels = intents_of(rows, taxonomy)
    vectors = load_or_explain(str(folder / VECTORS), lambda: load_file(folder / VECTORS))
    expected = dict(zip(VECTOR_NAMES, (len(rows), len(rows), len(intents)), strict=True))
    if {name: len(vectors.get(name, ())) for name in VECTOR_NAMES} != expected:
        raise InputProblems([f"{folder}: found {VECTORS} and {ROWS} of different runs, expected a folder as run.py left it"])
    tickets, replies, names = (vectors[name] for name in VECTOR_NAMES)
    train_set = TrainSet(encoder, rows, intents, labels, tickets, replies, names, taxonomy)
    return train_set, load_row_index(folder / INDEX, train_set.ticket_vectors, [row.text for row in rows])
