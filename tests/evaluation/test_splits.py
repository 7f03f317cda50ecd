from argparse import Namespace
from pathlib import Path

import pytest

from evaluation.splits import draw, drawn_splits, given_split
from retrieval.tickets import InputProblems
from tests.evaluation.samples import LABEL
from tests.fakes import HashEncoder, row
from tests.test_run import GOOD, write

ROWS = [row(i, f"ticket {i}", f"intent.{i % 5}", f"reply {i}") for i in range(40)]
SIZES = {"intents": 4, "per_intent": 2, "tests": 10}


def test_test_rows_stay_out_of_training_and_another_seed_gives_another_split() -> None:
    train, test = draw(ROWS, **SIZES, seed=0)
    assert (len(train), len(test)) == (8, 10)
    assert not {found.id for found in train} & {found.id for found in test}
    assert {found.intent for found in test} <= {found.intent for found in train}
    assert draw(ROWS, **SIZES, seed=0) == (train, test)
    assert draw(ROWS, **SIZES, seed=1) != (train, test)


def test_splits_of_two_files_have_unique_ids_and_their_labels(tmp_path: Path) -> None:
    rows = [{"id": f"t{i}", "ticket": f"ticket {i}", "intent": f"i.{i % 2}", "ideal_reply": f"reply {i}"} for i in range(8)]
    files = [write(tmp_path / name, *rows) for name in ("a.jsonl", "b.jsonl")]
    options = Namespace(folds=files, splits=2, first_split=0, **SIZES, max_reply_words=5)
    first, second = drawn_splits(options, HashEncoder())
    assert [ticket.id for ticket in first.tickets] == [label.id for label in first.labels]
    assert {ticket.id[:2] for ticket in first.tickets} == {"0:", "1:"}
    assert first.tickets != second.tickets
    (later,) = drawn_splits(Namespace(**vars(options) | {"splits": 1, "first_split": 1}), HashEncoder())
    assert (later.name, later.seed, later.tickets) == (second.name, 1, second.tickets), "a measurement can be shared out"


@pytest.mark.parametrize(("per_intent", "words"), [(20, 80), (2, 1)])
def test_too_few_rows_to_draw_from_are_a_sentence(tmp_path: Path, per_intent: int, words: int) -> None:
    rows = ({"id": f"t{i}", "ticket": f"ticket {i}", "intent": "i", "ideal_reply": f"reply {i}"} for i in range(8))
    file = write(tmp_path / "a.jsonl", *rows)
    options = Namespace(folds=[file], splits=1, first_split=0, intents=1, per_intent=per_intent, tests=1, max_reply_words=words)
    with pytest.raises(InputProblems, match=f"found too few rows of every intent, expected {per_intent + 1} rows"):
        drawn_splits(options, HashEncoder())


def test_all_problems_of_three_files_are_said_at_once(tmp_path: Path) -> None:
    train, labels = write(tmp_path / "t.jsonl", {"id": "x"}), write(tmp_path / "l.jsonl", LABEL)
    val = write(tmp_path / "v.jsonl", {"id": "z", "ticket": "?"}, {"id": "a", "ticket": "!"})
    with pytest.raises(InputProblems) as caught:
        given_split(train, val, labels, HashEncoder())
    assert any("t.jsonl:1:" in problem for problem in caught.value.problems)
    assert any("found no label for z" in problem for problem in caught.value.problems)
    write(train, GOOD)
    write(labels, LABEL, LABEL | {"id": "z"})
    assert [label.id for label in given_split(train, val, labels, HashEncoder()).labels] == ["z", "a"]


def test_train_and_test_rows_may_stand_in_csv_files_with_other_columns(tmp_path: Path) -> None:
    train, val, labels = tmp_path / "t.csv", tmp_path / "v.csv", write(tmp_path / "l.jsonl", LABEL)
    train.write_text("id,body,intent,ideal_reply\na,do guests need a seat,billing.seat,No.\n")
    val.write_text("id,body\na,guest seats?\n")
    split = given_split(train, val, labels, HashEncoder(), columns="ticket=body")
    assert (split.train_set.rows[0].text, split.tickets[0].text) == ("do guests need a seat", "guest seats?")
    with pytest.raises(InputProblems, match="--columns: found the field"):
        given_split(train, val, labels, HashEncoder(), columns="ticket=body,x=y")
