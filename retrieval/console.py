"""What a run prints on stderr: a line for each stage with the elapsed time, a bar for what takes long, a table at the end.

stdout stays free for results. Elapsed time counts from the start of the process, as the user's clock does.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import TYPE_CHECKING, TypeVar

import psutil
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from retrieval.runtime import PROCESS_INDEX
from retrieval.tickets import printable

if TYPE_CHECKING:
    from retrieval.prediction import Prediction

STARTED: float = time.monotonic() - max(0.0, time.time() - psutil.Process().create_time())
CONSOLE = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False, quiet=PROCESS_INDEX > 0)
TELL_EVERY_S = 20.0
UNSURE = 0.5

T = TypeVar("T")


def elapsed() -> float:
    """Seconds since the start of the process."""
    return time.monotonic() - STARTED


def say(text: str) -> None:
    """A line with the elapsed time."""
    show(Text(f"[{elapsed():6.1f} s] {text}"))


def show(what: RenderableType) -> None:
    """Prints on stderr, if anybody reads it."""
    try:
        CONSOLE.print(what)
    except (OSError, SystemExit):  # nobody does (rich ends the process over it); the result is still wanted
        CONSOLE.quiet = True


class Clock:
    """Prints each stage as it begins and keeps how long it took, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, text: str) -> Iterator[None]:
        """Prints `text`, runs the stage, and adds its time under `name`."""
        say(text)
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - began, 3)


def bar(items: Sequence[T], label: str) -> Iterator[T]:
    """Passes the items on and shows how many are done and how long the rest will take; gone when done.

    Where stderr is a file or a pipe, a line every so often takes the place of the bar.
    """
    return _with_bar(items, label) if CONSOLE.is_terminal else _with_lines(items, label)


def _with_bar(items: Sequence[T], label: str) -> Iterator[T]:
    columns = (
        TextColumn("           {task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=CONSOLE, transient=True) as progress:
        yield from progress.track(items, description=label)


def _with_lines(items: Sequence[T], label: str) -> Iterator[T]:
    began = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - last > TELL_EVERY_S:
            say(f"  {label}: {done} of {len(items)}, about {(now - began) / done * (len(items) - done):.0f} s left")
            last = now
        yield item


def print_summary(predictions: "Sequence[Prediction]", *, facts: Sequence[tuple[str, str]], warnings: Sequence[str]) -> None:
    """Prints what a user wants to know first; the rest stands in run.json and predictions.jsonl.

    Args:
        predictions: of all tickets.
        facts: further lines (train rows, base, training, gates, where things are), name and value.
        warnings: a sentence each.
    """
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in [*_prediction_lines(predictions), *facts]:
        table.add_row(Text(name, style="bold"), Text(printable(value)))
    for warning in warnings:
        table.add_row(Text("warning", style="bold yellow"), Text(printable(warning)))
    show("")
    show(table)


def _prediction_lines(predictions: "Sequence[Prediction]") -> list[tuple[str, str]]:
    found = [prediction.retrieval for prediction in predictions]
    confidence = [retrieval.confidence for retrieval in found]
    unsure = sum(value < UNSURE for value in confidence)
    outside = sum(retrieval.out_of_scope for retrieval in found)
    sources = Counter(prediction.reply.source for prediction in predictions)
    return [
        ("answered", f"{len(found)} tickets with {len({retrieval.intent for retrieval in found})} intents"),
        ("confidence", f"mean {fmean(confidence):.2f}, lowest {min(confidence):.2f}, {unsure} below {UNSURE}"),
        ("out of scope", f"{outside} tickets resemble no intent"),
        ("replies", ", ".join(f"{sources[kind]} {kind}" for kind in ("generated", "copied", "composed", "replaced"))),
    ]
