import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from evaluation.benchmarks import growth
from evaluation.benchmarks.growth import (
    NOTES,
    PROGRAM,
    Measured,
    RunFailed,
    further_val_row_s,
    main,
    make_files,
    measure,
    run_process,
    said_seconds,
    table_line,
)
from retrieval.command_line import parse
from retrieval.console import Clock, Verbosity, bar, display
from retrieval.tickets import read_train, read_val

SAID = """[   0.1 s] read train.jsonl and val.jsonl
[   0.1 s]   read: 0.0 s, memory in use 0.10 GiB
[   9.0 s]   embed: 2.0 s
[  10.0 s]   embed: 1.0 s
[  12.0 s]   index: 4.5 s, memory in use 0.90 GiB
[  17.0 s] embed the tickets
[  17.5 s]   embed, 3 of 9: 50 % done
[  22.0 s]   embed: 5.0 s
[  22.0 s]   embed: 5.1 s, memory in use 0.90 GiB
[  23.0 s]   embed: 0.4 s
[  23.5 s]   answer: 0.9 s, memory in use 0.90 GiB
[  24.0 s]   write: 0.5 s, memory in use 0.90 GiB
train                   30 rows, 15 intents
"""


def measured(base: str, train_rows: int, val_rows: int) -> Measured:
    """A run whose encoder takes 10 ms a train row and 5 ms a val row, and whose answers take 1 ms each."""
    encoder = {"index": train_rows / 100, "embed": val_rows / 200, "answer": 0.5}
    stages = {"start": 4.0, "index": train_rows / 100 + 1, "embed": val_rows / 200, "answer": val_rows / 1000, "write": 0.1}
    return Measured(base, train_rows, val_rows, sum(stages.values()), 1.5, stages, encoder, "2 cores of a P")


@pytest.mark.parametrize(("train_rows", "val_rows", "intents"), [(1, 1, 1), (30, 10, 15), (41, 170, 20), (320, 1, 150)])
def test_the_made_files_are_input_for_a_run(train_rows: int, val_rows: int, intents: int, tmp_path: Path) -> None:
    make_files(tmp_path, train_rows, val_rows)
    rows, problems = read_train(tmp_path / "train.jsonl")
    tickets, more_problems = read_val(tmp_path / "val.jsonl")
    assert (problems, more_problems, len(rows), len(tickets)) == ([], [], train_rows, val_rows)
    assert len({row.intent for row in rows}) == intents
    assert len({row.ideal_reply for row in rows}) == train_rows
    assert all(row.text.split()[-1] == row.intent.replace(".", "") for row in rows)
    assert {f"topic.{ticket.text.rpartition('topic')[2]}" for ticket in tickets} <= {row.intent for row in rows}


def test_the_encoders_time_is_told_from_that_of_the_stages() -> None:
    stages, encoder = said_seconds(SAID)
    assert stages == {"read": 0.0, "index": 4.5, "embed": 5.1, "answer": 0.9, "write": 0.5}
    assert encoder == {"index": 3.0, "embed": 5.0, "answer": 0.4}


def test_what_is_looked_for_is_what_a_verbose_run_says(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with display(verbosity=Verbosity.VERBOSE):
        with clock.stage("index", "embed and index"):
            assert list(bar([1, 2], growth.ENCODING)) == [1, 2]
        with clock.stage("fine-tune", "fine-tune"):
            assert list(bar([1, 2], "write replies")) == [1, 2]
    stages, encoder = said_seconds(capsys.readouterr().err)
    assert (set(stages), encoder) == ({"index", "fine-tune"}, {"index": 0.0})


def fake_process(said: str, started: list[Sequence[str]]) -> object:
    def run(what: str, words: Sequence[str]) -> tuple[float, float, str]:
        started.append(words)
        settings, verbosity = parse(words[2:])
        assert (settings.train.is_file(), settings.val.is_file(), verbosity) == (True, True, Verbosity.VERBOSE)
        settings.weights.mkdir()
        (settings.weights / "run.json").write_text(json.dumps({"seconds": {"index": 4.512, "embed": 5.067}}))
        return 25.0, 1.25, said

    return run


def test_a_run_is_the_real_program_on_files_that_are_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Sequence[str]] = []
    monkeypatch.setattr(growth, "run_process", fake_process(SAID, started))
    found = measure("smollm2-135m", 30, 9)
    assert started[0][:2] == [sys.executable, str(PROGRAM)]
    assert PROGRAM.is_file()
    settings, _ = parse(started[0][2:])
    assert settings.base_model == "smollm2-135m"
    assert not settings.train.parent.exists()
    assert (found.wall_s, found.peak_gib, found.embedding_s) == (25.0, 1.25, 8.4)
    assert found.stages == {"read": 0.0, "index": 4.512, "embed": 5.067, "answer": 0.9, "write": 0.5}, "exact where they can be"


