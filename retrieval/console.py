"""What a run says on stderr while it works: a line for each stage with the elapsed time, a bar for what takes long.

stdout stays free for results. Elapsed time counts from the start of the process, as the user's clock does.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from retrieval.runtime import RANK

STARTED = time.monotonic()  # this module is imported first of all
CONSOLE = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False, quiet=RANK > 0)

TELL_EVERY_S = 20.0

T = TypeVar("T")


def elapsed() -> float:
    """Seconds since the start of the process."""
    return time.monotonic() - STARTED


def say(text: str) -> None:
    """A stage line."""
    show(Text(f"[{elapsed():6.1f} s] {text}"))


def show(what: RenderableType) -> None:
    """Prints on stderr, if anybody listens there."""
    try:
        CONSOLE.print(what)
    except (OSError, SystemExit):  # nobody does (rich ends the process over it); the result is still wanted
        CONSOLE.quiet = True


class Clock:
    """Says each stage as it begins and keeps how long it took, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, text: str) -> Iterator[None]:
        """Says `text`, runs the stage, and adds its time under `name`."""
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
    return _drawn(items, label) if CONSOLE.is_terminal else _told(items, label)


def _drawn(items: Sequence[T], label: str) -> Iterator[T]:
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


def _told(items: Sequence[T], label: str) -> Iterator[T]:
    began = said = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - said > TELL_EVERY_S:
            say(f"  {label}: {done} of {len(items)}, about {(now - began) / done * (len(items) - done):.0f} s left")
            said = now
        yield item
