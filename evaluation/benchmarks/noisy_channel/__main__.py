"""python -m evaluation.benchmarks.noisy_channel: what are a base's scores of the intents worth, and with which weight?

On draws from public sets a base scores each test ticket given each of the nearest rows (`finetune.noisy_channel`), for several
things that it may be given. The scores are kept in a folder, so all weights, numbers of candidates and ways of counting are
tried at once, on the same scores. `tuned` is the base with an adapter that was trained to write the rows' tickets, given the
same. Differences are paired, ± one standard error over draws.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from evaluation.benchmarks.noisy_channel.replies import reply_lines, row_lines
from evaluation.benchmarks.noisy_channel.scored import ScoredDraw
from evaluation.benchmarks.noisy_channel.scoring import GIVEN, score_draw
from evaluation.benchmarks.noisy_channel.tables import gate_lines, sum_lines, way_lines, weight_lines
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
from evaluation.command import count, new_parser, print_table, run_command
from evaluation.embeddings import CachingEncoder
from evaluation.generation import FAILURES
from evaluation.score.grading import GRADING_ENCODER
from finetune.base_model import BaseModel, load_base
from finetune.base_selection import base_problems
from retrieval.encoder import load_encoder
from retrieval.runtime import configure, deterministic_kernels
from retrieval.tickets import InputProblems


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores and compares."""
    parser = new_parser("evaluation.benchmarks.noisy_channel", __doc__)
    add_set_options(parser)
    add_draw_options(parser, sizes=("15x2", "25x1"))
    add = parser.add_argument
    add("--tests", type=count, default=100, help="test rows in a draw (default: 100)")
    add("--candidates", type=count, default=6, help="rows near a ticket that are scored (default: 6)")
    add("--base-model", default="auto", metavar="BASE", help="as for run.py; none to use only scores that are kept")
    add("--scores-of", metavar="BASE", help="whose kept scores are used with --base-model none")
    add("--given", nargs="+", default=["name"], choices=list(GIVEN), help="what the base is given (default: name)")
    add(
        "--weight",
        type=float,
        default=0.3,
        help="at which numbers of candidates and best row and mean are compared (default: .3)",
    )
    add("--own-rows", action="store_true", help="score the train rows, too, and report what their gate decides")
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options), failures=FAILURES)


def run(options: argparse.Namespace) -> int:
    """Scores all draws, set by set, and prints the tables."""
    problems = base_problems(options.base_model, Path())
    if not options.cache:
        problems.append("--cache: found none, expected a folder in which the scores are kept")
    if options.base_model == "none" and not options.scores_of:
        problems.append("--base-model none: found no --scores-of, expected the name of the base whose scores are kept")
    if problems:
        raise InputProblems(problems)
    configure()
    encoder = chosen_encoder(options)
    base = None if options.base_model == "none" else load_base(options.base_model)
    if base:
        deterministic_kernels()
    name = base.name if base else options.scores_of
    for source in [load_set(options.data, name, encoder) for name in options.sets]:
        for size in options.sizes:
            draws = list(scored_draws(source, size, base, f"{name} {encoder.name}", options))
            print(f"{name}, {encoder.name}, {source.name} {written_size(size)}, {len(draws)} draws of {options.tests} tests")
            tests = [found.tests for found in draws]
            print_table([line for given in options.given for line in weight_lines(tests, given, options.candidates)])
            if len(options.given) > 1:
                print_table(list(sum_lines(tests, options.given)))
            print(f"at weight {options.weight:g}")
            print_table([x for given in options.given for x in way_lines(tests, given, options.weight, options.candidates)])
            if options.own_rows:
                print_table([line for given in options.given for line in gate_lines(draws, given, options.weight)])
            if source.has_replies:
                grading = CachingEncoder(load_encoder(GRADING_ENCODER), options.cache)
                print_table([line for given in options.given for line in reply_lines(tests, given, options.weight, grading)])
                print_table([line for given in options.given for line in row_lines(tests, given, grading)])
    return 0


def scored_draws(
    source: PublicSet, size: Size, base: BaseModel | None, key: str, options: argparse.Namespace
) -> Iterator[ScoredDraw]:
    """All draws of a size from a set."""
    for seed in range(options.draws):
        drawn = draw(source, size, seed=seed, tests=options.tests)
        own = f"{key} {source.name} {written_size(size)} draw {seed} {options.tests} tests {options.candidates} rows"
        yield score_draw(drawn, base, options.given, options, own)


if __name__ == "__main__":
    sys.exit(main())
