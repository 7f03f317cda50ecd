"""What was measured, side by side: medians of costs with their ratio to this program's, means of scores; tables and a plot."""

from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, median
from typing import Any

from psutil import virtual_memory

from evaluation.benchmarks.bench.contestants import CONTESTANTS, PACKAGES, PARTS, RUN
from evaluation.benchmarks.bench.paired import Line, paired_table
from evaluation.measured_lines import Measured
from retrieval.cpu import described, usable_cores
from retrieval.files import write_text
from retrieval.map import NoPlots

# The heads of the tables by the keys of `Measured`; for a cost also the part of this program that others are compared with.
COSTS = {
    "setup_s": ("setup, s", PARTS),
    "step_s": ("training step, s", PARTS),
    "reply_s": ("generated reply, s", PARTS),
    "ticket_s": ("answered ticket, s", RUN),
    "wall_s": ("whole run, s", RUN),
    "peak_gib": ("peak memory, GiB", RUN),
}
SCORES = {
    "intents": "correct intents",
    "quality": "reply quality",
    "cosine": "cosine",
    "rouge_l": "ROUGE-L",
    "facts": "required facts met",
    "wrong_facts": "wrong facts",
    "words": "words in a reply",
}

NOTES = """
- `run.py` is the whole program: it also measures whether generated replies are better than stored ones, and copies where they
  are not. Its setup ends where fine-tuning, which loads the base, begins.
- `its LoRA and generation` is the same task as TRL's, with the code of a run, which on a CPU lets no gradient go back through
  the prompt: setup ends at the first training step, and every ticket is answered by an unchecked draft of the whole adapter.
- `TRL and generate` is SFTTrainer with a PEFT LoRA: same base weights, token ids, loss on the completion, rank, alpha, layers,
  learning rate, warm-up and cosine decay, batch and steps; then `model.generate`, greedy, row by row, with as many new tokens
  at most. Recomputed activations and casting to bf16, its defaults, are off, for they cost time on a CPU. The prompts are made
  by this program, retrieval included, outside of its time. It has no intents of its own: they are those of the nearest train
  tickets by the encoder.
- `SetFit` learns the intents alone, with its defaults (thirty rows make about 840 pairs, 53 steps), on the same encoder.
- In brackets: how many times the cost of this program; of its parts for setup, step and generated reply, of `run.py` else.
- All have the same number of threads, which sleep while they wait (`OMP_WAIT_POLICY=passive`). Memory is resident memory, that
  of child processes included, looked at four times a second.
- Reply quality, cosine, ROUGE-L and facts are those of `evaluation.score`. The last table pairs the answers by ticket: the mean
  difference, of a ticket that several rounds answered the mean of them, with 95 % bootstrap intervals over tickets.
"""


def tables(measured: Sequence[Measured]) -> list[list[Line]]:
    """Costs and scores, a line for each base and contestant; the answers of this program against those of the others."""
    costs, scores = [], []
    for base in bases(measured):
        by_name = {name: runs for name in CONTESTANTS if (runs := runs_of(measured, base, name))}
        for name, runs in by_name.items():
            head = {"base": base, "contestant": name, "runs": str(len(runs))}
            references = {key: by_name.get(part, ()) if name in PACKAGES else () for key, (_, part) in COSTS.items()}
            costs.append(head | {COSTS[key][0]: cell(key, runs, reference) for key, reference in references.items()})
            scores.append(head | {SCORES[key]: cell(key, runs, ()) for key in SCORES})
    return [table for table in (costs, scores, paired_table(measured)) if table]


def bases(measured: Sequence[Measured]) -> list[str]:
    """The bases in their order."""
    return list(dict.fromkeys(run["base"] for run in measured))


def runs_of(measured: Sequence[Measured], base: str, name: str) -> list[Measured]:
    """The runs of a contestant with a base."""
    return [run for run in measured if (run["base"], run["contestant"]) == (base, name)]


def cell(key: str, runs: Sequence[Measured], reference: Sequence[Measured]) -> str:
    """A figure; where there is a reference, how many times the reference's it is."""
    own, other = figure(key, runs), figure(key, reference)
    if own is None:
        return "–"
    return short(own) + (f" ({own / other:.2f} ×)" if other else "")


def short(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def figure(key: str, runs: Sequence[Measured]) -> float | None:
    """The median of a cost or the mean of a score over runs; None where none of them has it."""
    found = [run[key] for run in runs if run[key] is not None]
    return (median if key in COSTS else fmean)(found) if found else None


def markdown(lines: Sequence[Line]) -> str:
    """A table for a page."""
    rows = [list(lines[0]), ["---"] * len(lines[0]), *(list(line.values()) for line in lines)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def machine() -> str:
    """Where it is measured and with what."""
    installed = (name for name in ("torch", "transformers", "peft", "trl", "setfit") if find_spec(name))  # --only may need few
    versions = ", ".join(f"{name} {version(name)}" for name in installed)
    cores = "1 core" if usable_cores() == 1 else f"{usable_cores()} cores"
    return f"{cores} ({described()}), {virtual_memory().total / 2**30:.0f} GiB of memory, {versions}"


def write_docs(measured: Sequence[Measured], folder: Path) -> None:
    """Writes bench.md and bench.png into a folder.

    Raises:
        NoPlots: matplotlib is missing.
    """
    draw(measured, folder / "bench.png")
    about = sorted({"{train_rows} train rows and {tickets} tickets on {machine}".format(**run) for run in measured})
    top = f"# Side by side\n\nMedians of costs, means of scores. {'; '.join(about)}.\n"
    write_text(folder / "bench.md", "\n".join([top, *map(markdown, tables(measured)), "![all figures](bench.png)", NOTES]))


def draw(measured: Sequence[Measured], path: Path) -> None:
    """A row of panels for each base, a panel for each cost and for the two scores that count."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NoPlots("the plot needs matplotlib, found none: pip install -r requirements-bench.txt") from error
    heads = {key: head for key, (head, _) in COSTS.items()} | {key: SCORES[key] for key in ("intents", "quality")}
    whole = Figure(figsize=(16, 0.6 + 1.7 * len(bases(measured))), layout="constrained")
    panels: Any = whole.subplots(len(bases(measured)), len(heads), squeeze=False, sharey=True)
    for base, row in zip(bases(measured), panels, strict=True):
        for (key, head), axes in zip(heads.items(), row, strict=True):
            values = [figure(key, runs_of(measured, base, name)) for name in CONTESTANTS]
            bars = axes.barh(CONTESTANTS, [value or 0 for value in values], color=[f"C{i}" for i in range(len(values))])
            axes.bar_label(bars, ["" if value is None else short(value) for value in values], padding=2, fontsize=8)
            axes.set_title(head, fontsize=9)
            axes.set_xticks([])
            axes.tick_params(left=False)
            axes.margins(x=0.4)
            axes.spines[:].set_visible(False)
        row[0].set_ylabel(base, fontsize=9)
        row[0].invert_yaxis()
    whole.savefig(path, dpi=110)
