"""python -m evaluation.ablation: which part of the program helped?

    python -m evaluation.ablation --train T --val V --labels L --out DIR        one train_set
    python -m evaluation.ablation --folds FILE [FILE ...] --splits 5            repeated splits of labelled files
    ... --base-model none                                                       retrieval only, in seconds

Switches off one part at a time (`systems`), answers the same test rows, and prints each system's intent accuracy and reply
quality with the paired difference to its reference and a 95 % bootstrap interval over rows. Rows of all splits are combined:
the
interval covers which rows were drawn, and splits weigh alike.

What it does not know: time. And parts that only help together: each row of the table removes one.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from evaluation.forest import draw_forest
from evaluation.outcomes import Figure, Outcome, compare
from evaluation.remembering import RememberingEncoder
from evaluation.splits import Split, drawn_splits, given_split, read_labelled
from evaluation.switched import answer_all
from evaluation.systems import RETRIEVAL, WRITING
from finetune.base_model import BaseModel, load_base
from finetune.base_names import base_problems
from retrieval.console import say
from retrieval.encoder import Encoder, ModelUnavailable, SentenceEncoder
from retrieval.files import write_json
from retrieval.map import NoPlots
from retrieval.runtime import configure, deterministic_kernels
from retrieval.tickets import InputProblems

SIZES = ("splits", "intents", "per_intent", "tests")  # options of --folds


def print_table(outcomes: Sequence[Outcome]) -> None:
    """A line per system; a difference whose interval leaves out zero is bold."""
    heads = ("system", "intents %", "minus reference", "reply quality", "minus reference", "replies")
    table = Table(*heads, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for found in outcomes:
        replies = ", ".join(f"{count} {source}" for source, count in found.sources.items())
        intents, quality = _shown(found.intents, scale=100, digits=1), _shown(found.quality, scale=1, digits=3)
        if found.name == found.against:
            intents = quality = ""
        table.add_row(found.name, f"{100 * found.intents.mean:.1f}", intents, f"{found.quality.mean:.3f}", quality, replies)
    Console(width=150, emoji=False).print(table)


def _shown(found: Figure, *, scale: float, digits: int) -> str:
    text = f"{scale * found.difference:+.{digits}f} ({scale * found.low:+.{digits}f} .. {scale * found.high:+.{digits}f})"
    return f"[bold]{text}[/bold]" if found.low > 0 or found.high < 0 else text


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    found = argparse.ArgumentParser(prog="python -m evaluation.ablation", description=(__doc__ or "").splitlines()[0])
    add = found.add_argument
    add("--train", type=Path, metavar="FILE", help="train rows, as for run.py")
    add("--val", type=Path, metavar="FILE", help="rows to be tested on")
    add("--labels", type=Path, metavar="FILE", help="their labels, as for evaluation.score")
    add("--folds", type=Path, nargs="+", default=[], metavar="FILE", help="labelled rows (as train rows) to split repeatedly")
    add("--splits", type=int, default=3, help="how many splits of --folds (default: 3)")
    add("--intents", type=int, default=12, help="intents in a split (default: 12)")
    add("--per-intent", type=int, default=2, help="train rows of each intent in a split (default: 2)")
    add("--tests", type=int, default=16, help="test rows in a split (default: 16)")
    add("--max-reply-words", type=int, default=80, help="leave rows of --folds with longer replies out (default: 80)")
    add("--base-model", default="auto", metavar="BASE", help="as for run.py (default: auto); none for retrieval only")
    add("--seed", type=int, default=0, help="of gates, adapters and intervals (default: 0)")
    add("--out", type=Path, metavar="DIR", help="folder for ablation.json and ablation.png; made if missing")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the ablation."""
    options = parser().parse_args(arguments)
    try:
        run(options)
    except InputProblems as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return 2
    except (ModelUnavailable, NoPlots) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.filename or 'a file'} cannot be read or written: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


def run(options: argparse.Namespace) -> None:
    """Reads, answers with every system, compares, prints and saves.

    Raises:
        InputProblems: something is wrong with what the user gave.
        ModelUnavailable: the base or the encoder cannot be loaded.
    """
    if problems := option_problems(options):
        raise InputProblems(problems)
    configure()
    encoder = RememberingEncoder(SentenceEncoder(None))
    all_splits = read_splits(options, encoder)
    base: BaseModel | None = None
    if options.base_model != "none":
        deterministic_kernels()
        base = load_base(options.base_model)
    answered = []
    for number, train_set in enumerate(all_splits):
        say(f"{train_set.name}: {len(train_set.train_set.rows)} train rows, {len(train_set.tickets)} test rows")
        systems = (*RETRIEVAL, *WRITING) if base else RETRIEVAL
        found, gate = answer_all(train_set, systems, base, encoder, seed=options.seed + number)
        say(
            f"{train_set.name}: the reply gate says {gate.decision} ({gate.why})"
            if gate
            else f"{train_set.name}: no reply gate"
        )
        answered.append((train_set, found))
    outcomes = compare(answered, encoder, seed=options.seed)
    print_table(outcomes)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        write_json(options.out / "ablation.json", [asdict(outcome) for outcome in outcomes])
        draw_forest(outcomes, options.out / "ablation.png")


def option_problems(options: argparse.Namespace) -> list[str]:
    """What is wrong with the options among themselves."""
    given = [name for name in ("train", "val", "labels") if getattr(options, name)]
    problems = base_problems(options.base_model, options.out or Path())
    if given and len(given) < 3:
        problems.append(f"found only --{', --'.join(given)}, expected --train, --val and --labels together")
    if bool(given) == bool(options.folds):
        problems.append("found both or neither of --train and --folds, expected one of them")
    for name in SIZES:
        if getattr(options, name) < 1:
            problems.append(f"--{name.replace('_', '-')}: found {getattr(options, name)}, expected a whole number from 1")
    return problems


def read_splits(options: argparse.Namespace, encoder: Encoder) -> list[Split]:
    """The all_splits to measure on.

    Raises:
        InputProblems: a file is bad.
    """
    if not options.folds:
        return [given_split(options.train, options.val, options.labels, encoder)]
    rows = read_labelled(options.folds, max_reply_words=options.max_reply_words)
    return drawn_splits(rows, encoder, **{name: getattr(options, name) for name in SIZES})


if __name__ == "__main__":
    sys.exit(main())
