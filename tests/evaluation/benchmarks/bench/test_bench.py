import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.benchmarks.bench import __main__ as bench
from evaluation.benchmarks.bench.__main__ import main, scores
from evaluation.benchmarks.bench.contestants import CONTESTANTS, PARTS, RUN, SETFIT, TRL, ContestantFailed, Finished
from evaluation.benchmarks.bench.task import Outcome
from tests.evaluation.samples import LABEL, tiny_split, use_hash_encoder
from tests.fakes import ROWS, HashEncoder
from tests.test_run import GOOD, write


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options for a split of three files; every contestant answers at once, and all packages are there."""
    use_hash_encoder(monkeypatch, bench.__name__)
    monkeypatch.setattr(bench, "find_spec", lambda package: package)
    monkeypatch.setattr(bench, "machine", lambda: "2 cores")
    monkeypatch.setattr(bench, "prepare", lambda split, folder, encoder, *, base_model: folder.mkdir())
    monkeypatch.setattr(bench, "run_contestant", contestant)
    train = write(tmp_path / "train.jsonl", GOOD, GOOD | {"id": "b", "intent": "api.token"})
    val, labels = write(tmp_path / "val.jsonl", {"id": "a", "ticket": "a seat?"}), write(tmp_path / "labels.jsonl", LABEL)
    return ["--train", str(train), "--val", str(val), "--labels", str(labels)]


def contestant(name: str, folder: Path, **models: str) -> tuple[Finished, Outcome]:
    assert folder.is_dir()
    assert models == {"base_model": "smollm2-135m", "encoder": "auto"}
    replies = None if name == SETFIT else {"a": LABEL["ideal_reply"] if name == RUN else "It is so."}
    own = (2.0, 4.0) if name in (PARTS, TRL) else (None, None)
    return Finished("", 10.0, 1.5), Outcome(1.0, *own, 0.25, {"a": "api.token" if name == TRL else "billing.seat"}, replies)


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_contestants_take_turns_and_a_faster_wrong_answer_shows(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*given, "--rounds", "2"]) == 0
    captured = capsys.readouterr()
    lines = lines_of(captured.out)
    assert [(line["round"], line["contestant"]) for line in lines] == [(n, name) for n in (1, 2) for name in CONTESTANTS]
    own, parts, trl, setfit = lines[:4]
    assert [line["intents"] for line in (own, parts, trl, setfit)] == [1.0, 1.0, 0.0, 1.0]
    assert (own["quality"], own["facts"], own["wrong_facts"], own["words"]) == (1.0, 1.0, 0, 4.0)
    assert (trl["facts"], trl["words"], trl["step_s"], trl["reply_s"]) == (0.0, 3.0, 2.0, 4.0)
    assert trl["quality"] < 0.5
    assert (own["correct_by_ticket"], own["quality_by_ticket"]) == ([1], [1.0])
    assert len({line["split"] for line in lines}) == 1
    assert (trl["correct_by_ticket"], setfit["quality_by_ticket"]) == ([0], None)
    assert {setfit[key] for key in ("step_s", "reply_s", "quality", "cosine", "rouge_l", "facts", "words")} == {None}
    assert {(line["wall_s"], line["peak_gib"], line["train_rows"], line["tickets"]) for line in lines} == {(10.0, 1.5, 2, 1)}
    assert all(said in captured.err for said in ("round 2 of 2: SetFit", "reply quality", "(1.00 ×)"))


def test_lines_are_added_to_a_file_and_all_that_it_holds_is_reported(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "bench.jsonl"
    assert main([*given, "--rounds", "1", "--only", RUN, SETFIT, "--jsonl", str(kept)]) == 0
    assert main([*given, "--rounds", "1", "--only", RUN, "--jsonl", str(kept)]) == 0
    assert kept.read_text() == capsys.readouterr().out
    assert [line["contestant"] for line in lines_of(kept.read_text())] == [RUN, SETFIT, RUN]
    assert main(["--report", "--jsonl", str(kept), "--docs", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "", "nothing was measured"
    assert "| smollm2-135m | run.py | 2 |" in (tmp_path / "bench.md").read_text()


def test_rounds_go_through_the_drawn_splits(
    given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(bench, "run_contestant", lambda name, *_, **__: (Finished("", 1.0, 1.0), outcome_of(drawn[-1])))
    monkeypatch.setattr(bench, "prepare", lambda split, *_, **__: drawn.append(split))
    rows = [GOOD | {"id": f"t{i}", "ticket": f"ticket {i}", "intent": f"i.{i % 2}"} for i in range(20)]
    sizes = ["--splits", "2", "--intents", "2", "--tests", "3", "--rounds", "3", "--only", RUN]
    assert main(["--folds", str(write(tmp_path / "rows.jsonl", *rows)), *sizes]) == 0
    assert [split.name for split in drawn] == ["split 0", "split 1", "split 0"]
    assert {(line["train_rows"], line["tickets"]) for line in lines_of(capsys.readouterr().out)} == {(4, 3)}


def outcome_of(split: Any) -> Outcome:
    return Outcome(1.0, None, None, 1.0, {label.id: label.intents[0] for label in split.labels}, None)


def test_a_contestant_that_fails_ends_the_command_with_a_sentence_and_status_1(
    given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(name: str, folder: Path, **models: str) -> tuple[Finished, Outcome]:
        if name == TRL:
            raise ContestantFailed("TRL ended with status 1: no memory")
        return contestant(name, folder, **models)

    monkeypatch.setattr(bench, "run_contestant", fails)
    kept = tmp_path / "bench.jsonl"
    assert main([*given, "--jsonl", str(kept)]) == 1
    assert "error: TRL ended with status 1: no memory\n" in capsys.readouterr().err
    assert [line["contestant"] for line in lines_of(kept.read_text())] == [RUN, PARTS], "what was measured is kept"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--train", "t", "--val", "v"], "expected either --folds, or all of --train, --val and --labels"),
        (["--folds", "f", "--train", "t", "--val", "v", "--labels", "l"], "expected either --folds, or all of"),
        ([], "expected either --folds, or all of"),
        (["--folds", "f", "--base-model", "none"], "--base-model none: found no base, expected one to train"),
        (["--folds", "f", "--docs", "no/folder"], "--docs no/folder: found no such folder"),
        (["--report"], "--report: found no earlier lines, expected --jsonl"),
        (["--report", "--jsonl", "no.jsonl"], "--report: found no earlier lines, expected --jsonl"),
    ],
)
def test_bad_options_are_a_sentence(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(options) == 2
    assert said in capsys.readouterr().err


def test_a_package_that_a_contestant_needs_is_missed_before_anything_is_measured(
    given: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "find_spec", lambda package: None)
    assert main(given) == 2
    said = capsys.readouterr().err
    assert all(f"found no package {name}: pip install -r requirements-bench.txt" in said for name in ("trl", "setfit"))
    assert main([*given, "--rounds", "1", "--only", RUN]) == 0


def test_a_file_of_something_else_is_a_sentence(given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("hello\n")
    assert main([*given, "--jsonl", str(tmp_path / "notes.txt")]) == 2
    assert "notes.txt: found a line that is no JSON" in capsys.readouterr().err


def test_a_reply_that_is_missing_counts_as_an_empty_one() -> None:
    intents = {"v1": "billing.seat", "v2": "x"}
    found = scores(tiny_split(), Outcome(1.0, None, None, 1.0, intents, {"v1": ROWS[0].ideal_reply}), HashEncoder())
    assert (found["intents"], found["rouge_l"], found["facts"]) == (0.5, 0.5, None)
