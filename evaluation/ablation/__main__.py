"""python -m evaluation.ablation: which part of the program helps?

    python -m evaluation.ablation --train T --val V --labels L --out DIR        one train set
    python -m evaluation.ablation --folds FILE [FILE ...] --splits 5            repeated splits of labelled files
    ... --base-model none                                                       retrieval only, in seconds
    ... --jsonl FILE --first-split 1 --splits 1                                 one of several splits, reported with the others

Switches off one part at a time (`systems`), predicts the same test rows, and prints each system's intent accuracy and reply
quality with the paired difference to its reference and a 95 % bootstrap interval over the rows of all splits. Parts that help
only together do not show: each system lacks one.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evaluation.ablation.comparison import compare, draw_differences, measure, table_line
from evaluation.ablation.outputs import run_systems
from evaluation.ablation.systems import GENERATION, RETRIEVAL
from evaluation.command import new_parser, print_table, run_command
from evaluation.embeddings import CachingEncoder
from evaluation.generation import BASE_HELP, FAILURES
from evaluation.measured_lines import Measured, add_lines_options, earlier_lines, line_problems, with_earlier_lines
from evaluation.score.grading import GRADING_ENCODER
from evaluation.splits import add_split_options, drawn_splits, given_split, split_problems
from finetune.base_model import load_base
from finetune.base_selection import base_problems
from retrieval.columns import add_columns_option
from retrieval.console import say
from retrieval.encoder import encoder_problems, load_encoder
from retrieval.files import write_json
from retrieval.runtime import configure, deterministic_kernels
from retrieval.tickets import InputProblems


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the ablation."""
    parser = new_parser("evaluation.ablation", __doc__)
    add = parser.add_argument
    add("--train", type=Path, metavar="FILE", help="train rows, as for run.py")
    add("--val", type=Path, metavar="FILE", help="rows to be tested on")
    add("--labels", type=Path, metavar="FILE", help="their labels, as for evaluation.score")
    add_columns_option(parser)
    add_split_options(parser)
    add("--base-model", default="auto", metavar="BASE", help=f"{BASE_HELP}; none for retrieval only")
    add("--encoder", default="auto", metavar="ENCODER", help="as for run.py (default: auto)")
    add("--seed", type=int, default=0, help="of gates, adapters and intervals (default: 0)")
    add_lines_options(parser)
    add("--out", type=Path, metavar="DIR", help="folder for ablation.json and ablation.png; made if missing")
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options), failures=FAILURES)


def run(options: argparse.Namespace) -> int:
    """Reads, predicts with every system, compares, prints and saves."""
    if problems := option_problems(options):
        raise InputProblems(problems)
    measured = with_earlier_lines(() if options.report else measure_all(options), options.jsonl, printed=False)
    comparisons = compare(measured, seed=options.seed)
    print_table([table_line(found) for found in comparisons])
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        write_json(options.out / "ablation.json", [asdict(found) for found in comparisons])
        draw_differences(comparisons, options.out / "ablation.png")
    return 0


def measure_all(options: argparse.Namespace) -> Iterator[Measured]:
    """All systems on every split."""
    configure()
    encoder, grading = (CachingEncoder(load_encoder(name)) for name in (options.encoder, GRADING_ENCODER))
    files = (options.train, options.val, options.labels)
    splits = drawn_splits(options, encoder) if options.folds else [given_split(*files, encoder, columns=options.columns)]
    base = None if options.base_model == "none" else load_base(options.base_model)
    if base:
        deterministic_kernels()
    systems = (*RETRIEVAL, *GENERATION) if base else RETRIEVAL
    for split in splits:
        say(f"{split.name}: {len(split.train_set.rows)} train rows, {len(split.tickets)} test rows, {len(systems)} systems")
        outputs, gate = run_systems(split, systems, base, encoder, seed=options.seed + split.seed)
        if gate:
            say(f"{split.name}: the reply gate says {gate.decision} ({gate.reason})")
        yield measure(split, outputs, gate, grading, settings=settings_of(options))


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """What must be the same for all splits that are reported together."""
    same = ("base_model", "encoder", "seed", "intents", "per_intent", "tests", "max_reply_words")
    return {"files": [path.name for path in options.folds or (options.train, options.val)]} | {
        name: getattr(options, name) for name in same
    }


def lines_problems(options: argparse.Namespace) -> list[str]:
    """What is wrong with the earlier lines of --jsonl, alone and together with what is to be measured."""
    if (found := line_problems(options, key="settings")) or not options.jsonl:
        return found
    lines = earlier_lines(options.jsonl)
    names = [line["split"] for line in lines]
    if not options.report:
        splits = range(options.first_split, options.first_split + options.splits)
        names += [f"split {number}" for number in splits] if options.folds else [options.train.parent.name or "split"]
    settings = [line["settings"] for line in lines] + ([] if options.report else [settings_of(options)])
    if twice := ", ".join(name for name, count in Counter(names).items() if count > 1):
        found.append(f"{options.jsonl}: found {twice} more than once, expected every split once: take another file")
    if any(one != settings[0] for one in settings):
        found.append(f"{options.jsonl}: found lines of other options or files, expected the same: take another file")
    return found


def option_problems(options: argparse.Namespace) -> list[str]:
    """What is wrong with the options among themselves."""
    if options.report:
        return lines_problems(options)
    given = [name for name in ("train", "val", "labels") if getattr(options, name)]
    problems = split_problems(options)
    problems += [*base_problems(options.base_model, options.out or Path()), *encoder_problems(options.encoder)]
    if given and len(given) < 3:
        problems.append(f"found only --{', --'.join(given)}, expected --train, --val and --labels together")
    if bool(given) == bool(options.folds):
        problems.append("found both or neither of --train and --folds, expected one of them")
    return problems or lines_problems(options)


if __name__ == "__main__":
    sys.exit(main())
