"""python -m evaluation.benchmarks.growth: what a whole run costs as its train and val rows grow.

Starts run.py in a process of its own for every size, on made rows: the texts of `scale`, a short sentence as the reply of each
train row, half as many intents as train rows, at most 150. Time and peak memory are taken from outside. The encoder's own time
is what a run says with --verbose, in tenths of a second; all else, starting Python and the libraries included, is the rest. The
sizes can be shared out with --jsonl; --report prints and writes what is in that file.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evaluation.benchmarks.bench.report import markdown
from evaluation.benchmarks.scale import INTENTS, made_texts
from evaluation.command import count, new_parser, print_table, run_command
from evaluation.measured_lines import add_lines_options, line_problems, with_earlier_lines
from evaluation.report.charts import new_figure
from finetune.base_selection import base_problems
from retrieval.console import say
from retrieval.cpu import described, usable_cores
from retrieval.files import write_jsonl, write_text
from retrieval.run_files import RECORD
from retrieval.tickets import InputProblems

PROGRAM = Path(__file__).parents[2] / "run.py"
TRAIN_ROWS, VAL_ROWS = 30, 50  # what stays the same while the other grows
VAL_STAGES = ("read", "embed", "answer", "check", "write")  # of a run: those that see the val rows
# Lines that a verbose run says: a bar has ended, or a stage has, with the memory in use (`console.bar`, `console.Clock`).
SAID = re.compile(r"^\[ *[\d.]+ s\]   ([^:\n]+): ([\d.]+) s(, memory in use .*)?$", re.MULTILINE)
ENCODING = "embed"  # the label of the encoder's bar

NOTES = """
- *embed train*: the encoder's own time for train tickets, replies and label names; *embed val*: for the tickets to be answered;
  *embed more*: for the sentences of stored replies that nearly tie, and in fine-tuning. In tenths of a second.
- *rest*: the whole run without the encoder's own time. It holds the start: Python, the libraries, loading the models. *rest /
  embed*: as a share of the encoder's own time.
- *ms / val row*: of each further one: what the stages that see them took longer than in the run with the next fewer.
- *peak GiB*: largest resident memory of the process.
"""


class RunFailed(Exception):
    """A run of run.py came to nothing; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A run that ended well, and what it has cost."""

    base: str  # the value of --base-model
    train_rows: int
    val_rows: int
    wall_s: float  # from the start of the process to its end
    peak_gib: float  # most resident memory
    stages: dict[str, float]  # seconds of each stage, as run.json has them; of writing, as it was said
    encoder: dict[str, float]  # seconds of the encoder alone, in each stage that uses it
    machine: str  # on which it ran

    @property
    def embedding_s(self) -> float:
        """Seconds of the encoder alone."""
        return sum(self.encoder.values())


def measure(base: str, train_rows: int, val_rows: int) -> Measured:
    """Runs run.py on made rows, all files in a temporary folder.

    Raises:
        RunFailed: its status is not 0, or it does not say how long the encoder took.
    """
    what = f"run.py on {train_rows} train rows and {val_rows} val rows with base {base}"
    say(what)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder, train_rows, val_rows)
        paths = {"train": "train.jsonl", "val": "val.jsonl", "weights": "weights", "output": "results.json"}
        options = [word for key, path in paths.items() for word in (f"--{key}", str(folder / path))]
        command = [sys.executable, str(PROGRAM), *options, "--base-model", base, "--verbose"]
        wall_s, peak_gib, said = run_process(what, command)
        exact = json.loads((folder / "weights" / RECORD).read_text(encoding="utf-8"))["seconds"]
    stages, encoder = said_seconds(said)
    if not {"index", "embed"} <= encoder.keys():
        raise RunFailed(f"{what}: found no times of the encoder in what it printed, expected them with --verbose")
    return Measured(base, train_rows, val_rows, round(wall_s, 3), round(peak_gib, 3), stages | exact, encoder, machine())


def machine() -> str:
    """The cores that a run may use, and the processor."""
    cores = usable_cores()
    return f"{cores} {'core' if cores == 1 else 'cores'} of an {described()}"


def make_files(folder: Path, train_rows: int, val_rows: int) -> None:
    """Writes train.jsonl and val.jsonl with so many rows."""
    intents = min(INTENTS, max(1, train_rows // 2))
    train, val = (
        [f"{text.rpartition(' ')[0]} topic{i % intents}" for i, text in enumerate(made_texts(rows, seed=seed)[0])]
        for rows, seed in ((train_rows, 1), (val_rows, 2))
    )  # the last word that `made_texts` gives names one of 150 intents
    labelled = (
        {"id": f"t{i}", "ticket": text, "intent": f"topic.{i % intents}", "ideal_reply": f"Open page {i} and press Save."}
        for i, text in enumerate(train)
    )
    write_jsonl(folder / "train.jsonl", labelled)
    write_jsonl(folder / "val.jsonl", ({"id": f"v{i}", "ticket": text} for i, text in enumerate(val)))


def run_process(what: str, words: Sequence[str]) -> tuple[float, float, str]:
    """Runs a command to its end: its seconds, its peak memory in GiB, what it wrote to stderr.

    The system counts what the starting process held as the new one's; this one holds less than any run.

    Raises:
        RunFailed: its status is not 0; the last line that it wrote to stderr is in the message.
    """
    began = time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=errors) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.monotonic() - began
        errors.seek(0)
        said = errors.read()
    if process.returncode:
        last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "it said nothing")
        raise RunFailed(f"{what} ended with status {process.returncode}: {last}")
    return wall_s, usage.ru_maxrss / 2**20, said


def said_seconds(said: str) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of each stage, and of the encoder in those that used it, from what a verbose run said.

    A stage's own line follows those of its bars.
    """
    stages: dict[str, float] = {}
    encoder: dict[str, float] = {}
    bars: list[float] = []
    for label, spent, memory in SAID.findall(said):
        if memory:
            stages[label] = round(stages.get(label, 0.0) + float(spent), 1)
            encoder |= {label: round(encoder.get(label, 0.0) + sum(bars), 1)} if bars else {}
            bars = []
        elif label == ENCODING:
            bars.append(float(spent))
    return stages, encoder


