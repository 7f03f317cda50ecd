"""python -m evaluation.benchmarks.repetition ROWS [ROWS ...]: how often do people repeat themselves within a reply?

For each length the share of the stored replies of labelled files that repeat a run of so many words, or a shorter sentence: a
check that finds them (`finetune.grounding`) would refuse as many replies that people wrote. With --drafts, the lines of
`evaluation.benchmarks.reply_gate`: those drafts which passed the check or failed it for a repetition alone, and which repeat a
run of that length (of the sources nothing is known here): what they gain over the stored reply, where they are nearer to the
ticket.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluation.benchmarks.reply_gate.drafts import Draft
from evaluation.command import new_parser, print_table, run_command
from evaluation.measured_lines import earlier_lines
from evaluation.splits import read_labelled
from finetune.grounding import REPEATS, repetitions
from retrieval.tickets import InputProblems

MODULE = "evaluation.benchmarks.repetition"
LENGTHS = (4, 5, 6, 7, 8, 10)  # words


def table(replies: Sequence[str], drafts: Sequence[Draft]) -> list[dict[str, str]]:
    """A line for each length."""
    return [_line(length, replies, drafts) for length in LENGTHS]


def _line(length: int, replies: Sequence[str], drafts: Sequence[Draft]) -> dict[str, str]:
    share = float(np.mean([bool(repetitions(reply, run=length)) for reply in replies]))
    found = {"words": str(length), "stored replies that repeat": f"{share:.1%} of {len(replies)}"}
    repeating = [draft for draft in drafts if repetitions(draft["text"], run=length)]
    gains = [draft["draft"] - draft["copy"] for draft in repeating if draft["nearer"] > 0]
    return found | {
        "drafts that repeat": f"{len(repeating)} of {len(drafts)}" if drafts else "",
        "of these nearer": str(len(gains)) if drafts else "",
        "gain of the nearer": f"{np.mean(gains):+.3f}" if gains else "",
    }


def sound_drafts(paths: Sequence[Path]) -> list[Draft]:
    """The drafts of lines of the reply gate's benchmark in which the check found nothing but a repetition."""
    if missing := [path for path in paths if not path.is_file()]:
        raise InputProblems([f"--drafts {path}: found no such file" for path in missing])
    lines = [line for path in paths for line in earlier_lines(path)]
    try:
        drafts: list[Draft] = [draft for line in lines for part in (*line["folds"], line["test"]) for draft in part]
        if not all(isinstance(draft["text"], str) and {"draft", "copy", "nearer"} <= draft.keys() for draft in drafts):
            raise TypeError
        return [draft for draft in drafts if all(finding.startswith(REPEATS) for finding in draft["findings"])]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputProblems(["--drafts: found something else, expected lines of evaluation.benchmarks.reply_gate"]) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command."""
    parser = new_parser(MODULE, __doc__)
    parser.add_argument("rows", type=Path, nargs="+", metavar="ROWS", help="labelled tickets with ideal replies")
    parser.add_argument(
        "--drafts", type=Path, nargs="+", default=[], metavar="FILE", help="lines of the reply gate's benchmark"
    )
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Reads, counts, prints."""
    replies = [row.ideal_reply for row in read_labelled(options.rows, max_reply_words=sys.maxsize, per_intent=1)]
    print_table(table(replies, sound_drafts(options.drafts)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
