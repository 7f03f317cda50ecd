"""Systems compared row by row: means, paired differences, bootstrap intervals, as a table and as a plot."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.ablation.outputs import Output
from evaluation.ablation.systems import FULL
from evaluation.measured_lines import Measured
from evaluation.report.charts import new_figure
from evaluation.score.grading import RowScore, score_rows
from evaluation.score.results import ResultRow
from evaluation.splits import Split
from retrieval.bootstrap import bootstrap_interval
from retrieval.encoder import Encoder
from retrieval.gate import Gate

BETTER, WORSE, UNCLEAR = "#1a7f4b", "#b3261e", "#6b7280"


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over rows, its paired difference to the reference, and the 95 % interval of that."""

    mean: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """One system over all splits."""

    name: str
    reference: str
    rows: int  # test rows
    intents: Figure  # share of correct intents
    quality: Figure  # of the replies, 0 to 1, as evaluation.score has it
    sources: dict[str, int]  # how many replies were copied, generated, replaced


def measure(
    split: Split, outputs: Sequence[Output], gate: Gate | None, grading: Encoder, *, settings: Mapping[str, Any]
) -> Measured:
    """Every system's scores on a split, row by row, as they go into a line of JSON; `settings`: what it was measured with."""
    systems = {}
    for output in outputs:
        rows = scored(split, output, grading)
        systems[output.system.name] = {
            "reference": output.system.reference,
            "correct": [float(row.intent_correct) for row in rows],
            "quality": [row.quality for row in rows],
            "sources": dict(Counter(reply.source for reply in output.replies)),
            "replies": [reply.text for reply in output.replies],  # so that a surprising figure can be looked into
        }
    return {"split": split.name, "settings": dict(settings), "reply_gate": gate.decision if gate else None, "systems": systems}


def scored(split: Split, output: Output, grading: Encoder) -> list[RowScore]:
    """A system's answers against the labels, in the order of the test rows."""
    found = zip(split.labels, output.intents, output.replies, strict=True)
    predictions = {label.id: ResultRow(intent, reply.text) for label, intent, reply in found}
    return score_rows(predictions, {label.id: label for label in split.labels}, grading)


def compare(measured: Sequence[Measured], *, seed: int) -> list[Comparison]:
    """Every system over all splits, and against its reference, row by row."""
    found = []
    for name in measured[0]["systems"] if measured else ():
        own = [line["systems"][name] for line in measured]
        reference = own[0]["reference"]
        others = [line["systems"][reference] for line in measured]
        intents, quality = (figure(_rows(own, key), _rows(others, key), seed=seed) for key in ("correct", "quality"))
        sources = sum((Counter(one["sources"]) for one in own), Counter[str]())
        found.append(Comparison(name, reference, len(_rows(own, "correct")), intents, quality, dict(sorted(sources.items()))))
    return found


def _rows(systems: Sequence[dict[str, Any]], key: str) -> list[float]:
    return [value for one in systems for value in one[key]]


def figure(values: Sequence[float], reference: Sequence[float], *, seed: int) -> Figure:
    """The mean of (m,) values and the paired difference to (m,) reference values."""
    differences = np.asarray(values, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    low, high = bootstrap_interval(differences, level=0.95, seed=seed)
    return Figure(float(np.mean(values)), float(differences.mean()), low, high)


def table_line(found: Comparison) -> dict[str, str]:
    """A system as a line of the table; a difference whose interval leaves out zero is bold."""
    referred = found.name != found.reference
    return {
        "system": found.name if found.reference in (found.name, FULL) else f"  {found.name}",
        "intents %": f"{100 * found.intents.mean:.1f}",
        "minus reference, points": _difference(found.intents, scale=100, digits=1) if referred else "",
        "reply quality": f"{found.quality.mean:.3f}",
        "minus reference": _difference(found.quality, scale=1, digits=3) if referred else "",
        "replies": ", ".join(f"{count} {source}" for source, count in found.sources.items()),
    }


def _difference(found: Figure, *, scale: float, digits: int) -> str:
    text = f"{scale * found.difference:+.{digits}f} ({scale * found.low:+.{digits}f} .. {scale * found.high:+.{digits}f})"
    return f"[bold]{text}[/bold]" if found.low > 0 or found.high < 0 else text


def draw_differences(comparisons: Sequence[Comparison], path: Path) -> None:
    """Draws intents and reply quality side by side, a line per system."""
    shown = [found for found in comparisons if found.name != found.reference]
    drawn = new_figure(11, 1.2 + 0.34 * len(shown))
    left, right = drawn.subplots(1, 2, sharey=True)
    _panel(left, [found.intents for found in shown], "intent accuracy, points", scale=100)
    _panel(right, [found.quality for found in shown], "reply quality", scale=1)
    left.set_yticks(range(len(shown)), [found.name for found in shown], fontsize=9)
    left.invert_yaxis()
    drawn.suptitle("difference to the reference, 95 % bootstrap interval over rows", fontsize=10)
    drawn.savefig(path, dpi=110)


def _panel(axes: Any, figures: Sequence[Figure], title: str, *, scale: float) -> None:
    axes.axvline(0, color="0.7", linewidth=1)
    for line, found in enumerate(figures):
        colour = BETTER if found.low > 0 else WORSE if found.high < 0 else UNCLEAR
        axes.plot([scale * found.low, scale * found.high], [line, line], color=colour, linewidth=2)
        axes.plot(scale * found.difference, line, "o", color=colour, markersize=5)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel(title, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
