"""The train set of a run: its rows, vectors and FAISS index, written and read back."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors.numpy import load_file, save_file

from retrieval.encoder import AUTO
from retrieval.errors import load_or_explain
from retrieval.files import use_default_permissions, write_json, write_jsonl
from retrieval.index import RowIndex, load_row_index
from retrieval.run_files import INDEX, INTENTS, RECORD, ROWS, VECTORS
from retrieval.taxonomy import read_train_and_taxonomy
from retrieval.tickets import AS_NAMED, InputProblems
from retrieval.train_set import TrainSet, intents_of

VECTOR_NAMES = ("tickets", "replies", "names")


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What of a run's settings decides what it retrieves."""

    seed: int = 0
    encoder: str = AUTO  # the value of --encoder that loads the run's encoder
    encoder_name: str = ""  # what the run called it
    digest: str = ""  # of its weights; empty where there was no run
    lm_weight: float = 0.0  # of the LM intent scores, which are not loaded with a run's retrieval


def save_train_set(train_set: TrainSet, index: RowIndex, folder: Path) -> None:
    """Writes rows, vectors and index, and the taxonomy, if there is one, without descriptions that did not pass their test."""
    rows = ({("ticket" if key == "text" else key): value for key, value in asdict(row).items()} for row in train_set.rows)
    write_jsonl(folder / ROWS, rows)
    vectors = (train_set.ticket_vectors, train_set.reply_vectors, train_set.name_vectors)
    save_file(dict(zip(VECTOR_NAMES, vectors, strict=True)), folder / VECTORS)
    use_default_permissions(folder / VECTORS)
    index.save(folder / INDEX)
    if train_set.taxonomy:
        write_json(folder / INTENTS, train_set.taxonomy.entries())


def load_train_set(folder: Path, encoder: str) -> tuple[TrainSet, RowIndex]:
    """The train set of a finished run, and its FAISS index; `encoder` is the name of the one that made its vectors.

    Raises:
        InputProblems: the folder is not one that a run wrote.
        ModelUnavailable: the vectors or the index cannot be read.
    """
    intents_file = folder / INTENTS if (folder / INTENTS).is_file() else None
    rows, taxonomy, problems = read_train_and_taxonomy(folder / ROWS, intents_file, columns=AS_NAMED)
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


def load_settings(folder: Path) -> tuple[RunSettings, list[str]]:
    """The settings of the run that wrote a weights folder, and a sentence for every problem."""
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        encoder = record["encoder"]
        weight = float(record["lm_scores"]["weight"]) if "lm_scores" in record else 0.0
        return RunSettings(int(record["settings"]["seed"]), encoder["choice"], encoder["name"], encoder["digest"], weight), []
    except OSError as error:
        problem = f"{path}: cannot be read ({error.strerror}), expected a weights folder that run.py wrote"
    except (ValueError, KeyError, TypeError):
        problem = f"{path}: found something else, expected the record of a finished run.py"
    return RunSettings(), [problem]
