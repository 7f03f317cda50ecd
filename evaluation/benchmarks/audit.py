"""python -m evaluation.benchmarks.audit: how many wrong labels does the audit find, and how many right ones does it doubt?

Draws train sets from public sets, gives a tenth of the rows the label of another intent of the draw, at random, and compares
rules by which rows are called wrong, all on the same out-of-fold probabilities. The threshold of the label quality is fitted on
all sets but one (F1, all sizes) and tried on the one left out. Labels flipped at random are easier to see than the mistakes of
people, who take an intent for one that is like it.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evaluation.audit.labels import DOUBTFUL, doubtful_rows
from evaluation.benchmarks.public_sets import (
    PublicSet,
    Size,
    add_draw_options,
    add_set_options,
    chosen_encoder,
    draw,
    read_public,
    written_size,
)
from evaluation.command import MissingPackage, new_parser, print_table, run_command, with_error
from retrieval.cross_validation import out_of_fold_log_probabilities
from retrieval.encoder import Encoder
from retrieval.intent_classifier import Floats, ScorerWeights, fit_classifier, winners
from retrieval.label_names import label_names_gate
from retrieval.runtime import configure
from retrieval.train_set import Rows, TrainSet, embed_train_set, intents_of

FLIPPED = 0.1  # share of the rows
GRID = (0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1)  # thresholds of the label quality
Rule = Callable[[TrainSet, Floats], Rows]  # train set and (n, c) out-of-fold log-probabilities -> the rows it calls wrong


@dataclass(frozen=True, slots=True)
class Case:
    """A drawn train set with wrong labels."""

    source: str
    size: Size
    train_set: TrainSet  # with the wrong labels
    log_p: Floats  # (n, c) out-of-fold
    wrong: Rows  # the rows whose label was flipped


@dataclass(frozen=True, slots=True)
class Hits:
    """What a rule found in a draw."""

    found: int
    right: int  # of these
    wanted: int

    @property
    def precision(self) -> float:
        """NaN where nothing was found."""
        return self.right / self.found if self.found else float("nan")

    @property
    def recall(self) -> float:
        """Of the flipped labels."""
        return self.right / self.wanted

    @property
    def f1(self) -> float:
        """Harmonic mean of both."""
        return 2 * self.right / (self.found + self.wanted)


def load(options: argparse.Namespace, name: str, encoder: Encoder) -> PublicSet:
    """The train rows of a set, ten of each intent, without its tests."""
    train_set = embed_train_set(read_public(options.data / f"{name}_train_10.jsonl"), encoder)
    none = train_set.ticket_vectors[:0]
    return PublicSet(name, train_set, (), none, none)


def case(source: PublicSet, size: Size, *, seed: int) -> Case:
    """A draw with flipped labels, and its out-of-fold probabilities."""
    train_set, wrong = with_flipped_labels(draw(source, size, seed=seed).train_set, seed=seed)
    weights = ScorerWeights() if source.has_replies else ScorerWeights(reply_vote=0.0)
    names = label_names_gate(train_set, seed=seed).passed
    log_p = out_of_fold_log_probabilities(fit_classifier(train_set, with_names=names, weights=weights))
    return Case(source.name, size, train_set, log_p, wrong)


def with_flipped_labels(train_set: TrainSet, *, seed: int) -> tuple[TrainSet, Rows]:
    """The train set with a tenth of its labels wrong, and which; an intent that lost its last row is gone."""
    generator = np.random.default_rng([1, seed])
    count, names = len(train_set.rows), train_set.intents
    wrong = np.sort(generator.permutation(count)[: max(1, round(FLIPPED * count))])
    labels = train_set.labels.copy()
    labels[wrong] = (labels[wrong] + generator.integers(1, len(names), len(wrong))) % len(names)
    rows = tuple(replace(row, intent=names[c]) for row, c in zip(train_set.rows, labels, strict=True))
    intents, positions = intents_of(rows)
    vectors = train_set.name_vectors[[names.index(intent) for intent in intents]]
    return replace(train_set, rows=rows, intents=intents, labels=positions, name_vectors=vectors), wrong


def argmax_differs(train_set: TrainSet, log_p: Floats) -> Rows:
    """The naive rule."""
    return np.flatnonzero(winners(log_p) != train_set.labels)


def by_filter(name: str) -> Rule:
    """The rows that one of cleanlab's filters finds.

    Raises:
        MissingPackage: cleanlab is not installed.
    """
    try:
        from cleanlab.filter import find_label_issues
    except ImportError as error:
        raise MissingPackage("the audit", "cleanlab") from error

    def rule(train_set: TrainSet, log_p: Floats) -> Rows:
        """The rows that the filter finds."""
        found: NDArray[np.bool_] = find_label_issues(train_set.labels, np.exp(log_p), filter_by=name, n_jobs=1)
        return np.flatnonzero(found)

    return rule


def below(threshold: float) -> Rule:
    """The rows whose label quality is lower, the only row of an intent left out."""
    return lambda train_set, log_p: doubtful_rows(train_set, log_p, below=threshold)


def hits(rule: Rule, cases: Sequence[Case]) -> list[Hits]:
    """What a rule finds in each draw."""
    found = [(rule(one.train_set, one.log_p), one.wrong) for one in cases]
    return [Hits(len(rows), len(np.intersect1d(rows, wrong)), len(wrong)) for rows, wrong in found]


def fitted(cases: Sequence[Case]) -> float:
    """The threshold of the label quality with the highest mean F1."""
    return max(GRID, key=lambda threshold: round(float(np.mean([one.f1 for one in hits(below(threshold), cases)])), 6))


def rules_for(threshold: float) -> dict[str, Rule]:
    """The rules that are compared."""
    return {
        "argmax differs": argmax_differs,
        "cleanlab's default filter": by_filter("prune_by_noise_rate"),
        "cleanlab's filter low_self_confidence": by_filter("low_self_confidence"),
        f"label quality below {threshold:g} (other sets)": below(threshold),
        f"label quality below {DOUBTFUL:g} (the audit)": below(DOUBTFUL),
    }


def table_line(rule: str, found: Sequence[Hits]) -> Mapping[str, str]:
    """Means over the draws with their standard errors; a draw in which nothing was found has no precision."""
    precisions = [one.precision for one in found if one.found]
    return {
        "rule": rule,
        "precision": with_error(precisions, digits=2, sign="") if precisions else "",
        "recall": with_error([one.recall for one in found], digits=2, sign=""),
        "F1": with_error([one.f1 for one in found], digits=2, sign=""),
        "found in a draw": f"{np.mean([one.found for one in found]):.1f}",
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Flips labels, looks for them, prints a table for each size and set."""
    parser = new_parser("evaluation.benchmarks.audit", __doc__)
    add_set_options(parser)
    add_draw_options(parser, sizes=("15x2", "12x1+6x2+2x3", "15x10"))
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Draws, judges, prints."""
    configure()
    encoder = chosen_encoder(options)
    sources = [load(options, name, encoder) for name in options.sets]
    cases = [case(source, size, seed=seed) for source in sources for size in options.sizes for seed in range(options.draws)]
    for name in options.sets:
        rules = rules_for(fitted([one for one in cases if one.source != name] or cases))
        for size in options.sizes:
            own = [one for one in cases if (one.source, one.size) == (name, size)]
            flipped = f"{len(own[0].wrong)} of {len(own[0].train_set.rows)} labels flipped"
            print(f"{encoder.name}, {name}, {written_size(size)}, {flipped}, {len(own)} draws")
            print_table([table_line(rule, hits(found, own)) for rule, found in rules.items()])
    return 0


if __name__ == "__main__":
    sys.exit(main())