def further_val_row_s(run: Measured, runs: Sequence[Measured]) -> float | None:
    """Seconds per val row more than in the run with the next fewer of them and else the same; None without one."""
    same = (run.base, run.train_rows, run.machine)
    alike = [one for one in runs if (one.base, one.train_rows, one.machine) == same and one.val_rows < run.val_rows]
    if not alike:
        return None
    fewer = max(alike, key=lambda one: one.val_rows)
    more = sum(run.stages.get(stage, 0.0) - fewer.stages.get(stage, 0.0) for stage in VAL_STAGES)
    return more / (run.val_rows - fewer.val_rows)


def table_line(run: Measured, further_s: float | None) -> dict[str, str]:
    """A run's line of the table, with the seconds per further val row."""
    train, val, rest = run.encoder["index"], run.encoder["embed"], run.wall_s - run.embedding_s
    return {
        "base": run.base,
        "train rows": f"{run.train_rows:,}",
        "val rows": f"{run.val_rows:,}",
        "wall s": f"{run.wall_s:.1f}",
        "embed train s": f"{train:.1f}",
        "embed val s": f"{val:.1f}",
        "embed more s": f"{run.encoder.get('answer', 0.0) + run.encoder.get('fine-tune', 0.0):.1f}",
        "ms / val row": "–" if further_s is None else f"{1000 * further_s:.1f}",
        "rest s": f"{rest:.1f}",
        "rest / embed": f"{rest / run.embedding_s:.0%}" if run.embedding_s else "–",
        "peak GiB": f"{run.peak_gib:.2f}",
    }


def draw(runs: Sequence[Measured], path: Path) -> None:
    """Seconds and GiB over val rows and over train rows, all axes logarithmic; raises MissingPackage without matplotlib."""
    figure = new_figure(10, 6.5)
    panels = figure.subplots(2, 2, sharex="col", sharey="row")
    growing = (("val_rows", "train_rows", TRAIN_ROWS), ("train_rows", "val_rows", VAL_ROWS))
    for (key, fixed, at), column in zip(growing, panels.T, strict=True):
        for number, base in enumerate(dict.fromkeys(run.base for run in runs)):
            found = {getattr(run, key): run for run in runs if (run.base, getattr(run, fixed)) == (base, at)}
            _draw_series(column, [found[rows] for rows in sorted(found)], sorted(found), colour=f"C{number}")
        column[1].set_xlabel(f"{key.replace('_', ' ')}, with {at} {fixed.replace('_', ' ')}")
        if column[0].lines:
            column[0].legend(frameon=False, fontsize=8)
    _scale(panels, [run.peak_gib for run in runs])
    figure.savefig(path, dpi=110)


