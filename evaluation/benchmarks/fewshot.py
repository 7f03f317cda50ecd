"""python -m evaluation.benchmarks.fewshot: the intent classifier on public few-shot sets, all test rows, no language model.

For each set, trains on NAME_train_K.jsonl and tests on NAME_test.jsonl, with the label names gated as in a run. Prints
accuracy (± its binomial standard error) without the reply vote, and with it where the set has replies, the calibration error
(ECE), and, where the folder has NAME_out_of_scope.jsonl, how many out-of-scope rows the in-scope threshold rejects.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluation.benchmarks.public_sets import PublicSet, add_set_options, chosen_encoder, load_set
from evaluation.command import count, new_parser, print_table, run_command
from retrieval.encoder import Vectors
from retrieval.intent_classifier import IntentClassifier, ScorerWeights, fit_classifier
from retrieval.label_names import label_names_gate
from retrieval.runtime import configure

BINS = 10


class Classified(NamedTuple):
    """For each of m tickets."""

    predicted: NDArray[np.int64]
    confidence: NDArray[np.float64]
    in_scope: NDArray[np.bool_]


def score_set(source: PublicSet, *, seed: int) -> list[dict[str, str]]:
    """A set, a line of the table for each choice of scorers."""
    names_used = label_names_gate(source.train_set, seed=seed).passed
    expected = np.array([source.train_set.intents.index(row.intent) for row in source.tests])
    lines = []
    for reply_vote in (False, True) if source.has_replies else (False,):
        weights = ScorerWeights() if reply_vote else ScorerWeights(reply_vote=0.0)
        classifier = fit_classifier(source.train_set, with_names=names_used, weights=weights)
        found = classify(classifier, source.vectors, [row.text for row in source.tests])
        correct = found.predicted == expected
        outside = classify(classifier, source.outside, [""] * len(source.outside)).in_scope
        error = 100 * np.sqrt(correct.mean() * (1 - correct.mean()) / len(correct))
        lines.append(
            {
                "set": source.name,
                "train": str(len(source.train_set.rows)),
                "test": str(len(source.tests)),
                "label names": "used" if names_used else "ignored",
                "reply vote": "yes" if reply_vote else "no",
                "accuracy %": f"{100 * correct.mean():.1f} ± {error:.1f}",
                "ECE": f"{calibration_error(found.confidence, correct):.3f}",
                "in scope kept %": f"{100 * found.in_scope.mean():.1f}",
                "out of scope rejected %": f"{100 * (1 - outside.mean()):.1f}" if len(outside) else "",
            }
        )
    return lines


def classify(classifier: IntentClassifier, vectors: Vectors, texts: Sequence[str]) -> Classified:
    """What the classifier says about m tickets."""
    parts = [scores for _, scores in classifier.batches(vectors, texts)]
    if not parts:
        return Classified(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0, dtype=np.bool_))
    return Classified(
        predicted=np.concatenate([part.winners for part in parts]),
        confidence=np.concatenate([part.confidence for part in parts]),
        in_scope=np.concatenate([part.in_scope for part in parts]) >= classifier.in_scope_threshold,
    )


def calibration_error(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over ten bins of equal width."""
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs(confidence[bins == b].mean() - correct[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    return float(sum(gaps))


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores the sets and prints a table."""
    parser = new_parser("evaluation.benchmarks.fewshot", __doc__)
    add_set_options(parser, sets=("hwu64", "clinc150"))
    parser.add_argument("--shots", nargs="+", type=count, default=[5, 10], metavar="K", help="rows per intent (default: 5 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the label-name gate (default: 0)")
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Scores all sets at all sizes."""
    configure()
    encoder = chosen_encoder(options)
    sources = [load_set(options.data, name, encoder, shots=shots) for name in options.sets for shots in options.shots]
    print_table([line for source in sources for line in score_set(source, seed=options.seed)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
