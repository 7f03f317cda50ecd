import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.benchmarks.bench import own_parts, prepare
from evaluation.benchmarks.bench.prepare import make_task
from evaluation.benchmarks.bench.task import Outcome, Task, serve, write_task
from finetune.training import BATCH
from finetune.training_data import config_for
from retrieval.tickets import read_train, read_val
from tests.evaluation.samples import tiny_split
from tests.fakes import ROWS, HashEncoder, base


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task(tiny_split(), base(), HashEncoder(), base_model="tiny")  # type: ignore[arg-type]


def test_the_task_holds_the_training_examples_and_prompts_of_a_run(task: Task) -> None:
    tiny, config = base(), config_for(base())
    assert (len(task.epochs), task.learning_rate) == (config.epochs, config.learning_rate)
    assert task.prompt_gradient == config.prompt_gradient
    assert [prompt.exemplars for prompt in task.prompts] == [config.exemplars] * 2
    assert (task.batch, task.micro_batch, task.steps) == (BATCH, BATCH, 4), "two passes over six rows"
    example = next(x for x in task.epochs[0] if x.row_id == ROWS[0].id)
    assert tiny.tokenizer.decode(example.ids[-example.supervised :]) == f" {ROWS[0].ideal_reply}<|im_end|>"
    prompt = tiny.tokenizer.decode(task.prompts[0].ids)
    assert "do guests need seats" in prompt
    assert prompt.count(ROWS[0].ideal_reply) == 1, "its nearest row is an exemplar"
    assert tiny.tokenizer.eos_token_id in task.end_ids


def test_the_task_says_which_intents_a_run_and_the_nearest_ticket_give(task: Task) -> None:
    assert list(task.intents) == list(task.nearest) == ["v1", "v2"]
    assert task.nearest == {"v1": "billing.seat", "v2": "api.token"}
    assert task.rows[0] == (ROWS[0].text, ROWS[0].intent)
    assert [ticket for ticket, _ in task.tickets] == ["v1", "v2"]


def test_run_py_reads_the_same_rows_and_tickets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(prepare, "load_base", lambda choice: asked.append(choice) or base())
    prepare.prepare(tiny_split(), tmp_path / "0", HashEncoder(), base_model="tiny")  # type: ignore[arg-type]
    assert read_train(tmp_path / "0" / "train.jsonl") == (ROWS, [])
    assert read_val(tmp_path / "0" / "val.jsonl") == (tiny_split().tickets, [])
    assert asked == ["tiny"]


def test_a_contestant_takes_the_task_from_its_file_and_prints_the_outcome_last(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_task(task, tmp_path / "task.pickle")
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path / "task.pickle")])

    def work(given: Task) -> Outcome:
        assert given == task
        print("a library says")
        return Outcome(1.0, None, None, 2.0, given.nearest, None)

    serve(work)
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert Outcome(**last) == Outcome(1.0, None, None, 2.0, task.nearest, None)


def test_the_parts_of_this_program_train_and_answer_every_ticket(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_parts, "load_base", lambda choice: base())
    found = own_parts.work(replace(task, max_new_tokens=3))
    assert found.replies is not None
    assert list(found.replies) == list(task.intents)
    assert found.intents == task.intents
    assert all(seconds is not None and seconds > 0 for seconds in (found.setup_s, found.step_s, found.reply_s, found.ticket_s))
