"""python -m evaluation.benchmarks.thirty_rows: intents from thirty rows, and what each scorer adds there.

Draws train sets of a few intents with a few rows each from public sets, tests on the test rows of these intents, and compares
the classifier with simpler ones and with itself less one scorer. All methods share the draws, so their differences are much
tighter than the spread over draws. Intents drawn at random lie further apart than those of one real product.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from evaluation.benchmarks.fewshot import read_public
from evaluation.command import count, new_parser, print_table, run_command
from retrieval.encoder import Encoder, SentenceEncoder, Vectors
from retrieval.index import ranked
from retrieval.intent_classifier import IntentClassifier, ScorerWeights, fit_classifier, winners
from retrieval.label_names import label_names_gate
from retrieval.retrieve import retrieve
from retrieval.runtime import configure
from retrieval.tickets import LabelledTicket, Ticket
from retrieval.train_set import Rows, TrainSet, embed_train_set

MAX_TESTS = 300  # in a draw
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


@dataclass(frozen=True, slots=True)
class PublicSet:
    """A public set, embedded once."""

    train_set: TrainSet  # all its train rows
    tests: tuple[LabelledTicket, ...]
    vectors: Vectors  # of the tests
    ideal: Vectors | None  # of the tests' replies, None for a set without replies


@dataclass(frozen=True, slots=True)
class Scored:
    """What came out of one draw."""

    accuracy: dict[str, float]  # of each method
    copied: tuple[float, float] | None  # mean cosine to the ideal reply: first exemplar's reply, nearest ticket's reply


def load(folder: Path, name: str, encoder: Encoder) -> PublicSet:
    """Reads and embeds NAME_train_10.jsonl and NAME_test.jsonl."""
    train, tests = read_public(folder / f"{name}_train_10.jsonl"), read_public(folder / f"{name}_test.jsonl")
    ideal = encoder.encode([row.ideal_reply for row in tests]) if all(row.ideal_reply for row in train) else None
    return PublicSet(embed_train_set(train, encoder), tuple(tests), encoder.encode([row.text for row in tests]), ideal)


def draw(source: PublicSet, *, intents: int, rows: int, seed: int) -> tuple[TrainSet, list[int]]:
    """A train set of so many intents with so many rows each, and the positions of test rows of these intents."""
    generator, whole = np.random.default_rng(seed), source.train_set
    chosen = np.sort(generator.choice(len(whole.intents), min(intents, len(whole.intents)), replace=False))
    members = [generator.permutation(np.flatnonzero(whole.labels == c))[:rows] for c in chosen]
    kept = whole.subset(np.concatenate(members))
    names = tuple(whole.intents[c] for c in chosen)
    small = replace(kept, intents=names, labels=np.searchsorted(chosen, kept.labels), name_vectors=whole.name_vectors[chosen])
    tests = [i for i, row in enumerate(source.tests) if row.intent in names]
    return small, [tests[i] for i in generator.permutation(len(tests))[:MAX_TESTS]]


def score_draw(source: PublicSet, *, intents: int, rows: int, seed: int) -> Scored:
    """All methods on one draw."""
    train_set, tests = draw(source, intents=intents, rows=rows, seed=seed)
    vectors, ideal = source.vectors[tests], None if source.ideal is None else source.ideal[tests]
    tickets = [Ticket(source.tests[i].id, source.tests[i].text) for i in tests]
    classifier = fit_classifier(train_set, with_names=label_names_gate(train_set, seed=seed).passed)
    index = classifier.ticket_index
    cosines = index.centred(vectors) @ index.centred(train_set.ticket_vectors).T  # (m, n)
    predicted = predictions(classifier, vectors, [ticket.text for ticket in tickets], cosines, replies=ideal is not None)
    expected = np.array([train_set.intents.index(source.tests[i].intent) for i in tests])
    accuracy = {method: float((found == expected).mean()) for method, found in predicted.items()}
    if ideal is None:
        return Scored(accuracy, None)
    position = {row.id: i for i, row in enumerate(train_set.rows)}
    first = [position[found.exemplars[0].id] for found in retrieve(classifier, tickets, vectors, exemplars=1)]
    chosen = (train_set.reply_vectors[rows] for rows in (first, np.argmax(cosines, axis=1)))
    by_exemplar, by_ticket = (float(np.sum(ideal * replies, axis=1).mean()) for replies in chosen)
    return Scored(accuracy, (by_exemplar, by_ticket))


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


def table_line(method: str, scores: dict[str, list[Scored]]) -> dict[str, str]:
    """The mean of each set, and over all draws the paired difference to the classifier."""
    means = {f"{name} %": f"{100 * np.mean([one.accuracy[method] for one in found]):.1f}" for name, found in scores.items()}
    gaps = [100 * (one.accuracy[method] - one.accuracy[CLASSIFIER]) for found in scores.values() for one in found]
    return {"method": method, **means, "minus classifier, points": with_error(gaps, digits=1)}


def with_error(values: Sequence[float], *, digits: int) -> str:
    """Mean and standard error."""
    return f"{np.mean(values):+.{digits}f} ± {np.std(values) / np.sqrt(len(values)):.{digits}f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores all methods on all draws and prints a table."""
    parser = new_parser("evaluation.benchmarks.thirty_rows", __doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with NAME_train_10.jsonl and NAME_test.jsonl")
    parser.add_argument("--sets", nargs="+", default=["hwu64", "clinc150", "bitext"], metavar="NAME", help="default: all three")
    parser.add_argument("--intents", type=count, default=15, help="in a draw (default: 15)")
    parser.add_argument("--rows", type=count, default=2, help="of each intent (default: 2)")
    parser.add_argument("--draws", type=count, default=20, help="from each set (default: 20)")
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Draws, scores, prints the table and what copying by the exemplar ranking gains."""
    configure()
    encoder, sizes = SentenceEncoder(None), {"intents": options.intents, "rows": options.rows}
    scores: dict[str, list[Scored]] = {}
    for name in options.sets:
        source = load(options.data, name, encoder)
        scores[name] = [score_draw(source, **sizes, seed=seed) for seed in range(options.draws)]
    print_table([table_line(method, scores) for method in next(iter(scores.values()))[0].accuracy])
    for name, found in scores.items():
        if pairs := [one.copied for one in found if one.copied]:
            means = "cosine to the ideal reply: first exemplar {:.3f}, nearest ticket {:.3f}".format(*np.mean(pairs, axis=0))
            print(f"copying on {name}, {means}, difference {with_error([a - b for a, b in pairs], digits=3)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