def test_a_run_that_does_not_say_what_the_encoder_took_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "run_process", fake_process("[   0.1 s] done\n", []))
    with pytest.raises(
        RunFailed, match=r"run\.py on 1 train rows and 2 val rows with base none: found no times of the encoder"
    ):
        measure("none", 1, 2)


def test_a_process_is_timed_and_its_memory_is_seen() -> None:
    code = "import sys, time; held = bytearray(2**30); time.sleep(.3); print('said', file=sys.stderr)"
    wall_s, peak_gib, said = run_process("x", [sys.executable, "-c", code])
    assert 0.3 <= wall_s < 60
    assert peak_gib >= 1.0
    assert said == "said\n"


@pytest.mark.parametrize(
    ("code", "reason"),
    [("print('a\\nlast\\n', file=sys.stderr); sys.exit(3)", "3: last"), ("os.kill(os.getpid(), 9)", "-9: it said nothing")],
)
def test_a_run_that_fails_is_a_sentence_and_status_1(
    code: str, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    program = tmp_path / "fails.py"
    program.write_text(f"import os, sys; {code}")
    monkeypatch.setattr(growth, "PROGRAM", program)
    assert main(["--val", "10", "--train", "--pairs"]) == 1
    assert (
        f"error: run.py on 30 train rows and 10 val rows with base none ended with status {reason}\n" in capsys.readouterr().err
    )


def test_a_further_row_is_compared_with_the_next_smaller_run_of_the_same_kind() -> None:
    runs = [measured("none", 30, rows) for rows in (10, 1000, 100)] + [measured("b", 30, 500), measured("none", 300, 500)]
    assert further_val_row_s(runs[0], runs) is None
    assert further_val_row_s(runs[1], runs) == pytest.approx(0.006)
    assert further_val_row_s(runs[3], runs) is None


def test_a_line_of_the_table_has_all_figures() -> None:
    assert table_line(measured("none", 10_000, 5000), 0.00604) == {
        "base": "none",
        "train rows": "10,000",
        "val rows": "5,000",
        "wall s": "135.1",
        "embed train s": "100.0",
        "embed val s": "25.0",
        "embed more s": "0.5",
        "ms / val row": "6.0",
        "rest s": "9.6",
        "rest / embed": "8%",
        "peak GiB": "1.50",
    }


def test_lines_table_page_and_plot_are_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(growth, "measure", measured)
    words = ["--val", "100", "10", "--train", "300", "30", "--pairs", "40x20", "30x10", "--docs", str(tmp_path)]
    assert main([*words, "--base-model", "none", "smollm2-135m"]) == 0
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    sizes = [(30, 10), (30, 100), (30, 50), (300, 50), (40, 20)]
    assert [(one["train_rows"], one["val_rows"]) for one in lines] == [*sizes, *sizes]
    assert [one["base"] for one in lines] == ["none"] * 5 + ["smollm2-135m"] * 5
    assert {"wall_s", "peak_gib", "stages", "encoder"} <= lines[0].keys()
    assert "ms / val row" in said.err
    page = (tmp_path / "growth.md").read_text(encoding="utf-8")
    assert page.count("\n| none | ") == page.count("\n| smollm2-135m | ") == 5
    assert "growth` on 2 cores of a P.\n" in page
    assert page.endswith(NOTES)
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_sizes_that_were_shared_out_are_reported_together(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(growth, "measure", measured)
    lines = ["--jsonl", str(tmp_path / "lines.jsonl")]
    assert main(["--val", "10", "--train", "--pairs", *lines]) == 0
    assert main(["--val", "100", "--train", "--pairs", *lines, "--base-model", "smollm2-135m"]) == 0
    monkeypatch.setattr(growth, "measure", lambda *_: pytest.fail("measured"))
    assert main(["--report", *lines, "--docs", str(tmp_path)]) == 0
    page = (tmp_path / "growth.md").read_text(encoding="utf-8")
    assert (page.count("\n| none | "), page.count("\n| smollm2-135m | ")) == (1, 1)


def test_a_plot_needs_no_series(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(growth, "measure", measured)
    assert main(["--val", "--train", "--pairs", "40x20", "--docs", str(tmp_path)]) == 0
    assert (tmp_path / "growth.png").is_file()


def test_without_matplotlib_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(growth, "measure", lambda *_: pytest.fail("measured"))
    assert main(["--docs", str(tmp_path)]) == 1
    assert (
        capsys.readouterr().err
        == "error: a plot needs matplotlib, found none: `make report` installs it, or pip install -r requirements-dev.txt\n"
    )


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--docs", "no/such"], "--docs no/such: found no such folder"),
        (["--val", "--train", "--pairs"], "found no size, expected numbers behind --val, --train or --pairs"),
        (["--base-model", "none", "no such base"], "--base-model no such base: found"),
        (["--report"], "--report: found no earlier lines"),
    ],
)
def test_bad_options_are_status_2(words: Sequence[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--val", "0"], ["--pairs", "10000"], ["--pairs", "10x0"], ["--pairs", "ax1"]])
def test_a_size_below_one_is_refused(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert "expected" in capsys.readouterr().err
