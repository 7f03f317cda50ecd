"""What a run shows on stderr: in a pipe, in a terminal, where nobody reads, quiet and verbose."""

import io
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from rich.console import Console

from retrieval import console
from retrieval.console import Clock, Verbosity, bar, display, expect, print_summary, say
from retrieval.intent_classifier import fit_classifier
from retrieval.prediction import Prediction, Reply
from retrieval.progress import Part
from retrieval.retrieve import retrieve
from retrieval.tickets import Ticket
from tests.fakes import HashEncoder, train_set
from tests.test_run import ROOT

PLAN = (Part("first", 1.0), Part("second", 1.0, "items"))
PROGRAM = """
import time
from retrieval.console import Clock, bar, display, expect
from retrieval.progress import Part
clock = Clock()
with display():
    expect([Part("first", 1.0), Part("second", 1.0, "items")])
    with clock.stage("first", "begin the first stage"):
        time.sleep(0.7)
    with clock.stage("second", "begin the second stage"):
        for _ in bar(range(4), "items"):
            time.sleep(0.4)
"""


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A pipe to write on, in a run that tells of its progress often."""
    written = io.StringIO()
    monkeypatch.setattr(console, "CONSOLE", Console(file=written, soft_wrap=True, width=80))
    monkeypatch.setattr(console, "TELL_EVERY_S", 0.01)
    return written


def work(verbosity: Verbosity = Verbosity.NORMAL, *, item: Callable[[int], object] = lambda _: time.sleep(0.05)) -> None:
    clock = Clock()
    with display(verbosity=verbosity):
        expect(PLAN)
        with clock.stage("first", "begin the first stage"):
            pass
        with clock.stage("second", "begin the second stage"):
            for i in bar(range(4), "items"):
                item(i)


def in_a_terminal(program: str, **environment: str) -> str:
    """What a program writes on a terminal that is its stderr."""
    ours, theirs = pty.openpty()
    inherited = {key: value for key, value in os.environ.items() if key not in ("CI", "COLUMNS")}
    settings = inherited | {"TERM": "xterm"} | environment
    child = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=theirs, env=settings)
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 4096):
            said += piece
    except OSError:  # the other end is closed
        pass
    assert child.wait(timeout=60) == 0
    os.close(ours)
    return said.decode()


def without_controls(said: str) -> str:
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", said)


def test_a_pipe_gets_plain_lines_with_stage_share_and_remaining_time(stderr: io.StringIO) -> None:
    work()
    said = stderr.getvalue()
    assert not re.search(r"[\r\x1b]", said), "no control characters"
    assert all(re.match(r"\[ *\d+\.\d s\] ", line) for line in said.splitlines())
    assert re.search(r"\] begin the first stage\n(?s:.*)\] begin the second stage\n", said)
    assert re.search(r"\]   items, 2 of 4: 75 % done, about 0:0\d left\n", said)


def test_lines_in_a_pipe_come_every_so_often_and_not_with_every_item(
    stderr: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "TELL_EVERY_S", 20.0)
    work()
    assert len(stderr.getvalue().splitlines()) == 2


def test_quiet_prints_nothing_but_warnings(stderr: io.StringIO) -> None:
    with display(verbosity=Verbosity.QUIET):
        work_inside = Clock()
        with work_inside.stage("first", "begin"):
            say("more")
        print_summary([], facts=[("name", "value")], warnings=["something is odd"])
    assert stderr.getvalue() == "warning: something is odd\n"


LONG = "copy (mean gain [of] -0.026 in the first fold, +0.003 at its 93.7 % quantile, +0.01 needed: not measured further)"


def summary() -> None:
    """The table at the end of a run of one ticket, with a value that is longer than a line of a terminal."""
    ticket, classifier = Ticket("a", "does a guest cost anything"), fit_classifier(train_set(), with_names=True)
    (found,) = retrieve(classifier, [ticket], HashEncoder().encode([ticket.text]))
    print_summary(
        [Prediction(found, Reply("It does.", "copied"), 1.0)], facts=[("gate: replies", LONG)], warnings=["it is odd"]
    )


def test_in_a_pipe_every_value_of_the_summary_stays_whole_on_its_line(stderr: io.StringIO) -> None:
    summary()
    lines = stderr.getvalue().splitlines()
    assert f"gate: replies  {LONG}" in lines
    assert "warning        it is odd" in lines
    assert "answered       1 ticket with 1 intent" in lines
    assert all(line == line.rstrip() for line in lines)


def test_on_a_terminal_it_is_wrapped_beside_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(console, "CONSOLE", Console(file=written, force_terminal=True, width=80))
    summary()
    lines = without_controls(written.getvalue()).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("gate: replies  copy (mean gain [of]"))
    assert lines[at + 1].startswith(" " * 15)
    assert max(map(len, lines)) <= 80


def test_verbose_prints_what_each_stage_and_bar_took_and_the_memory(stderr: io.StringIO) -> None:
    work(Verbosity.VERBOSE)
    said = stderr.getvalue()
    assert re.search(r"\]   items: \d\.\d s\n", said)
    assert re.search(r"\]   second: \d\.\d s, memory in use \d\.\d\d GiB\n", said)


def test_verbosity_ends_with_the_run(stderr: io.StringIO) -> None:
    work(Verbosity.QUIET)
    say("after")
    assert stderr.getvalue().endswith("] after\n")


@pytest.mark.parametrize("failure", [BrokenPipeError, OSError])
def test_a_run_whose_stderr_is_gone_goes_on(monkeypatch: pytest.MonkeyPatch, failure: type[OSError]) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise failure

    monkeypatch.setattr(console, "CONSOLE", Console(file=Gone(), force_terminal=True))
    monkeypatch.setattr(console.CONSOLE, "on_broken_pipe", lambda: sys.exit(1))  # as rich does, without closing our stdout
    monkeypatch.setattr(console, "REFRESH_S", 0.01)
    done: list[int] = []
    work(item=lambda i: (time.sleep(0.05), done.append(i)))
    assert done == [0, 1, 2, 3]


@pytest.mark.parametrize("ending", ["2>&-", "2>/dev/full"])
def test_a_closed_or_full_stderr_does_not_end_the_program(ending: str) -> None:
    command = f"exec {sys.executable} -c '{PROGRAM}' {ending}"
    assert subprocess.run(["sh", "-c", command], cwd=ROOT, timeout=60, check=False).returncode == 0


def test_a_terminal_shows_one_line_that_is_gone_at_the_end() -> None:
    said = in_a_terminal(PROGRAM)
    assert "items, 3 of 4: 87 % done, about 0:00 left" in said
    assert without_controls(said.rpartition("\x1b[2K")[2]).strip() == "", "the line is cleared"
    lines = [line for line in without_controls(said).split("\n") if line.strip()]
    assert len(lines) == 3, "two stages and the place of the line: it is written over"


def test_a_job_of_ci_and_a_terminal_that_knows_no_control_codes_get_plain_lines() -> None:
    for environment in ({"CI": "true", "FORCE_COLOR": "1"}, {"TERM": "dumb"}):
        said = in_a_terminal(PROGRAM, **environment)
        assert "\x1b" not in said
        assert [line.partition("] ")[2].strip() for line in said.splitlines()] == [
            "begin the first stage",
            "begin the second stage",
        ]


def test_a_forced_colour_brings_no_control_characters_into_a_pipe() -> None:
    settings = os.environ | {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, env=settings, capture_output=True, check=True)
    assert b"\x1b" not in done.stderr
    assert b"\r" not in done.stderr


def test_what_a_library_prints_meanwhile_stands_above_the_line() -> None:
    said = in_a_terminal(PROGRAM.replace("time.sleep(0.7)", "time.sleep(0.9); import sys; print('look', file=sys.stderr)"))
    assert re.search(r"\x1b\[2Klook\r\n", said), "the line was cleared first"


def test_a_bar_outside_of_a_run_shows_itself(stderr: io.StringIO) -> None:
    assert [*(i for i in bar(range(3), "alone") if not time.sleep(0.05))] == [0, 1, 2]
    assert re.search(r"\]   alone, 1 of 3: 33 % done, about 0:00 left\n", stderr.getvalue())


def test_a_bar_that_is_left_early_ends(stderr: io.StringIO) -> None:
    with display(PLAN) as progress:
        progress.begin("second")
        for _ in bar(range(4), "items"):
            break
        assert progress.text == "second"
