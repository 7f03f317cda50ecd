"""python -m evaluation.benchmarks.fewshot: the intent classifier on public few-shot sets, all test rows, no language model.

For each set, trains on NAME_train_K.jsonl and tests on NAME_test.jsonl of a folder, with the label names gated as in a run.
Prints accuracy without the reply vote, and with it where the set has replies, the calibration error (ECE), and, where the
folder has NAME_out_of_scope.jsonl, how many out-of-scope rows the in-scope threshold rejects.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.command import count, new_parser, print_table, run_command
from retrieval.encoder import Encoder, SentenceEncoder
from retrieval.intent_classifier import IN_SCOPE_THRESHOLD, IntentClassifier, ScorerWeights, fit_classifier
from retrieval.label_names import label_names_gate
from retrieval.runtime import configure
from retrieval.tickets import InputProblems, LabelledTicket, read_rows
from retrieval.train_set import embed_train_set

BINS = 10


def read_public(path: Path, fields: Sequence[str] = ("id", "ticket", "intent")) -> list[LabelledTicket]:
    """Rows of a public set, those without replies with an empty one; raises InputProblems if the file is bad."""
    rows, problems = read_rows(path, fields)
    if problems:
        raise InputProblems(problems)
    return [LabelledTicket(row["id"], row["ticket"], row.get("intent", ""), row.get("ideal_reply", "")) for row in rows]


def score_set(folder: Path, name: str, shots: int, encoder: Encoder, *, seed: int) -> list[dict[str, str]]:
    """One set at one size, a line of the table for each choice of scorers."""
    train, test = read_public(folder / f"{name}_train_{shots}.jsonl"), read_public(folder / f"{name}_test.jsonl")
    path = folder / f"{name}_out_of_scope.jsonl"
    outside = read_public(path, ("id", "ticket")) if path.is_file() else []
    train_set = embed_train_set(train, encoder)
    names_used = label_names_gate(train_set, seed=seed).passed
    lines = []
    for reply_vote in (False, True) if all(row.ideal_reply for row in train) else (False,):
        weights = ScorerWeights() if reply_vote else ScorerWeights(reply_vote=0.0)
        classifier = fit_classifier(train_set, with_names=names_used, weights=weights)
        correct, confidence, in_scope = classify(classifier, test, encoder)
        rejected = f"{100 * (1 - classify(classifier, outside, encoder)[2].mean()):.1f}" if outside else ""
        lines.append(
            {
                "set": name,
                "rows per intent": str(shots),
                "train": str(len(train)),
                "test": str(len(test)),
                "label names": "used" if names_used else "ignored",
                "reply vote": "yes" if reply_vote else "no",
                "accuracy %": f"{100 * correct.mean():.1f}",
                "ECE": f"{calibration_error(confidence, correct):.3f}",
                "in scope kept %": f"{100 * in_scope.mean():.1f}",
                "out of scope rejected %": rejected,
            }
        )
    return lines


def classify(
    classifier: IntentClassifier, rows: Sequence[LabelledTicket], encoder: Encoder
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.bool_]]:
    """For each of m rows: whether the predicted intent is correct, its confidence, whether the row is in scope; (m,) each."""
    texts = [row.text for row in rows]
    parts = [scores for _, scores in classifier.batches(encoder.encode(texts), texts)]
    winners, names = np.concatenate([part.winners for part in parts]), classifier.train_set.intents
    correct = np.array([names[c] == row.intent for c, row in zip(winners, rows, strict=True)])
    in_scope = np.concatenate([part.in_scope for part in parts]) >= IN_SCOPE_THRESHOLD
    return correct, np.concatenate([part.confidence for part in parts]), in_scope


def calibration_error(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over ten bins of equal width."""
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs(confidence[bins == b].mean() - correct[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    return float(sum(gaps))


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores the sets and prints a table."""
    parser = new_parser("evaluation.benchmarks.fewshot", __doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with NAME_train_K.jsonl and NAME_test.jsonl")
    parser.add_argument("--sets", nargs="+", default=["hwu64", "clinc150"], metavar="NAME", help="default: hwu64 clinc150")
    parser.add_argument("--shots", nargs="+", type=count, default=[5, 10], metavar="K", help="rows per intent (default: 5 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the label-name gate (default: 0)")
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Scores all sets at all sizes."""
    configure()
    encoder = SentenceEncoder(None)
    sizes = [(name, shots) for name in options.sets for shots in options.shots]
    print_table([line for size in sizes for line in score_set(options.data, *size, encoder, seed=options.seed)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
