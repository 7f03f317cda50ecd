"""The train set of a run: its rows, vectors and FAISS index, written and read back."""

from dataclasses import asdict
from pathlib import Path

from safetensors.numpy import load_file, save_file

from retrieval.errors import load_or_explain
from retrieval.files import use_default_permissions, write_jsonl
from retrieval.index import RowIndex, load_row_index
from retrieval.run_files import INDEX, ROWS, VECTORS
from retrieval.tickets import InputProblems, read_train
from retrieval.train_set import TrainSet, intents_of

VECTOR_NAMES = ("tickets", "replies", "names")


def save_train_set(train_set: TrainSet, index: RowIndex, folder: Path) -> None:
    """Writes rows, vectors and index."""
    rows = ({("ticket" if key == "text" else key): value for key, value in asdict(row).items()} for row in train_set.rows)
    write_jsonl(folder / ROWS, rows)
    vectors = (train_set.ticket_vectors, train_set.reply_vectors, train_set.name_vectors)
    save_file(dict(zip(VECTOR_NAMES, vectors, strict=True)), folder / VECTORS)
    use_default_permissions(folder / VECTORS)
    index.save(folder / INDEX)


def load_train_set(folder: Path, encoder: str) -> tuple[TrainSet, RowIndex]:
    """The train set of a finished run, and its FAISS index; `encoder` is the name of the one that made its vectors.

    Raises:
        InputProblems: the folder is not one that a run wrote.
        ModelUnavailable: the vectors or the index cannot be read.
    """
    rows, problems = read_train(folder / ROWS)
    problems += [
        f"{folder / name}: found no such file, expected a weights folder that run.py wrote"
        for name in (VECTORS, INDEX)
        if not (folder / name).is_file()
    ]
    if problems:
        raise InputProblems(problems)
    intents, labels = intents_of(rows)
    vectors = load_or_explain(str(folder / VECTORS), lambda: load_file(folder / VECTORS))
    expected = dict(zip(VECTOR_NAMES, (len(rows), len(rows), len(intents)), strict=True))
    if {name: len(vectors.get(name, ())) for name in VECTOR_NAMES} != expected:
        raise InputProblems([f"{folder}: found {VECTORS} and {ROWS} of different runs, expected a folder as run.py left it"])
    train_set = TrainSet(encoder, rows, intents, labels, *(vectors[name] for name in VECTOR_NAMES))
    return train_set, load_row_index(folder / INDEX, train_set.ticket_vectors, [row.text for row in rows])