def _draw_series(column: Any, runs: Sequence[Measured], rows: Sequence[int], *, colour: str) -> None:
    """The runs of a base, by their rows, into the panels for seconds and for GiB."""
    if not runs:
        return
    base, embedding = runs[0].base, [run.embedding_s for run in runs]
    column[0].plot(rows, [run.wall_s for run in runs], color=colour, marker="o", label=f"{base}: whole run")
    column[0].plot(rows, embedding, color=colour, linestyle="--", label=f"{base}: encoder alone")
    column[1].plot(rows, [run.peak_gib for run in runs], color=colour, marker="o")


def _scale(panels: Any, peaks: Sequence[float]) -> None:
    """Logarithmic axes, of GiB with room around the `peaks`: else a flat line looks like a slope."""
    for axes, unit, log_base in zip(panels.flat, ("seconds", "", "peak GiB", ""), (10, 10, 2, 2), strict=True):
        axes.set_ylabel(unit)
        axes.set_xscale("log")
        axes.set_yscale("log", base=log_base)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
        axes.spines[["top", "right"]].set_visible(False)
    panels[1, 0].set_ylim(min(peaks) / 2, max(peaks) * 2)


def write_docs(runs: Sequence[Measured], lines: Sequence[dict[str, str]], folder: Path) -> None:
    """Writes growth.md and growth.png into a folder; raises MissingPackage without matplotlib."""
    draw(runs, folder / "growth.png")
    machines = "; ".join(dict.fromkeys(run.machine for run in runs))
    top = f"# Growth\n\n`python -m evaluation.benchmarks.growth` on {machines}.\n"
    write_text(folder / "growth.md", "\n".join([top, markdown(lines), "![seconds and GiB over rows](growth.png)", NOTES]))


def pair(text: str) -> tuple[int, int]:
    """An option's TRAINxVAL."""
    train, x, val = text.partition("x")
    if not x:
        raise argparse.ArgumentTypeError(f"found {text}, expected two whole numbers, as in 10000x5000")
    return count(train), count(val)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures all sizes."""
    parser = new_parser("evaluation.benchmarks.growth", __doc__)
    add = parser.add_argument
    val_help = f"numbers of val rows, with {TRAIN_ROWS} train rows (default: 10 100 1000 10000)"
    add("--val", type=count, nargs="*", default=[10, 100, 1000, 10_000], metavar="N", help=val_help)
    train_help = f"numbers of train rows, with {VAL_ROWS} val rows (default: 30 300 3000)"
    add("--train", type=count, nargs="*", default=[30, 300, 3000], metavar="N", help=train_help)
    pairs_help = "further sizes (default: 10000x5000)"
    add("--pairs", type=pair, nargs="*", default=[(10_000, 5000)], metavar="TRAINxVAL", help=pairs_help)
    add("--base-model", nargs="+", default=["none"], metavar="BASE", help="as for run.py; several in turn (default: none)")
    add_lines_options(parser)
    add("--docs", type=Path, metavar="DIR", help="write growth.md and growth.png into this folder")
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options), failures=(RunFailed,))


def run(options: argparse.Namespace) -> int:
    """Measures, prints, writes."""
    if problems := option_problems(options):
        raise InputProblems(problems)
    if options.docs:
        new_figure(1, 1)  # says that matplotlib is missing before an hour is spent
    found = with_earlier_lines(() if options.report else measure_all(options), options.jsonl)
    runs = [Measured(**line) for line in found]
    lines = [table_line(one, further_val_row_s(one, runs)) for one in runs]
    print_table(lines, stderr=True)
    if options.docs:
        write_docs(runs, lines, options.docs)
    return 0


def measure_all(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every size with every base."""
    for base in options.base_model:
        for rows in sizes(options):
            yield asdict(measure(base, *rows))


def sizes(options: argparse.Namespace) -> list[tuple[int, int]]:
    """Train and val rows of the runs in their order, none twice."""
    val, train = ((TRAIN_ROWS, rows) for rows in sorted(options.val)), ((rows, VAL_ROWS) for rows in sorted(options.train))
    return list(dict.fromkeys([*val, *train, *options.pairs]))


def option_problems(options: argparse.Namespace) -> list[str]:
    """What is wrong with the options."""
    found = [] if options.docs is None or options.docs.is_dir() else [f"--docs {options.docs}: found no such folder"]
    found += [problem for base in options.base_model for problem in base_problems(base, Path())]
    found += line_problems(options, key="machine")
    return found if sizes(options) else [*found, "found no size, expected numbers behind --val, --train or --pairs"]


if __name__ == "__main__":
    sys.exit(main())
