"""python -m evaluation.benchmarks.scorer_weights: would other weights of the scorers be better for an encoder?

Keeps what the four scorers say about the test rows of many draws, and of the published splits, and fits the weights by the
cross-entropy of the right intent: a conditional logit on all sets but one, tried on the set that was left out. Every cell
counts the same in the fit, so large splits do not outvote thirty-row draws. Sets without replies leave the reply vote alone.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from evaluation.benchmarks.fewshot import calibration_error
from evaluation.benchmarks.public_sets import (
    Draw,
    PublicSet,
    add_draw_options,
    add_set_options,
    chosen_encoder,
    draw,
    load_set,
    tested_on,
    written_size,
)
from evaluation.command import new_parser, print_table, run_command, with_error
from retrieval.intent_classifier import ScorerOutputs, ScorerWeights, fit_classifier, winners
from retrieval.label_names import label_names_gate
from retrieval.runtime import configure
from retrieval.train_set import Rows

SCORERS = tuple(field.name for field in fields(ScorerWeights))
SHOTS = (5, 10)  # rows per intent of the published splits


@dataclass(frozen=True, slots=True)
class Cell:
    """The draws of one size from one set."""

    source: str
    size: str
    draws: tuple[tuple[ScorerOutputs, Rows], ...]  # what the scorers say, and the expected intents


@dataclass(frozen=True, slots=True)
class Measured:
    """Some weights on a cell."""

    accuracy: NDArray[np.float64]  # of each draw
    cross_entropy: float  # nats, of the right intent
    calibration_error: float


def outputs(source: PublicSet, drawn: Draw, *, seed: int) -> tuple[ScorerOutputs, Rows]:
    """What the scorers say about the tests of a draw; the reply vote is silent where there are no replies."""
    classifier = fit_classifier(drawn.train_set, with_names=label_names_gate(drawn.train_set, seed=seed).passed)
    parts = [scores.scorers for _, scores in classifier.batches(drawn.vectors, [row.text for row in drawn.tests])]
    whole = {name: np.concatenate([getattr(part, name) for part in parts]) for name in SCORERS}
    found = ScorerOutputs(**whole)
    silent = np.zeros_like(found.reply_vote)
    return (found if source.has_replies else replace(found, reply_vote=silent)), drawn.expected


def fitted(cells: Iterable[Cell]) -> ScorerWeights:
    """The weights above 0 with the lowest mean cross-entropy over cells."""
    cells = tuple(cells)
    start = np.log([getattr(ScorerWeights(), name) for name in SCORERS])
    found = minimize(_loss_and_gradient, start, args=(cells,), jac=True, method="L-BFGS-B")
    return ScorerWeights(*map(float, np.exp(found.x)))


def _loss_and_gradient(logs: NDArray[np.float64], cells: Sequence[Cell]) -> tuple[float, NDArray[np.float64]]:
    """The mean cross-entropy, and its gradient in the logarithms of the weights."""
    weights = np.exp(logs)
    loss, gradient = 0.0, np.zeros(len(logs))
    for cell in cells:
        for scorers, expected in cell.draws:
            log_p = scorers.log_probabilities(ScorerWeights(*weights))
            own, share = (np.arange(len(expected)), expected), 1 / (len(cells) * len(cell.draws))
            loss -= share * float(log_p[own].mean())
            said = [getattr(scorers, name) for name in SCORERS]
            gradient -= share * weights * [(one[own] - (np.exp(log_p) * one).sum(axis=1)).mean() for one in said]
    return loss, gradient


def measured(cell: Cell, weights: ScorerWeights) -> Measured:
    """How good the weights are on a cell."""
    log_p = [scorers.log_probabilities(weights) for scorers, _ in cell.draws]
    expected = [expected for _, expected in cell.draws]
    correct = [winners(one) == own for one, own in zip(log_p, expected, strict=True)]
    right = np.concatenate([one[np.arange(len(own)), own] for one, own in zip(log_p, expected, strict=True)])
    confidence = np.exp(np.concatenate([one.max(axis=1) for one in log_p]))
    accuracy = np.array([one.mean() for one in correct])
    return Measured(accuracy, -float(right.mean()), calibration_error(confidence, np.concatenate(correct)))


def table_line(cell: Cell, weights: ScorerWeights) -> dict[str, str]:
    """The present weights and others on a cell."""
    now, other = measured(cell, ScorerWeights()), measured(cell, weights)
    error = f" ± {100 * now.accuracy.std() / np.sqrt(len(cell.draws)):.1f}" if len(cell.draws) > 1 else ""
    gaps = 100 * (other.accuracy - now.accuracy)
    return {
        "set": cell.source,
        "size": cell.size,
        "accuracy %": f"{100 * now.accuracy.mean():.1f}{error}",
        "others minus present": with_error(gaps.tolist(), digits=1) if len(gaps) > 1 else f"{gaps[0]:+.1f}",
        "cross-entropy": f"{now.cross_entropy:.3f}",
        "of the others": f"{other.cross_entropy:.3f}",
        "ECE": f"{now.calibration_error:.3f}",
        "ECE of the others": f"{other.calibration_error:.3f}",
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Fits the weights, one set left out in turn, and prints how they do there."""
    parser = new_parser("evaluation.benchmarks.scorer_weights", __doc__)
    add_set_options(parser)
    add_draw_options(parser, sizes=("15x2", "25x1", "12x1+6x2+2x3"))
    given = "try these instead of fitted ones"
    parser.add_argument("--weights", type=float, nargs=len(SCORERS), metavar=tuple(SCORERS), help=given)
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Draws, fits, prints."""
    configure()
    encoder = chosen_encoder(options)
    cells: list[Cell] = []
    for name in options.sets:
        for shots in SHOTS:
            if not (options.data / f"{name}_train_{shots}.jsonl").is_file():
                continue
            source = load_set(options.data, name, encoder, shots=shots)
            whole = tested_on(source, source.train_set, np.arange(len(source.tests)))
            cells.append(Cell(name, f"all, {shots} rows", (outputs(source, whole, seed=0),)))
        source = load_set(options.data, name, encoder)
        for size in options.sizes:
            drawn = [(draw(source, size, seed=seed), seed) for seed in range(options.draws)]
            cells.append(Cell(name, written_size(size), tuple(outputs(source, one, seed=seed) for one, seed in drawn)))
    print(f"{encoder.name}: weights fitted on all sets {_written(fitted(cells))}; present {_written(ScorerWeights())}")
    lines = []
    for name in options.sets:
        others = [cell for cell in cells if cell.source != name] or cells
        weights = ScorerWeights(*options.weights) if options.weights else fitted(others)
        print(f"tried on {name}: {_written(weights)}")
        lines += [table_line(cell, weights) for cell in cells if cell.source == name]
    print_table(lines)
    return 0


def _written(weights: ScorerWeights) -> str:
    return ", ".join(f"{name} {getattr(weights, name):.2f}" for name in SCORERS)


if __name__ == "__main__":
    sys.exit(main())
