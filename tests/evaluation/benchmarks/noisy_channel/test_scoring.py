import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.benchmarks.noisy_channel import scoring
from evaluation.benchmarks.noisy_channel.__main__ import main
from evaluation.benchmarks.noisy_channel.scoring import score_draw
from evaluation.benchmarks.public_sets import Draw
from retrieval.tickets import InputProblems
from tests.evaluation.benchmarks.noisy_channel.made import TESTS, TRUE
from tests.fakes import HashEncoder, base, train_set


def test_scores_are_kept_and_read_again_without_a_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "SCORED_BELOW", 2.0)
    tests = tuple(replace(test, text=f"{test.text} about a seat token export") for test in TESTS)
    vectors = HashEncoder().encode([test.text for test in tests])
    drawn = Draw(train_set(), np.arange(2), tests, vectors, TRUE)
    options = argparse.Namespace(candidates=3, cache=tmp_path, own_rows=True)
    given = ["reply", "name", "tuned", "name, tuned"]
    first = score_draw(drawn, base(), given, options, "key")
    again = score_draw(drawn, None, given, options, "key")
    assert first.own is not None
    assert again.own is not None
    for name in given:
        assert np.array_equal(first.tests.scores[name], again.tests.scores[name], equal_nan=True)
        assert np.array_equal(first.own.scores[name], again.own.scores[name], equal_nan=True)
    assert all(own not in rows for own, rows in enumerate(first.own.rows)), "a train row is hidden from itself"
    for bare, tuned in (("reply", "tuned"), ("name", "name, tuned")):
        assert not np.array_equal(first.tests.scores[bare], first.tests.scores[tuned], equal_nan=True)
    with pytest.raises(InputProblems):
        score_draw(drawn, None, ["ticket"], options, "key")


def test_a_command_without_a_folder_for_scores_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", "nowhere"]) == 2
    assert "--cache: found none, expected a folder" in capsys.readouterr().err
