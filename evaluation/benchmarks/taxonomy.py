"""python -m evaluation.benchmarks.taxonomy: thirty rows of all intents, with and without the names of the other intents.

Draws rows from all train rows of a public set, whatever their intents, so that many intents get none, and tests on all test
tickets of the set. Without a taxonomy only the intents of the rows can be predicted; with one, of names alone, all. An intent
without rows might take the tickets of the others, or never be predicted. So the classifier is also tried with a prior for or
against such intents (a constant added to their logits), and without what stands in for their replies.

Columns: macro-F1 and accuracy over all tickets; accuracy on tickets of intents with rows, and on those of intents without
(rowless); the shares of tickets that are predicted to be, and are, of intents without rows.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from sklearn.metrics import f1_score

from evaluation.benchmarks.public_sets import PublicSet, add_set_options, chosen_encoder, load_set
from evaluation.command import count, new_parser, print_table, run_command
from retrieval.intent_classifier import Floats, ScorerOutputs, ScorerWeights, fit_classifier, winners
from retrieval.label_names import label_names_gate
from retrieval.runtime import configure
from retrieval.taxonomy import Taxonomy
from retrieval.train_set import Rows, TrainSet

WITHOUT, WITH = "no taxonomy", "names"
PRIORS = (-1.0, 0.5, 1.0)  # nats, added to the logits of intents without rows
SILENT = "names, nothing for replies"
ACCURACY, F1 = "accuracy %", "macro-F1 %"

Figures = Mapping[str, float]  # by column, in percent


def score_draw(source: PublicSet, rows: int, *, seed: int) -> dict[str, Figures]:
    """The figures of every system on one draw."""
    whole = source.train_set
    drawn = whole.subset(np.sort(np.random.default_rng(seed).permutation(len(whole.rows))[:rows]))
    expected = np.array([whole.intents.index(row.intent) for row in source.tests])
    return {
        system: figures(found, expected, drawn.row_counts > 0)
        for system, found in predictions(source, drawn, seed=seed).items()
    }


def predictions(source: PublicSet, drawn: TrainSet, *, seed: int) -> dict[str, Rows]:
    """For each system (m,) the positions of the predicted intents of m test tickets."""
    known, without_rows = np.flatnonzero(drawn.row_counts), drawn.row_counts == 0
    weights = ScorerWeights() if source.has_replies else ScorerWeights(reply_vote=0.0)
    outputs = scorer_outputs(source, with_names_given(drawn), seed=seed)
    log_p = outputs.log_probabilities(weights)
    silent = replace(outputs, reply_vote=np.where(without_rows, 0.0, outputs.reply_vote))
    of_known = scorer_outputs(source, of_known_intents(drawn), seed=seed).log_probabilities(weights)
    return {
        WITHOUT: known[winners(of_known)],
        WITH: winners(log_p),
        **{f"{WITH}, prior {prior:+g}": winners(log_p + prior * without_rows) for prior in PRIORS},
        **({SILENT: winners(silent.log_probabilities(weights))} if source.has_replies else {}),
    }


def with_names_given(drawn: TrainSet) -> TrainSet:
    """The rows with a taxonomy of all names, without descriptions."""
    return replace(drawn, taxonomy=Taxonomy(dict.fromkeys(drawn.intents, ""), {name: name for name in drawn.intents}))


def of_known_intents(drawn: TrainSet) -> TrainSet:
    """The rows with the intents that they have."""
    known = np.flatnonzero(drawn.row_counts)
    return replace(
        drawn,
        intents=tuple(drawn.intents[c] for c in known),
        labels=np.searchsorted(known, drawn.labels),
        name_vectors=drawn.name_vectors[known],
    )


def scorer_outputs(source: PublicSet, train_set: TrainSet, *, seed: int) -> ScorerOutputs:
    """What the scorers of a run on these rows say about all tests, label names gated as in a run."""
    classifier = fit_classifier(train_set, with_names=label_names_gate(train_set, seed=seed).passed)
    batches = [scores.scorers for _, scores in classifier.batches(source.vectors, [row.text for row in source.tests])]

    def joined(name: str) -> Floats:
        """A scorer's outputs of all batches."""
        return np.concatenate([getattr(batch, name) for batch in batches])

    return ScorerOutputs(joined("regression"), joined("ticket_vote"), joined("reply_vote"), joined("bm25"))


def figures(predicted: Rows, expected: Rows, has_rows: np.ndarray) -> Figures:
    """Figures of m tickets: macro-F1 over all intents that are expected, accuracy, also of either kind of ticket.

    Args:
        predicted: (m,) positions of intents.
        expected: (m,) positions of intents.
        has_rows: (c,) whether an intent has rows.
    """
    right, known = predicted == expected, has_rows[expected]
    f1 = f1_score(expected, predicted, labels=np.unique(expected), average="macro", zero_division=0)
    found = {
        F1: f1,
        ACCURACY: right.mean(),
        "with rows": right[known].mean() if known.any() else np.nan,
        "rowless": right[~known].mean() if not known.all() else np.nan,
        "predicted rowless": (~has_rows[predicted]).mean(),
        "are rowless": (~known).mean(),
    }
    return {column: 100 * float(share) for column, share in found.items()}


def table_lines(name: str, draws: Sequence[Mapping[str, Figures]]) -> list[dict[str, str]]:
    """A line for each system, and one for the paired difference."""
    lines = [
        {
            "set": name,
            "system": system,
            **{column: mean_of([one[system][column] for one in draws]) for column in draws[0][system]},
        }
        for system in draws[0]
    ]
    gains = {column: [one[WITH][column] - one[WITHOUT][column] for one in draws] for column in draws[0][WITH]}
    return [*lines, {"set": name, "system": f"{WITH} minus {WITHOUT}", **{column: mean_of(gains[column]) for column in gains}}]


def mean_of(values: Sequence[float]) -> str:
    """Mean and standard error over draws, of those that have a value."""
    some = np.array(values)[~np.isnan(values)]
    return f"{some.mean():.1f} ± {some.std(ddof=min(1, len(some) - 1)) / np.sqrt(len(some)):.1f}" if len(some) else "-"


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores all systems on all draws and prints a table."""
    parser = new_parser("evaluation.benchmarks.taxonomy", __doc__)
    add_set_options(parser)
    parser.add_argument("--rows", type=count, default=30, help="in a draw (default: 30)")
    parser.add_argument("--draws", type=count, default=20, help="from each set (default: 20)")
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Draws, scores, prints."""
    configure()
    encoder = chosen_encoder(options)
    lines: list[dict[str, str]] = []
    for name in options.sets:
        source = load_set(options.data, name, encoder)
        lines += table_lines(name, [score_draw(source, options.rows, seed=seed) for seed in range(options.draws)])
    print(f"{encoder.name}, {options.rows} rows of all intents, {options.draws} draws from each set, all test tickets")
    print_table(lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
