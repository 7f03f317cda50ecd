"""python -m evaluation.probes: did tuning break the base?

    python -m evaluation.probes --train data/train.jsonl --probes data/probes.jsonl --labels data/probe_labels.jsonl
    ... --base-model none                                                       retrieval alone, in seconds

Answers probes, plain paraphrases of what the train rows answer, with retrieval alone, with the bare base and its exemplars in
the prompt, and with the base and an adapter that is trained as in a run and has the scale of a run. Both models always
generate, whatever the reply gate says, and a draft that fails the check is replaced, as in a run; one that passes is given,
nearer to the ticket than the stored reply or not. Intents come from retrieval in all three. The last line is the paired
difference of adapter and bare base with its 95 % bootstrap interval over the probes.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from evaluation.ablation.comparison import Figure, figure, scored
from evaluation.ablation.outputs import Output, run_systems
from evaluation.ablation.systems import System
from evaluation.command import new_parser, print_table, run_command
from evaluation.generation import BASE_HELP, FAILURES
from evaluation.score.grading import GRADING_ENCODER, RowScore, tally
from evaluation.splits import given_split
from finetune.base_model import load_base
from finetune.base_selection import base_problems
from retrieval.columns import add_columns_option
from retrieval.console import say
from retrieval.encoder import AUTO, encoder_problems, load_encoder
from retrieval.runtime import configure, deterministic_kernels
from retrieval.tickets import InputProblems

RETRIEVAL = System("retrieval alone", adapter="none", replies="copied")
BARE = System("bare base", adapter="none", replies="generated", nearer=False)
ADAPTER = System("adapter", adapter="full", replies="generated", nearer=False)
SEEDS = 2**32
INTENTS, QUALITY, FACTS, WRONG = "intents", "reply quality", "required facts", "wrong facts"
COLUMNS: dict[str, Callable[[RowScore], float]] = {  # what stands in them for one probe, in the order of the table
    INTENTS: lambda row: row.intent_correct,
    QUALITY: lambda row: row.quality,
    FACTS: lambda row: row.facts_met,
    WRONG: lambda row: len(row.wrong_facts),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Answers the probes and prints what is found."""
    parser = new_parser("evaluation.probes", __doc__)
    add = parser.add_argument
    add("--train", type=Path, required=True, metavar="FILE", help="train rows, as for run.py")
    add_columns_option(parser)
    add("--probes", type=Path, required=True, metavar="FILE", help="JSONL with id, ticket: what to answer")
    add("--labels", type=Path, required=True, metavar="FILE", help="their labels, as for evaluation.score")
    add("--base-model", default="auto", metavar="BASE", help=f"{BASE_HELP}; none for retrieval only")
    add("--encoder", default=AUTO, metavar="ENCODER", help="as for run.py (default: auto)")
    add("--seed", type=int, default=0, help="of gates, adapter and interval (default: 0)")
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options), failures=FAILURES)


def run(options: argparse.Namespace) -> int:
    """Reads, answers with every system, scores, prints."""
    if problems := option_problems(options):
        raise InputProblems(problems)
    configure()
    encoder = load_encoder(options.encoder)
    say("; ".join([f"encoder {encoder.name}", *encoder.warnings]))
    split = given_split(options.train, options.probes, options.labels, encoder, columns=options.columns)
    base = None if options.base_model == "none" else load_base(options.base_model)
    if base:
        deterministic_kernels()
    outputs, gate = run_systems(split, (RETRIEVAL, BARE, ADAPTER) if base else (RETRIEVAL,), base, encoder, seed=options.seed)
    if gate:
        say(f"the reply gate, which these systems leave aside, says {gate.decision} ({gate.reason})")
    grading = load_encoder(GRADING_ENCODER)
    print_outputs(outputs, [scored(split, output, grading) for output in outputs], seed=options.seed)
    return 0


def option_problems(options: argparse.Namespace) -> list[str]:
    """What is wrong with the options."""
    problems = [*base_problems(options.base_model, Path()), *encoder_problems(options.encoder)]
    if not 0 <= options.seed < SEEDS:
        problems.append(f"--seed: found {options.seed}, expected a whole number from 0 to {SEEDS - 1}")
    return problems


def print_outputs(outputs: Sequence[Output], rows: Sequence[list[RowScore]], *, seed: int) -> None:
    """A line for each system; where there is an adapter, its difference to the bare base, and what that says."""
    lines = [system_line(output, own) for output, own in zip(outputs, rows, strict=True)]
    by_name = {output.system.name: own for output, own in zip(outputs, rows, strict=True)}
    if ADAPTER.name not in by_name:
        print_table(lines)
        return
    found = differences(by_name[ADAPTER.name], by_name[BARE.name], seed=seed)
    probes = len(by_name[BARE.name])
    print_table([*lines, difference_line(found, probes)])
    print(verdict(found[QUALITY], probes))


def system_line(output: Output, rows: Sequence[RowScore]) -> dict[str, str]:
    """A system as a line of the table."""
    found, sources = tally(rows), Counter(reply.source for reply in output.replies)
    return {
        "system": output.system.name,
        INTENTS: f"{found.correct} of {found.rows}",
        QUALITY: f"{found.quality:.3f}",
        FACTS: f"{found.facts_met} of {found.fact_groups}",
        WRONG: str(found.wrong_facts),
        "replies": ", ".join(f"{count} {source}" for source, count in sorted(sources.items())),
    }


def differences(adapter: Sequence[RowScore], bare: Sequence[RowScore], *, seed: int) -> dict[str, Figure]:
    """Adapter minus bare base per probe, for each measured column of the table."""
    return {name: figure([of(row) for row in adapter], [of(row) for row in bare], seed=seed) for name, of in COLUMNS.items()}


def difference_line(found: Mapping[str, Figure], probes: int) -> dict[str, str]:
    """The differences as a line of the table: of counts over all probes, and of the mean quality."""
    cells = {name: _cell(own, 1, digits=3) if name == QUALITY else _cell(own, probes, digits=1) for name, own in found.items()}
    return {"system": "adapter minus bare base"} | cells | {"replies": ""}


def _cell(found: Figure, scale: int, *, digits: int) -> str:
    return f"{scale * found.difference:+.{digits}f} ({scale * found.low:+.{digits}f} .. {scale * found.high:+.{digits}f})"


def verdict(quality: Figure, probes: int) -> str:
    """What the paired difference in reply quality says about the adapter, in a sentence."""
    if quality.high < 0:
        return "tuning made the replies to the probes worse: the whole interval of the difference in quality lies below zero"
    if quality.low > 0:
        return "tuning made the replies to the probes better: the whole interval of the difference in quality lies above zero"
    return f"{probes} probes show no difference in quality between adapter and bare base: the interval holds zero"


if __name__ == "__main__":
    sys.exit(main())
