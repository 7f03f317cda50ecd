"""The charts of the report as data URIs, so that the page needs no other file."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

from evaluation.command import MissingPackage
from retrieval.map import MapPoint, draw_map
from retrieval.train_set import TrainSet

INK, ACCENT, SECOND = "#1c2430", "#1f5fa8", "#c98a1b"


def new_figure(width: float, height: float) -> Any:
    """A matplotlib figure of so many inches, without a window system."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackage("a plot", "matplotlib") from error
    return Figure(figsize=(width, height), layout="constrained")


def loss_chart(losses: Sequence[float], out_of_fold: float | None) -> str:
    """The completion loss of each step; the out-of-fold loss as a line across, for it is measured once."""

    def draw(axes: Any) -> None:
        """Both losses."""
        steps = range(1, len(losses) + 1)
        axes.plot(steps, losses, color=ACCENT, linewidth=1.8, marker="o", markersize=3, label="train, each step")
        if out_of_fold is not None:
            axes.axhline(out_of_fold, color=SECOND, linewidth=1.6, linestyle="--", label=f"out-of-fold: {out_of_fold:.2f}")
        axes.legend(frameon=False, fontsize=8)

    return _chart(draw, "step", "nats per token")


def confidence_chart(confidence: Sequence[float], *, unsure: float) -> str:
    """How many tickets have which confidence."""

    def draw(axes: Any) -> None:
        """The histogram."""
        axes.hist(confidence, bins=20, range=(0, 1), color=ACCENT, rwidth=0.92)
        axes.axvline(unsure, color=SECOND, linewidth=1.4, linestyle="--")

    return _chart(draw, "confidence", "tickets")


def map_chart(train_set: TrainSet, tickets: Sequence[MapPoint]) -> str:
    """The map of `retrieval.map`."""
    return _uri(lambda target: draw_map(train_set, tickets, target, file_format="svg"))


def _chart(draw: Callable[[Any], None], xlabel: str, ylabel: str) -> str:
    figure = new_figure(5.2, 3.2)
    axes = figure.add_subplot()
    draw(axes)
    axes.set_xlabel(xlabel, fontsize=9)
    axes.set_ylabel(ylabel, fontsize=9)
    axes.tick_params(labelsize=8, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    return _uri(lambda target: figure.savefig(target, format="svg", metadata={"Date": None}))


def _uri(save: Callable[[BytesIO], None]) -> str:
    drawn = BytesIO()
    save(drawn)
    return f"data:image/svg+xml;base64,{b64encode(drawn.getvalue()).decode()}"
