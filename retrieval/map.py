"""The train set and new tickets on a plane: which intents lie apart, and where a new ticket fell.

Train rows are dots, new tickets crosses, coloured by intent, with thin lines from a new ticket to its neighbours. The plane is
t-SNE's (van der Maaten and Hinton 2008) with its start from the principal components and one seed, so the same rows give the
same picture; with fewer than five points it is the first two principal components.
Distances between groups mean little.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from retrieval.encoder import Vectors
from retrieval.train_set import TrainSet

FEWEST_FOR_TSNE = 5
PERPLEXITY = 12.0  # about as many neighbours as thirty rows can show
MOST_LINES = 200  # new tickets beyond which lines would cover everything
MOST_NAMED = 24  # intents beyond which names would cover everything
MARKERS = "osD^vP*X"
Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MapPoint:
    """A new ticket for the map."""

    id: str  # of the ticket
    intent: str  # that was predicted
    vector: Vectors  # (d,) unit vector
    neighbours: tuple[str, ...]  # ids of its nearest train rows


class NoPlots(Exception):
    """matplotlib is not installed; the message says how to get it."""


def draw_map(train_set: TrainSet, tickets: Sequence[MapPoint], target: Path | BinaryIO, *, file_format: str = "png") -> None:
    """Draws the map.

    Args:
        train_set: the train rows.
        tickets: the new tickets.
        target: a file, or where to write its bytes.
        file_format: png or svg.

    Raises:
        NoPlots: matplotlib is missing.
    """
    figure, axes = _axes()
    points = plane(np.concatenate([train_set.ticket_vectors, *(ticket.vector[None] for ticket in tickets)]))  # (n + m, 2)
    rows, fresh = points[: len(train_set.rows)], points[len(train_set.rows) :]
    looks = _looks(train_set)
    _draw_lines(axes, train_set, tickets, rows, fresh)
    for c, intent in enumerate(train_set.intents):
        colour, marker = looks[intent]
        own = rows[train_set.labels == c]
        axes.scatter(own[:, 0], own[:, 1], s=46, color=colour, marker=marker, label=intent, edgecolors="white", zorder=3)
    for ticket, point in zip(tickets, fresh, strict=True):
        axes.scatter(*point, s=44, color=looks[ticket.intent][0], marker="x", linewidths=2, zorder=4)
    _name_things(axes, train_set, tickets, rows, fresh)
    undated = {"Date": None} if file_format == "svg" else None  # the same rows give the same bytes
    figure.savefig(target, format=file_format, dpi=110, bbox_inches="tight", metadata=undated)


def plane(vectors: Vectors) -> Points:
    """(n, d) -> (n, 2)."""
    if not np.ptp(vectors, axis=0).any():  # all the same: t-SNE would divide by their spread
        return np.zeros((len(vectors), 2))
    if len(vectors) < FEWEST_FOR_TSNE:
        return _first_components(vectors)
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    return np.asarray(TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(vectors), dtype=np.float64)


def _first_components(vectors: Vectors) -> Points:
    left, lengths, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    found = np.zeros((len(vectors), 2))
    found[:, : len(lengths)] = (left * lengths)[:, :2]
    return found


def _axes() -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NoPlots("plots need matplotlib, found none: pip install -r requirements-dev.txt") from error
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title("dots: train rows; crosses: new tickets; lines: to their nearest rows", fontsize=10, loc="left", color="0.3")
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    return figure, axes


def _looks(train_set: TrainSet) -> dict[str, tuple[Any, str]]:
    """A colour and a marker for each intent; ten colours come round again with another marker."""
    from matplotlib import colormaps

    colours: Any = colormaps["tab10"](range(10))
    return {
        intent: (colours[c % len(colours)], MARKERS[(c // len(colours)) % len(MARKERS)])
        for c, intent in enumerate(train_set.intents)
    }


def _draw_lines(axes: Any, train_set: TrainSet, tickets: Sequence[MapPoint], rows: Points, fresh: Points) -> None:
    if len(tickets) > MOST_LINES:
        return
    number = {row.id: i for i, row in enumerate(train_set.rows)}
    for ticket, point in zip(tickets, fresh, strict=True):
        for rank, row_id in enumerate(name for name in ticket.neighbours if name in number):
            ends = np.stack([point, rows[number[row_id]]])
            axes.plot(ends[:, 0], ends[:, 1], color="0.45", linewidth=1.2 / (1 + rank), alpha=0.6, zorder=1)


def _name_things(axes: Any, train_set: TrainSet, tickets: Sequence[MapPoint], rows: Points, fresh: Points) -> None:
    """Names of intents in a legend, ids of new tickets beside their crosses while there are few."""
    if len(train_set.intents) <= MOST_NAMED:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)
    if len(tickets) > MOST_NAMED:
        return
    for ticket, point, lift in zip(tickets, fresh, cycle((6, -12)), strict=False):
        axes.annotate(ticket.id, point, xytext=(6, lift), textcoords="offset points", fontsize=8, parse_math=False)
