"""What a run prints on stderr: a line for each stage with the elapsed time, how far it is, a table at the end.

A terminal shows one line at the bottom: what is being done, the share of the whole run, elapsed and remaining time. A file, a
pipe or a CI job gets plain text, with such a line every so often. stdout stays free for results. Elapsed time counts from the
start of the process, as the user's clock does.
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean
from threading import Event, Thread
from typing import TYPE_CHECKING, TypeVar

import psutil
from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from retrieval.progress import Group, Part, Progress
from retrieval.runtime import PROCESS_INDEX
from retrieval.tickets import printable

if TYPE_CHECKING:
    from retrieval.prediction import Prediction

# The processor's time until here is what starting took; when the process began is known to the second only.
STARTED: float = time.monotonic() - time.process_time()
# Whether stderr is a terminal that somebody looks at: a log of a CI job is read as text, whatever its FORCE_COLOR says.
INTERACTIVE = bool(sys.stderr and sys.stderr.isatty()) and not os.environ.get("CI")
CONSOLE = Console(
    stderr=True, highlight=False, soft_wrap=True, emoji=False, quiet=PROCESS_INDEX > 0, force_terminal=INTERACTIVE
)
TELL_EVERY_S = 20.0  # in a file or a pipe
REFRESH_S = 0.5  # of the line at the bottom of a terminal; so long nothing is shown of a bar that is soon done
UNSURE = 0.5
SHOWN_IDS = 10  # of tickets out of scope

T = TypeVar("T")


class Verbosity(StrEnum):
    """How much is printed."""

    QUIET = "quiet"  # warnings and errors
    NORMAL = "normal"
    VERBOSE = "verbose"  # also what each stage and each bar took, memory, where the models lie


@dataclass(slots=True)
class _Shown:
    """What the process shows at present."""

    verbosity: Verbosity = Verbosity.NORMAL
    progress: Progress | None = None


_SHOWN = _Shown()


def elapsed() -> float:
    """Seconds since the start of the process."""
    return time.monotonic() - STARTED


def say(text: str) -> None:
    """A line with the elapsed time; not in a quiet run."""
    if _SHOWN.verbosity != Verbosity.QUIET:
        show(Text(f"[{elapsed():6.1f} s] {text}"))


def say_more(text: str) -> None:
    """The same, in a verbose run alone."""
    if _SHOWN.verbosity == Verbosity.VERBOSE:
        say(f"  {text}")


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
        if _SHOWN.progress:
            _SHOWN.progress.begin(name)
        began = time.monotonic()
        try:
            yield
        finally:
            spent = time.monotonic() - began
            self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 3)
            say_more(f"{name}: {spent:.1f} s, memory in use {psutil.Process().memory_info().rss / 2**30:.2f} GiB")


def expect(plan: Sequence[Part]) -> None:
    """From now on the display shows how far the run is in this plan."""
    if _SHOWN.progress:
        _SHOWN.progress = Progress(plan)


def leave_out(*groups: Group) -> None:
    """The display no longer counts on the parts of these groups."""
    if _SHOWN.progress:
        _SHOWN.progress.leave_out(*groups)


def bar(items: Sequence[T], label: str) -> Iterator[T]:
    """Passes the items on and shows how many are done: in the display of the run, or in one of its own where there is none."""
    if _SHOWN.progress:
        yield from _counted(items, label, _SHOWN.progress)
        return
    with display([Part("", 1.0, label)]) as progress:
        yield from _counted(items, label, progress)


def _counted(items: Sequence[T], label: str, progress: Progress) -> Iterator[T]:
    began = time.monotonic()
    progress.begin_bar(label)
    try:
        for done, item in enumerate(items):
            progress.report(label, done, len(items))
            yield item
        progress.report(label, len(items), max(1, len(items)))
    finally:
        progress.end_bar()
        say_more(f"{label}: {time.monotonic() - began:.1f} s")


@contextmanager
def display(plan: Sequence[Part] = (), *, verbosity: Verbosity = Verbosity.NORMAL) -> Iterator[Progress]:
    """Shows how far things are while the block runs; one at a time."""
    _SHOWN.progress, _SHOWN.verbosity, ended = Progress(plan), verbosity, Event()
    teller = Thread(target=_tell, args=(ended,), daemon=True)
    if not CONSOLE.quiet and _SHOWN.verbosity != Verbosity.QUIET:
        teller.start()
    try:
        yield _SHOWN.progress
    finally:
        _SHOWN.progress, _SHOWN.verbosity = None, Verbosity.NORMAL
        ended.set()
        if teller.ident:
            teller.join()


def _tell(ended: Event) -> None:
    """Shows the progress until the end: one line that changes, or lines."""
    if not CONSOLE.is_terminal or CONSOLE.is_dumb_terminal:
        while not ended.wait(TELL_EVERY_S) and (progress := _SHOWN.progress):
            say(f"  {_state(progress)}")
    elif not ended.wait(REFRESH_S):
        try:
            with Live(console=CONSOLE, get_renderable=_line, auto_refresh=False, transient=True, redirect_stdout=False) as live:
                live.refresh()
                while not ended.wait(REFRESH_S):
                    live.refresh()
        except (OSError, SystemExit):  # as in `show`
            CONSOLE.quiet = True


def _state(progress: Progress) -> str:
    """What is being done, how much of all is done, and how long the rest will take, where that is known."""
    left = progress.remaining()
    rest = "" if left is None else f", about {_minutes(left)} left"
    return f"{progress.text}: {int(100 * progress.share())} % done{rest}"


def _line() -> RenderableType:
    """The line at the bottom of a terminal."""
    line = Table.grid(padding=(0, 1))
    if progress := _SHOWN.progress:
        line.add_row(_minutes(elapsed()), ProgressBar(total=1.0, completed=progress.share(), width=30), Text(_state(progress)))
    return line


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def print_summary(predictions: "Sequence[Prediction]", *, facts: Sequence[tuple[str, str]], warnings: Sequence[str]) -> None:
    """Prints what a user wants to know first; the rest stands in run.json and predictions.jsonl.

    Args:
        predictions: of all tickets.
        facts: further lines (train rows, base, training, gates, where things are), name and value.
        warnings: a sentence each; they alone are printed in a quiet run.
    """
    if _SHOWN.verbosity == Verbosity.QUIET:
        for warning in warnings:
            show(Text(f"warning: {printable(warning)}"))
        return
    named = [(name, "bold", value) for name, value in [*_prediction_lines(predictions), *facts]]
    named += [("warning", "bold yellow", warning) for warning in warnings]
    show("")
    show(_columns([(Text(name, style=style), Text(printable(value))) for name, style, value in named]))


def _columns(lines: Sequence[tuple[Text, Text]]) -> RenderableType:
    """Names and values in two columns; where nobody looks, a value stays on its line, so that a search finds all of it."""
    if CONSOLE.is_terminal:
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        for line in lines:
            table.add_row(*line)
        return table
    width = max(name.cell_len for name, _ in lines)
    return Text("\n".join(f"{name.plain:<{width}}  {value.plain}" for name, value in lines))


def _prediction_lines(predictions: "Sequence[Prediction]") -> list[tuple[str, str]]:
    found = [prediction.retrieval for prediction in predictions]
    confidence = [retrieval.confidence for retrieval in found]
    unsure = sum(value < UNSURE for value in confidence)
    outside = [retrieval.ticket.id for retrieval in found if retrieval.out_of_scope]
    sources: Counter[str] = Counter(prediction.reply.source for prediction in predictions)
    kinds = ("generated", "copied", "composed", "replaced", *(["remote"] if sources["remote"] else []))
    return [
        ("answered", f"{counted(len(found), 'ticket')} with {counted(len({one.intent for one in found}), 'intent')}"),
        ("confidence", f"mean {fmean(confidence):.2f}, lowest {min(confidence):.2f}, {unsure} below {UNSURE}"),
        ("out of scope", counted(len(outside), "ticket") + _named(outside)),
        ("replies", ", ".join(f"{sources[kind]} {kind}" for kind in kinds)),
    ]


def _named(ids: Sequence[str]) -> str:
    """The first ids, behind a colon; nothing where there are none."""
    more = ", ..." if len(ids) > SHOWN_IDS else ""
    return f": {', '.join(ids[:SHOWN_IDS])}{more}" if ids else ""


def counted(number: int, noun: str) -> str:
    """`1 ticket`, `2 tickets`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
