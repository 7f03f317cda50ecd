"""How long tickets are made and cut."""

import re
from pathlib import Path

import numpy as np
import pytest

from evaluation.benchmarks import long_tickets
from evaluation.benchmarks.long_tickets import lengthened, pooled, windows
from retrieval.encoder import unit
from tests.evaluation.benchmarks.test_public_sets import data  # noqa: F401, a fixture
from tests.fakes import HashEncoder


def pieces(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(r"\w+", text)]


def test_a_text_is_cut_into_windows_of_so_many_pieces() -> None:
    assert windows("one two three four five", pieces, 2) == (["one two", "three four", "five"], [2, 2, 1])


def test_a_text_is_lengthened_before_or_behind_the_question() -> None:
    assert lengthened("why", ["a b", "c"], pieces, length=4, question_last=False) == "why. a b. c."
    assert lengthened("why", ["a b", "c"], pieces, length=4, question_last=True) == "a b. c. why"


def test_windows_are_pooled_by_their_length() -> None:
    encoder = HashEncoder()
    beginning, whole = pooled(["seat seat token"], pieces, 2, encoder)
    seat, token = encoder.encode(["seat seat", "token"])
    np.testing.assert_allclose(beginning[0], seat, atol=1e-6)
    np.testing.assert_allclose(whole[0], unit(2 * seat + token), atol=1e-6)


def test_the_command_prints_a_line_for_each_kind(
    data: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (data / "bare_out_of_scope.jsonl").rename(data / "clinc150_out_of_scope.jsonl")
    monkeypatch.setattr(long_tickets, "load_encoder", lambda _: HashEncoder())
    monkeypatch.setattr(long_tickets, "window_of", lambda _: (pieces, 10))
    assert long_tickets.main(["--data", str(data), "--sets", "full", "--tests", "4"]) == 0
    said = capsys.readouterr().out
    assert [kind for kind in ("question first", "question last", "same intent throughout") if kind not in said] == []
