"""The charts of the report as data URIs, so that the page needs no other file.

What it does not know: the page.
"""

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from retrieval.map import NoPlots, Placed, draw_map
from retrieval.train_set import TrainSet

INK, ACCENT, HELD_OUT = "#1c2430", "#1f5fa8", "#c98a1b"


def loss_chart(losses: Sequence[float], held_out: float) -> str:
    """The completion loss of each step, and the held-out loss as a line across: it is measured once, by cross-fitting."""
    paper, axes = _paper("nats per token")
    axes.plot(
        range(1, len(losses) + 1), losses, color=ACCENT, linewidth=1.8, marker="o", markersize=3, label="train, each step"
    )
    axes.axhline(held_out, color=HELD_OUT, linewidth=1.6, linestyle="--", label=f"held out, cross-fitted: {held_out:.2f}")
    axes.set_xlabel("step", fontsize=9)
    axes.legend(frameon=False, fontsize=8)
    return _uri(paper)


def confidence_chart(confidence: Sequence[float]) -> str:
    """How many tickets have which confidence."""
    paper, axes = _paper("tickets")
    axes.hist(confidence, bins=20, range=(0, 1), color=ACCENT, rwidth=0.92)
    axes.axvline(0.5, color=HELD_OUT, linewidth=1.4, linestyle="--")
    axes.set_xlabel("confidence", fontsize=9)
    return _uri(paper)


def map_chart(train_set: TrainSet, placed: Sequence[Placed]) -> str:
    """The map of `retrieval.map`."""
    drawn = BytesIO()
    draw_map(train_set, placed, drawn, file_format="svg")
    return _encoded(drawn)


def _paper(title: str) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NoPlots("the report needs matplotlib, found none: pip install -r requirements-dev.txt") from error
    paper = Figure(figsize=(5.2, 3.2), layout="constrained")
    axes = paper.add_subplot()
    axes.set_ylabel(title, fontsize=9)
    axes.tick_params(labelsize=8, colors=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return paper, axes


def _uri(paper: Any) -> str:
    drawn = BytesIO()
    paper.savefig(drawn, format="svg", metadata={"Date": None})
    return _encoded(drawn)


def _encoded(drawn: BytesIO) -> str:
    return f"data:image/svg+xml;base64,{b64encode(drawn.getvalue()).decode()}"
