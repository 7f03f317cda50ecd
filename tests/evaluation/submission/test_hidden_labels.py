import json
from pathlib import Path

import pytest

from evaluation.submission.check import checked_submission
from evaluation.submission.hidden_labels import Hidden, label_problem, read_hidden
from retrieval.tickets import InputProblems
from tests.evaluation.submission.zips import GOOD_FILES, make
from tests.test_run import ROOT, write

REPLY = "A guest never takes up a paid seat."
HIDDEN = Hidden(frozenset({"v-1"}), frozenset({REPLY.casefold()}))
ROW = {"id": "v-1", "ticket": "guest seats?"}
LABELLED = ROW | {"ideal_reply": "Some reply."}


def said(name: str, text: str) -> str:
    return label_problem(name, text.encode(), HIDDEN)


@pytest.mark.parametrize(
    "name",
    ["val_labels.jsonl", "data/val_labels.jsonl", "labels.csv", "Labels_val.JSON", "probe-label.txt", "val.labels.gz"],
)
def test_a_file_of_labels_is_known_by_its_name(name: str) -> None:
    assert said(name, "") == f"found {name}, a file of labels by its name, expected no evaluation files"


@pytest.mark.parametrize("name", ["retrieval/label_names.py", "labels.py", "relabelled.json", "labelling.txt", "unlabel.csv"])
def test_a_module_about_labels_is_none(name: str) -> None:
    assert said(name, "LABELS = 1") == ""


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(LABELLED),
        "\ufeff" + json.dumps(ROW) + "\r\n" + json.dumps(LABELLED) + "\r\n",
        json.dumps([ROW, LABELLED], indent=2),
        json.dumps({"rows": {"val": [LABELLED]}}),
        json.dumps({"v-1": {"ideal_reply": "Some reply."}}),
        json.dumps(ROW | {"intent": "billing.seat"}),
        json.dumps(ROW | {"must_mention": [["seat"]]}),
        'id,ticket,ideal_reply\nv-1,"guest\nseats?",Some reply.\n',
        '"id";"intent"\n"v-1";"billing.seat"\n',
        "id\tideal_reply\nv-1\tSome reply.\n",
    ],
)
def test_a_row_that_answers_a_val_ticket_is_found_in_any_form(text: str) -> None:
    assert 'of the val row "v-1" in data/x.dat, expected no evaluation files' in said("data/x.dat", text)


@pytest.mark.parametrize(
    "text",
    [
        f"answer = '{REPLY}'",
        f"# {REPLY.upper()}",
        "A guest never\n  takes up a paid seat.",
        json.dumps({"id": "other", "text": REPLY.replace("A guest", "A\u00a0guest")}),
        json.dumps([REPLY]),
    ],
)
def test_an_ideal_reply_is_found_in_any_file(text: str) -> None:
    assert "found the ideal reply of a val row" in said("retrieval/answers.py", text)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ROW),
        json.dumps(ROW | {"prediction": "x", "predicted_intent": "billing.seat"}),
        json.dumps({"id": "t-1", "ticket": "x", "intent": "a", "ideal_reply": "Some reply."}),
        "id,ticket\nv-1,guest seats?\n",
        '{\n "id": "v-1",\n "ideal_reply"\n',
        "id," + "x" * 200_000 + "\nv-1," + "y" * 200_000,
        "[" * 100_000,
        "\0\ufffd",
    ],
)
def test_tickets_results_train_rows_and_nonsense_are_no_labels(text: str) -> None:
    assert said("x.jsonl", text) == ""


def test_what_a_train_row_has_too_is_not_hidden_and_a_short_reply_stands_anywhere(tmp_path: Path) -> None:
    stored = {"id": "1", "ticket": "x", "intent": "a", "ideal_reply": "The very same reply as in train."}
    train = write(tmp_path / "t", stored)
    val = write(tmp_path / "v", {"id": "1", "ticket": "y"}, {"id": "2", "ticket": "z"}, {"id": "3", "ticket": "z"})
    label = {"intent": "a"}
    same, short, own = stored["ideal_reply"], "Yes.", "One that only the labels have."
    rows = [label | {"id": str(i), "ideal_reply": reply} for i, reply in enumerate((same, short, own), start=1)]
    problems: list[str] = []
    hidden = read_hidden(train, val, write(tmp_path / "l", *rows), problems)
    assert (problems, hidden.ids, hidden.replies) == ([], {"2", "3"}, {own.casefold()})


def test_the_problems_of_all_three_files_are_told(tmp_path: Path) -> None:
    problems: list[str] = []
    read_hidden(tmp_path / "t", tmp_path / "v", tmp_path / "l", problems)
    assert [problem.partition(":")[0] for problem in problems] == [str(tmp_path / name) for name in "tvl"]


def test_the_sample_s_own_labels_are_found_in_a_zip_under_whatever_name(tmp_path: Path) -> None:
    data = ROOT / "data"
    problems: list[str] = []
    hidden = read_hidden(data / "train.jsonl", data / "val.jsonl", data / "val_labels.jsonl", problems)
    labels, train = ((data / name).read_text(encoding="utf-8") for name in ("val_labels.jsonl", "train.jsonl"))
    replies = "\n".join(json.loads(line)["ideal_reply"] for line in labels.splitlines())
    path = make(tmp_path / "made.zip", GOOD_FILES | {"a.bin": labels, "b.py": replies, "train.jsonl": train})
    with pytest.raises(InputProblems) as refused:
        checked_submission(path, hidden)
    by_row, by_text = refused.value.problems
    assert 'of the val row "v-001" in a.bin' in by_row
    assert "found the ideal reply of a val row" in by_text
    assert "b.py" in by_text
