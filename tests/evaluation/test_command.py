import argparse
from collections.abc import Callable

import pytest

from evaluation.command import MissingPackage, count, new_parser, run_command
from retrieval.errors import ModelUnavailable
from retrieval.map import NoPlots
from retrieval.tickets import InputProblems


class Special(Exception):
    pass


def raising(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (InputProblems(["a: bad", "b: bad"]), 2, "a: bad\nb: bad\n"),
        (ModelUnavailable("no model"), 1, "error: no model\n"),
        (
            MissingPackage("a plot", "x"),
            1,
            "error: a plot needs x, found none: `make report` installs it, or pip install -r requirements-dev.txt\n",
        ),
        (NoPlots("no plots"), 1, "error: no plots\n"),
        (Special("special"), 1, "error: special\n"),
        (PermissionError(13, "Permission denied", "f"), 1, "error: f cannot be read or written: Permission denied\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_a_user_can_mend_is_a_sentence_and_a_status(
    error: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(raising(error), failures=(Special,)) == status
    assert capsys.readouterr().err == said


def test_a_bug_is_a_traceback_and_a_status_is_passed_on() -> None:
    with pytest.raises(Special):
        run_command(raising(Special()))
    assert run_command(lambda: 3) == 3


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", ""])
def test_a_count_below_one_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected a whole number from 1"):
        count(text)
    assert count("12") == 12


def test_help_begins_with_the_first_line_of_the_docstring() -> None:
    found = new_parser("a.b", "First line.\n\nMore.").format_help()
    assert "python -m a.b" in found
    assert "First line." in found
    assert "More" not in found
