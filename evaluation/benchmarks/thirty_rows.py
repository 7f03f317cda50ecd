"""python -m evaluation.benchmarks.thirty_rows: intents from thirty rows, and what each scorer adds there.

Draws train sets of a few intents with a few rows each from public sets, tests on the test rows of these intents, and compares
the classifier with simpler ones and with itself less one scorer. All methods share the draws, so their differences are much
tighter than the spread over draws. Intents drawn at random lie further apart than those of one real product.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from evaluation.benchmarks.public_sets import (
    PublicSet,
    Size,
    add_draw_options,
    add_set_options,
    chosen_encoder,
    draw,
    load_set,
    written_size,
)
from evaluation.command import new_parser, print_table, run_command, with_error
from retrieval.encoder import Vectors
from retrieval.index import ranked
from retrieval.intent_classifier import IntentClassifier, ScorerWeights, fit_classifier, winners
from retrieval.label_names import label_names_gate
from retrieval.runtime import configure
from retrieval.train_set import Rows

CLASSIFIER = "classifier"
WEIGHTS = {
    "BM25 alone": ScorerWeights(regression=0, ticket_vote=0, reply_vote=0),
    "regression alone": ScorerWeights(ticket_vote=0, reply_vote=0, bm25=0),
    "ticket vote alone": ScorerWeights(regression=0, reply_vote=0, bm25=0),
    "classifier without regression": ScorerWeights(regression=0),
    "classifier without ticket vote": ScorerWeights(ticket_vote=0),
    "classifier without reply vote": ScorerWeights(reply_vote=0),
    "classifier without BM25": ScorerWeights(bm25=0),
    CLASSIFIER: ScorerWeights(),
}


def score_draw(source: PublicSet, size: Size, *, seed: int) -> dict[str, float]:
    """The accuracy of every method on one draw."""
    drawn = draw(source, size, seed=seed)
    train_set, vectors = drawn.train_set, drawn.vectors
    classifier = fit_classifier(train_set, with_names=label_names_gate(train_set, seed=seed).passed)
    index = classifier.ticket_index
    cosines = index.centred(vectors) @ index.centred(train_set.ticket_vectors).T  # (m, n)
    predicted = predictions(classifier, vectors, [row.text for row in drawn.tests], cosines, replies=source.has_replies)
    return {method: float((found == drawn.expected).mean()) for method, found in predicted.items()}


def predictions(
    classifier: IntentClassifier, vectors: Vectors, texts: Sequence[str], cosines: Vectors, *, replies: bool
) -> dict[str, Rows]:
    """For each method the positions of the predicted intents of m test tickets; without `replies` the reply vote is silent."""
    train_set, scorers = classifier.train_set, classifier.score(vectors, texts).scorers
    weights = ScorerWeights() if replies else ScorerWeights(reply_vote=0.0)
    scorers = scorers if replies else replace(scorers, reply_vote=np.zeros_like(scorers.reply_vote))
    nameless = fit_classifier(train_set, with_names=False, weights=weights)
    weighted = {method: winners(scorers.log_probabilities(chosen)) for method, chosen in WEIGHTS.items()}
    return {
        "5 nearest tickets": np.array([most_frequent(train_set.labels[ranked(row, 5)]) for row in cosines]),
        "nearest ticket": train_set.labels[np.argmax(cosines, axis=1)],
        "classifier without label names": nameless.score(vectors, texts).winners,
        **weighted,
    }


def most_frequent(intents: Rows) -> int:
    """The most frequent of the intents of near rows; the nearest row decides a tie."""
    return int(max(intents, key=lambda intent: (int((intents == intent).sum()), -int(np.argmax(intents == intent)))))


def table_line(method: str, scores: dict[str, list[dict[str, float]]]) -> dict[str, str]:
    """The mean of each set, and over all draws the paired difference to the classifier."""
    means = {f"{name} %": f"{100 * np.mean([one[method] for one in found]):.1f}" for name, found in scores.items()}
    gaps = [100 * (one[method] - one[CLASSIFIER]) for found in scores.values() for one in found]
    return {"method": method, **means, "minus classifier, points": with_error(gaps, digits=1)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores all methods on all draws and prints a table for each size."""
    parser = new_parser("evaluation.benchmarks.thirty_rows", __doc__)
    add_set_options(parser)
    add_draw_options(parser, sizes=("15x2", "25x1", "12x1+6x2+2x3"))
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Draws, scores, prints."""
    configure()
    encoder = chosen_encoder(options)
    sources = [load_set(options.data, name, encoder) for name in options.sets]
    for size in options.sizes:
        seeds = range(options.draws)
        scores = {source.name: [score_draw(source, size, seed=seed) for seed in seeds] for source in sources}
        print(f"{encoder.name}, {written_size(size)}, {options.draws} draws from each set")
        print_table([table_line(method, scores) for method in next(iter(scores.values()))[0]])
    return 0


if __name__ == "__main__":
    sys.exit(main())
