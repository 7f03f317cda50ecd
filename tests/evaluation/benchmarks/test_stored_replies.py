"""Which stored replies are joined, and what is counted of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.benchmarks import stored_replies
from evaluation.benchmarks.stored_replies import PRESENT, Case, cases, copied, graded, joined
from evaluation.score.labels import Label
from retrieval.intent_classifier import fit_classifier
from tests.fakes import ROWS, HashEncoder, row, train_set
from tests.test_run import ROOT

SEAT = "do guests need a seat"
ENCODER = HashEncoder()


def case(second: str = "Guests see boards. One more seat is $12 a month.") -> Case:
    rows = (ROWS[0], row(2, "guests and one more seat", "billing.seat", second), *ROWS[2:])
    classifier = fit_classifier(train_set(rows), with_names=True)
    (found,) = cases(classifier, [SEAT], ENCODER.encode([SEAT]), [Label("v", ("billing.seat",), "Guests need no seat.")])
    return found


def test_the_first_reply_of_the_ranking_is_copied() -> None:
    assert copied(PRESENT)(case()) == ROWS[0].ideal_reply
    assert copied((0.0, 0.0, 1.0))(case()) == ROWS[0].ideal_reply, "ties go to the earlier row"


def test_the_second_reply_of_the_intent_is_joined_only_within_the_gap() -> None:
    first = ROWS[0].ideal_reply
    assert joined(np.inf, ENCODER, fitting=False)(case()) == f"{first} Guests see boards. One more seat is $12 a month."
    assert joined(0.0, ENCODER, fitting=False)(case()) == first


def test_only_sentences_near_the_ticket_are_joined_where_they_have_to_fit() -> None:
    second = "Guests do need a seat. Boards are blue, pages are green, red or round, and lines have other colours."
    assert joined(np.inf, ENCODER, fitting=True)(case(second)) == f"{ROWS[0].ideal_reply} Guests do need a seat."


def test_required_facts_count_where_labels_have_them_and_those_of_the_ideal_reply_elsewhere() -> None:
    label = Label("v", ("a",), "It takes 3 days and 2 hours.", must_mention=(("3 days",), ("blue",)))
    found = case()
    by_label = graded(
        [Case(found.ticket, found.vector, found.near, found.log_p, found.train_set, label)],
        lambda _: "It takes 3 days.",
        ENCODER,
    )
    assert by_label.recall.tolist() == [0.5]
    plain = Label("v", ("a",), label.ideal_reply)
    by_ideal = graded([replace(case(), label=plain)], lambda _: "3 days.", ENCODER)
    assert (by_ideal.recall.tolist(), by_ideal.precision.tolist()) == ([0.5], [1.0])


def test_the_command_compares_choices_on_the_sample_and_names_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("evaluation.benchmarks.public_sets.load_encoder", lambda _: HashEncoder())
    monkeypatch.setattr(stored_replies, "load_encoder", lambda _: HashEncoder())
    assert stored_replies.main(["--split", str(ROOT / "data")]) == 0
    said = capsys.readouterr().out
    assert "hash, 30 test rows, graded with hash" in said
    assert "gap inf" in said
    assert stored_replies.main([]) == 2
    assert "found both or neither of --data and --split" in capsys.readouterr().err
    assert stored_replies.main(["--split", str(tmp_path)]) == 2
    assert "train.jsonl: cannot be read" in capsys.readouterr().err
