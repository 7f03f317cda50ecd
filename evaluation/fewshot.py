"""python -m evaluation.fewshot: the intent classifier on public few-shot sets, all test rows, no language model.

For each set, trains on NAME_train_K.jsonl and tests on NAME_test.jsonl of a folder, with the label names gated as in a run.
Prints accuracy with and without the reply scorer (sets without replies have none), the calibration error, and, where the
folder has NAME_out_of_scope.jsonl, how many strangers the in_scope_score threshold rejects.

What it does not know: replies, prompts.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from retrieval.encoder import Encoder, SentenceEncoder
from retrieval.intent_classifier import IN_SCOPE_THRESHOLD, IntentClassifier, Weights, fit_classifier, score_in_chunks
from retrieval.label_names import label_names_gate
from retrieval.runtime import configure
from retrieval.tickets import InputProblems, LabelledTicket, read_rows
from retrieval.train_set import embed_train_set

BINS = 10


@dataclass(frozen=True, slots=True)
class Score:
    """One set at one size."""

    name: str
    rows: int
    tests: int
    names_used: bool
    accuracy: float
    calibration_error: float
    kept: float  # share of test rows that are familiar
    rejected: float | None  # share of out-of-scope rows that are not


def read(path: Path, fields: Sequence[str]) -> list[LabelledTicket]:
    """Rows of a public set; those without replies get an empty one.

    Raises:
        InputProblems: the file is bad.
    """
    rows, problems = read_rows(path, fields)
    if problems:
        raise InputProblems(problems)
    return [LabelledTicket(row["id"], row["ticket"], row.get("intent", ""), row.get("ideal_reply", "")) for row in rows]


def score(folder: Path, name: str, shots: int, encoder: Encoder, *, seed: int) -> list[Score]:
    """One set at one size: without the reply scorer, and with it where the set has replies."""
    train = read(folder / f"{name}_train_{shots}.jsonl", ("id", "ticket", "intent"))
    test = read(folder / f"{name}_test.jsonl", ("id", "ticket", "intent"))
    strangers_file = folder / f"{name}_out_of_scope.jsonl"
    strangers = read(strangers_file, ("id", "ticket")) if strangers_file.is_file() else []
    train_set = embed_train_set(train, encoder)
    gate = label_names_gate(train_set, seed=seed)
    weights = {"no replies": Weights(replies=0.0)}
    if all(row.ideal_reply for row in train):
        weights["with replies"] = Weights()
    found = []
    for scorer, weight in weights.items():
        classifier = fit_classifier(train_set, with_names=gate.passed, weights=weight)
        right, confidence, in_scope_score = _votes(classifier, test, encoder)
        rejected = float(np.mean(_votes(classifier, strangers, encoder)[2] < IN_SCOPE_THRESHOLD)) if strangers else None
        kept = float(np.mean(in_scope_score >= IN_SCOPE_THRESHOLD))
        error = calibration_error(confidence, right)
        title = f"{name}, {scorer}" if len(weights) > 1 else name
        found.append(Score(title, len(train), len(test), gate.passed, float(right.mean()), error, kept, rejected))
    return found


def _votes(
    classifier: IntentClassifier, rows: Sequence[LabelledTicket], encoder: Encoder
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """For each row: whether the intent is right, the confidence, the in_scope_score."""
    texts = [row.text for row in rows]
    intent_scores = list(score_in_chunks(classifier, encoder.encode(texts), texts))
    winners = np.concatenate([part.winners for part in intent_scores])
    right = np.array([classifier.train_set.intents[c] == row.intent for c, row in zip(winners, rows, strict=True)])
    return (
        right,
        np.concatenate([part.confidence for part in intent_scores]),
        np.concatenate([part.in_scope_score for part in intent_scores]),
    )


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over ten bins of equal width."""
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs(confidence[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    return float(sum(gaps))


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores the sets and prints a table."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.fewshot", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with NAME_train_K.jsonl and NAME_test.jsonl")
    parser.add_argument("--sets", nargs="+", default=["hwu64", "clinc150"], metavar="NAME", help="default: hwu64 clinc150")
    parser.add_argument("--shots", nargs="+", type=int, default=[5, 10], metavar="K", help="rows per intent (default: 5 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the label-name gate (default: 0)")
    options = parser.parse_args(arguments)
    configure()
    encoder = SentenceEncoder(None)
    table = Table("set", "rows per intent", "train", "test", "names", "accuracy %", "ECE", "kept %", "strangers rejected %")
    try:
        for name in options.sets:
            for shots in options.shots:
                for found in score(options.data, name, shots, encoder, seed=options.seed):
                    rejected = "" if found.rejected is None else f"{100 * found.rejected:.1f}"
                    figures = (
                        f"{100 * found.accuracy:.1f}",
                        f"{found.calibration_error:.3f}",
                        f"{100 * found.kept:.1f}",
                        rejected,
                    )
                    names = "used" if found.names_used else "ignored"
                    table.add_row(found.name, str(shots), str(found.rows), str(found.tests), names, *figures)
    except InputProblems as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return 2
    Console(width=110).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
