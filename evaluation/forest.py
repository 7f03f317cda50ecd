"""The ablation as a picture: for each system the paired difference to its reference, with its interval.

What it does not know: how the figures came about.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.outcomes import Figure, Outcome
from retrieval.map import NoPlots

GOOD, BAD, UNCLEAR = "#1a7f4b", "#b3261e", "#6b7280"


def draw_forest(outcomes: Sequence[Outcome], path: Path) -> None:
    """Draws intents and reply quality side by side, a line per system.

    Raises:
        NoPlots: matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure as Paper
    except ImportError as error:
        raise NoPlots("plots need matplotlib, found none: pip install -r requirements-dev.txt") from error
    shown = [outcome for outcome in outcomes if outcome.name != outcome.against]
    paper = Paper(figsize=(11, 1.2 + 0.34 * len(shown)), layout="constrained")
    left, right = paper.subplots(1, 2, sharey=True)
    _panel(left, [outcome.intents for outcome in shown], "intent accuracy, points", scale=100)
    _panel(right, [outcome.quality for outcome in shown], "reply quality", scale=1)
    left.set_yticks(range(len(shown)), [outcome.name for outcome in shown], fontsize=9)
    left.invert_yaxis()
    paper.suptitle("difference to the reference, 95 % bootstrap interval over rows", fontsize=10)
    paper.savefig(path, dpi=110)


def _panel(axes: Any, figures: Sequence[Figure], title: str, *, scale: float) -> None:
    axes.axvline(0, color="0.7", linewidth=1)
    for line, found in enumerate(figures):
        colour = GOOD if found.low > 0 else BAD if found.high < 0 else UNCLEAR
        axes.plot([scale * found.low, scale * found.high], [line, line], color=colour, linewidth=2)
        axes.plot(scale * found.difference, line, "o", color=colour, markersize=5)
    axes.set_xlabel(title, fontsize=9)
    axes.tick_params(labelsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
