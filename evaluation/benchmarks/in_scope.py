"""python -m evaluation.benchmarks.in_scope: how well does the in-scope threshold tell tickets that no intent covers?

Draws intents from public sets and looks at three kinds of tickets: those of the drawn intents (to be kept), unrelated ones (the
out-of-scope rows of any set in the folder, to be rejected), and those of the intents that were not drawn (related, and hard to
tell). The threshold is fitted as a + b ln(number of intents) to the highest mean of the shares kept and rejected (unrelated),
on all sets but one, and tried on the one left out.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from evaluation.benchmarks.public_sets import PublicSet, add_set_options, chosen_encoder, draw, load_set
from evaluation.command import count, new_parser, print_table, run_command
from retrieval.encoder import Vectors
from retrieval.in_scope import AT_ONE_INTENT, PER_LOG_INTENTS, class_vectors, fitted_threshold, leave_one_out_scores
from retrieval.runtime import configure
from retrieval.tickets import InputProblems

INTENTS, ROWS = (5, 10, 15, 25, 50, 150), (1, 2, 5)
SHOWN = ((1, 10), (11, 30), (31, 150))  # intents, in a line of the table
FORMER = 0.34  # the constant threshold of the first edition
GRID = tuple(product(np.arange(0.0, 0.501, 0.02).tolist(), np.arange(-0.02, 0.091, 0.01).tolist()))


@dataclass(frozen=True, slots=True)
class Scores:
    """The in-scope scores of one draw."""

    source: str
    intents: int
    with_names: bool
    inside: Vectors  # of tickets of the drawn intents
    unrelated: Vectors  # of out-of-scope rows
    related: Vectors  # of tickets of the other intents of the set
    own_rows: Vectors  # of the train rows, each left out of its own intent

    def shares(self, threshold: float) -> tuple[float, float, float]:
        """The shares kept, rejected of the unrelated, rejected of the related (1 where there are none)."""
        related = float((self.related < threshold).mean()) if len(self.related) else 1.0
        return float((self.inside >= threshold).mean()), float((self.unrelated < threshold).mean()), related


def scores_of(source: PublicSet, unrelated: Vectors, *, draws: int) -> list[Scores]:
    """Draws of all sizes that a set allows, with and without label names."""
    found = []
    most = len(source.train_set.intents)
    sizes = sorted({min(intents, most) for intents in INTENTS})
    for intents, rows, with_names in product(sizes, ROWS, (True, False)):
        for seed in range(draws if intents < most else 1):  # all intents: one draw is as good as many
            drawn = draw(source, ((intents, rows),), seed=seed)
            known = class_vectors(drawn.train_set, with_names=with_names)
            of_test = (source.vectors @ known.T).max(axis=1)
            inside = np.array([row.intent in drawn.train_set.intents for row in source.tests])
            own_rows = leave_one_out_scores(drawn.train_set, with_names=with_names)
            outside = (unrelated @ known.T).max(axis=1)
            found.append(Scores(source.name, intents, with_names, of_test[inside], outside, of_test[~inside], own_rows))
    return found


def best_line(found: Sequence[Scores]) -> tuple[float, float]:
    """(a, b) of the threshold a + b ln(intents) with the highest mean of kept and rejected (unrelated)."""

    def goodness(line: tuple[float, float]) -> float:
        """The mean of what is kept and rejected by this line."""
        shares = [one.shares(fitted_threshold(one.intents, at_one=line[0], per_log=line[1])) for one in found]
        return round(float(np.mean([kept + rejected for kept, rejected, _ in shares])), 6)

    return max(GRID, key=goodness)


def table_line(name: str, size: str, found: Sequence[Scores], rules: dict[str, Sequence[float]]) -> dict[str, str]:
    """For each rule (a threshold for each draw) the shares kept / rejected (unrelated) / rejected (related), in %."""
    line = {"set": name, "intents": size}
    for rule, thresholds in rules.items():
        shares = np.mean([one.shares(threshold) for one, threshold in zip(found, thresholds, strict=True)], axis=0)
        line[rule] = " / ".join(f"{100 * share:.0f}" for share in shares)
    return line


def rules_for(found: Sequence[Scores], line: tuple[float, float]) -> dict[str, Sequence[float]]:
    """The thresholds that are compared."""
    return {
        f"constant {FORMER}": [FORMER] * len(found),
        "fitted on the other sets": [fitted_threshold(one.intents, at_one=line[0], per_log=line[1]) for one in found],
        "the program's": [fitted_threshold(one.intents) for one in found],
        "5 % of own rows": [float(np.quantile(one.own_rows, 0.05)) for one in found],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Fits and compares thresholds."""
    parser = new_parser("evaluation.benchmarks.in_scope", __doc__)
    add_set_options(parser)
    parser.add_argument("--draws", type=count, default=10, help="of each size from each set (default: 10)")
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Draws, fits, prints."""
    configure()
    encoder = chosen_encoder(options)
    sources = [load_set(options.data, name, encoder) for name in options.sets]
    unrelated = np.concatenate([source.outside for source in sources])
    if not len(unrelated):
        raise InputProblems([f"{options.data}: found no NAME_out_of_scope.jsonl of these sets, expected one"])
    found = [one for source in sources for one in scores_of(source, unrelated, draws=options.draws)]
    present = _written((AT_ONE_INTENT, PER_LOG_INTENTS))
    print(f"{encoder.name}: fitted on all sets {_written(best_line(found))}; the program's {present}")
    lines = []
    for name in options.sets:
        line = best_line([one for one in found if one.source != name] or found)
        print(f"without {name}: {_written(line)}")
        for with_names, (low, high) in product((True, False), SHOWN):
            own = [one for one in found if (one.source, one.with_names) == (name, with_names) and low <= one.intents <= high]
            size = f"{low}-{high}, {'with' if with_names else 'no'} names"
            lines += [table_line(name, size, own, rules_for(own, line))] if own else []
    print("shares in %: in-scope tickets kept / unrelated ones rejected / related ones rejected")
    print_table(lines)
    return 0


def _written(line: tuple[float, float]) -> str:
    return f"{line[0]:.2f} + {line[1]:.2f} ln(intents)"


if __name__ == "__main__":
    sys.exit(main())
