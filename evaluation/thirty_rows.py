"""python -m evaluation.thirty_rows: intents from thirty rows, and what each scorer of the classifier is exemplar_score there.

Draws all_splits of a few intents with a few rows each from public sets, tests on the test rows of these intents, and
compares the
classifier with simpler voters and with itself less one scorer. All methods share the draws, so their differences are much
tighter
than the spread over draws, which comes from which intents were drawn.

What it does not know: hand-made intents of one product, which lie closer together than intents drawn at random.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from evaluation.fewshot import read
from retrieval.encoder import SentenceEncoder, Vectors
from retrieval.exemplars import reply_exemplars
from retrieval.index import ranked
from retrieval.intent_classifier import IntentClassifier, IntentScores, Weights, fit_classifier, winners
from retrieval.label_names import label_names_gate
from retrieval.runtime import configure
from retrieval.tickets import InputProblems, LabelledTicket
from retrieval.train_set import TrainSet, embed_train_set

MOST_TESTS = 300  # per draw


@dataclass(frozen=True, slots=True)
class Source:
    """A public set, embedded once."""

    name: str
    train_set: TrainSet  # of all its train rows
    tests: tuple[LabelledTicket, ...]
    vectors: Vectors  # of the tests
    ideal: Vectors | None  # of the tests' replies, None for a set without replies


@dataclass(frozen=True, slots=True)
class Draw:
    """A small train_set and its test rows."""

    train_set: TrainSet
    texts: tuple[str, ...]
    vectors: Vectors
    ideal: Vectors | None
    expected: NDArray[np.int64]  # the number of the right intent


Method = Callable[[IntentClassifier, IntentClassifier, IntentScores, Draw], NDArray[np.int64]]


def nearest(classifier: IntentClassifier, _: IntentClassifier, intent_scores: IntentScores, __: Draw) -> NDArray[np.int64]:
    """The intent of the nearest ticket."""
    return np.asarray(classifier.train_set.intent_of[np.argmax(intent_scores.ticket_scores, axis=1)])


def five_nearest(classifier: IntentClassifier, _: IntentClassifier, intent_scores: IntentScores, __: Draw) -> NDArray[np.int64]:
    """The most frequent intent among the five nearest tickets; the nearest of them decides a tie."""
    found = []
    for scores in intent_scores.ticket_scores:
        voters = classifier.train_set.intent_of[ranked(scores, 5)]
        found.append(max(voters, key=lambda intent: (int((voters == intent).sum()), -int(np.argmax(voters == intent)))))
    return np.array(found)


def weighted(**weights: float) -> Method:
    """The classifier with these weights in place of its own."""

    def method(_: IntentClassifier, __: IntentClassifier, intent_scores: IntentScores, ___: Draw) -> NDArray[np.int64]:
        return winners(intent_scores.scorers.combined(replace(Weights(), **weights)))

    return method


def without_names(_: IntentClassifier, nameless: IntentClassifier, __: IntentScores, draw: Draw) -> NDArray[np.int64]:
    """The classifier that was fitted without label names."""
    return nameless.score(draw.vectors, draw.texts).winners


METHODS: dict[str, Method] = {
    "5 nearest tickets": five_nearest,
    "nearest ticket": nearest,
    "BM25 alone": weighted(regression=0, neighbours=0, replies=0),
    "regression alone": weighted(neighbours=0, replies=0, lexical=0),
    "neighbour score alone": weighted(regression=0, replies=0, lexical=0),
    "classifier without names": without_names,
    "classifier without regression": weighted(regression=0),
    "classifier without neighbours": weighted(neighbours=0),
    "classifier without replies": weighted(replies=0),
    "classifier without BM25": weighted(lexical=0),
    "classifier": weighted(),
}


def load(folder: Path, name: str, encoder: SentenceEncoder) -> Source:
    """Reads and embeds NAME_train_10.jsonl and NAME_test.jsonl.

    Raises:
        InputProblems: a file is bad.
    """
    train = read(folder / f"{name}_train_10.jsonl", ("id", "ticket", "intent"))
    tests = read(folder / f"{name}_test.jsonl", ("id", "ticket", "intent"))
    vectors = encoder.encode([row.text for row in tests])
    ideal = encoder.encode([row.ideal_reply for row in tests]) if all(row.ideal_reply for row in train) else None
    return Source(name, embed_train_set(train, encoder), tuple(tests), vectors, ideal)


def draw(source: Source, *, intents: int, rows: int, seed: int) -> Draw:
    """So many intents with so many rows each, and test rows of these intents."""
    generator = np.random.default_rng(seed)
    chosen = np.sort(
        generator.choice(len(source.train_set.intents), min(intents, len(source.train_set.intents)), replace=False)
    )
    members = [generator.permutation(np.flatnonzero(source.train_set.intent_of == c))[:rows] for c in chosen]
    kept = source.train_set.keep(np.concatenate(members))
    names = tuple(source.train_set.intents[c] for c in chosen)
    small = replace(
        kept, intents=names, intent_of=np.searchsorted(chosen, kept.intent_of), names=source.train_set.names[chosen]
    )
    tests = [i for i, row in enumerate(source.tests) if row.intent in names]
    tests = [tests[i] for i in generator.permutation(len(tests))[:MOST_TESTS]]
    expected = np.array([names.index(source.tests[i].intent) for i in tests])
    ideal = None if source.ideal is None else source.ideal[tests]
    return Draw(small, tuple(source.tests[i].text for i in tests), source.vectors[tests], ideal, expected)


def accuracies(found: Draw, *, seed: int) -> dict[str, float]:
    """The accuracy of every method on a draw."""
    weights = Weights(replies=0.0) if found.ideal is None else Weights()
    classifier = fit_classifier(
        found.train_set, with_names=label_names_gate(found.train_set, seed=seed).passed, weights=weights
    )
    nameless = fit_classifier(found.train_set, with_names=False, weights=weights)
    intent_scores = classifier.score(found.vectors, found.texts)
    if found.ideal is None:  # a set without replies says nothing through them
        intent_scores = replace(
            intent_scores, scorers=replace(intent_scores.scorers, replies=np.zeros_like(intent_scores.scorers.replies))
        )
    return {
        name: float((method(classifier, nameless, intent_scores, found) == found.expected).mean())
        for name, method in METHODS.items()
    }


def copied_cosines(found: Draw, ideal: Vectors, *, seed: int) -> tuple[float, float]:
    """Mean cosine to the ideal reply of the first exemplar's reply, and of the nearest ticket's."""
    classifier = fit_classifier(found.train_set, with_names=label_names_gate(found.train_set, seed=seed).passed)
    intent_scores = classifier.score(found.vectors, found.texts)
    first = [reply_exemplars(found.train_set, intent_scores, i, count=1)[0] for i in range(len(found.texts))]
    replies = found.train_set.replies
    chosen = (first, np.argmax(intent_scores.ticket_scores, axis=1))
    by_exemplar, by_ticket = (float(np.sum(ideal * replies[rows], axis=1).mean()) for rows in chosen)
    return by_exemplar, by_ticket


def print_table(scores: dict[str, dict[str, list[float]]]) -> None:
    """A line per method: the mean of each set, and over all draws the paired difference to the classifier."""
    table = Table("method", *(f"{name} %" for name in scores), "minus classifier, points")
    for method in METHODS:
        gaps = [100 * (a - b) for found in scores.values() for a, b in zip(found[method], found["classifier"], strict=True)]
        means = (f"{100 * np.mean(found[method]):.1f}" for found in scores.values())
        table.add_row(method, *means, f"{np.mean(gaps):+.1f} ± {np.std(gaps) / np.sqrt(len(gaps)):.1f}")
    Console(width=110).print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores all methods on all draws and prints a table."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.thirty_rows", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with NAME_train_10.jsonl and NAME_test.jsonl")
    parser.add_argument("--sets", nargs="+", default=["hwu64", "clinc150", "bitext"], metavar="NAME", help="default: all three")
    parser.add_argument("--intents", type=int, default=15, help="per draw (default: 15)")
    parser.add_argument("--rows", type=int, default=2, help="per intent (default: 2)")
    parser.add_argument("--draws", type=int, default=20, help="per set (default: 20)")
    options = parser.parse_args(arguments)
    configure()
    encoder = SentenceEncoder(None)
    scores: dict[str, dict[str, list[float]]] = {}
    copied: dict[str, list[tuple[float, float]]] = {}
    try:
        for name in options.sets:
            source = load(options.data, name, encoder)
            found = [draw(source, intents=options.intents, rows=options.rows, seed=seed) for seed in range(options.draws)]
            each = [accuracies(one, seed=seed) for seed, one in enumerate(found)]
            pairs = [copied_cosines(one, one.ideal, seed=seed) for seed, one in enumerate(found) if one.ideal is not None]
            copied |= {name: pairs} if pairs else {}
            scores[name] = {method: [accuracy[method] for accuracy in each] for method in METHODS}
    except InputProblems as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return 2
    print_table(scores)
    for name, pairs in copied.items():
        gaps = [first - nearest for first, nearest in pairs]
        means = "cosine to the ideal reply: first exemplar {:.3f}, nearest ticket {:.3f}".format(*np.mean(pairs, axis=0))
        print(f"copying on {name}, {means}, difference {np.mean(gaps):+.3f} ± {np.std(gaps) / np.sqrt(len(gaps)):.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
