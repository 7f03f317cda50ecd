import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from evaluation.score import judge as module
from evaluation.score.__main__ import main
from evaluation.score.grading import RowScore, score_rows
from evaluation.score.judge import RUBRIC, Endpoint, Grades, judge
from evaluation.score.labels import Label
from evaluation.score.results import ResultRow
from tests.evaluation.samples import LABEL, result, use_hash_encoder
from tests.fakes import HashEncoder
from tests.real_server import transformers_serve
from tests.test_run import write

Answer = tuple[int, Any]


def row(name: str, *, ideal: str = "ideal", reply: str = "reply") -> RowScore:
    label = Label(name, ("x",), ideal, ticket="why?")
    return score_rows({name: ResultRow("x", reply)}, {name: label}, HashEncoder())[0]


ROWS = [row(f"r{i}", reply=f"reply {i}") for i in range(5)]


def said(text: str, prompt: int = 1000, completion: int = 10) -> Answer:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    return 200, {"choices": [{"message": {"content": text}}], "usage": usage}


@contextmanager
def endpoint(answer: Callable[[int], Answer]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that answers its n-th request with `answer(n)` and keeps what it was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(body | {"path": self.path, "key": self.headers["Authorization"]})
            status, found = answer(len(asked))
            self.send_response(status)
            self.end_headers()
            self.wfile.write((found if isinstance(found, str) else json.dumps(found)).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()


def judged(url: str, *, budget_usd: float = 10.0) -> Grades:
    return judge(ROWS, Endpoint(url, "m", "k", (10.0, 100.0)), budget_usd=budget_usd)


def test_every_row_is_graded_at_temperature_0_with_the_rubric_and_tokens_are_counted() -> None:
    with endpoint(lambda n: said(f"0.{n}")) as (url, asked):
        found = judged(url)
    assert found.grades == {"r0": 0.1, "r1": 0.2, "r2": 0.3, "r3": 0.4, "r4": 0.5}
    assert (found.prompt_tokens, found.completion_tokens, found.notes) == (5000, 50, ())
    assert found.usd == pytest.approx((5000 * 10 + 50 * 100) / 1e6)
    assert {body["temperature"] for body in asked} == {0}
    assert {(body["model"], body["path"], body["key"]) for body in asked} == {("m", "/v1/chat/completions", "Bearer k")}
    assert asked[0]["messages"][0]["content"] == RUBRIC
    for piece in ("why?", "ideal", "reply 0"):
        assert piece in asked[0]["messages"][1]["content"]


def test_the_budget_is_not_exceeded_and_what_was_judged_is_kept() -> None:
    with endpoint(lambda n: said("1")) as (url, asked):
        found = judged(url, budget_usd=0.030)  # a call costs 0.011
    assert found.grades == {"r0": 1.0, "r1": 1.0}
    assert found.usd <= 0.030
    assert len(asked) == 2
    assert "r2: not asked" in found.notes[0]


def test_an_endpoint_that_does_not_count_is_counted_at_the_most_it_can_have_used() -> None:
    with endpoint(lambda n: (200, {"choices": [{"message": {"content": "0.5"}}]})) as (url, _):
        found = judged(url)
    assert found.prompt_tokens > len(RUBRIC)
    assert found.usd > 0


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_an_endpoint_that_refuses_for_good_is_not_asked_again(status: int) -> None:
    with endpoint(lambda n: said("1") if n == 1 else (status, "no more money")) as (url, asked):
        found = judged(url)
    assert (found.grades, len(asked)) == ({"r0": 1.0}, 2)
    assert f"says {status}" in found.notes[0]


def test_one_failure_leaves_one_row_unjudged_and_three_in_a_row_end_it() -> None:
    with endpoint(lambda n: (503, "busy") if n == 2 else said("0.7")) as (url, _):
        assert list(judged(url).grades) == ["r0", "r2", "r3", "r4"]
    with endpoint(lambda n: (503, "busy")) as (url, asked):
        found = judged(url)
    assert (found.grades, len(asked), len(found.notes)) == ({}, 3, 3)


GRADES = {"0.75": 0.75, "1": 1.0, "Grade: 0": 0.0, ".5": 0.5, "1.0.": 1.0, "**0.9**": 0.9}
NO_GRADES = ("good", "85", "2.5", "1/10", "1 out of 5", "-0.5", "On a scale from 0 to 1: 0.9", "1%")


@pytest.mark.parametrize(("text", "grade"), [*GRADES.items(), *((text, None) for text in NO_GRADES)])
def test_only_a_number_from_0_to_1_is_a_grade(text: str, grade: float | None) -> None:
    with endpoint(lambda n: said(text)) as (url, _):
        found = judged(url)
    assert found.grades.get("r0") == grade
    assert bool(found.notes) is (grade is None)


@pytest.mark.parametrize("body", ["<html>", {"choices": []}, {"choices": [{"message": None}]}, [1]])
def test_an_answer_that_is_no_completion_is_a_sentence(body: Any) -> None:
    with endpoint(lambda n: (200, body)) as (url, _):
        found = judged(url)
    assert found.grades == {}
    assert "expected a chat completion" in found.notes[0]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "nonsense", "ftp://x/v1", f"http://{'a' * 300}/v1"])
def test_an_endpoint_that_is_not_there_is_one_sentence(url: str) -> None:
    found = judged(url)
    assert (found.grades, len(found.notes)) == ({}, 1)
    assert "does not answer" in found.notes[0]


@pytest.mark.parametrize("usage", [{"prompt_tokens": -9, "completion_tokens": 0}, {"prompt_tokens": float("inf")}, [], "many"])
def test_a_count_that_cannot_be_true_is_taken_from_above(usage: Any) -> None:
    with endpoint(lambda n: (200, {"choices": [{"message": {"content": "1"}}], "usage": usage})) as (url, _):
        found = judged(url)
    assert found.prompt_tokens > 5 * len(RUBRIC)
    assert list(found.grades.values()) == [1.0] * 5


def test_a_call_without_an_answer_may_have_been_billed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.1)

    def slow(n: int) -> Answer:
        time.sleep(0.4)
        return said("1")

    with endpoint(slow) as (url, asked):
        found = judged(url)
    assert (found.grades, len(asked), len(found.notes)) == ({}, 3, 3)
    assert found.usd > 0


def test_the_estimate_covers_texts_of_many_bytes() -> None:
    with endpoint(lambda n: said("1")) as (url, asked):
        wide = [row("r", ideal="席" * 1000, reply="席" * 1000)]
        judge(wide, Endpoint(url, "m", prices=(10.0, 0.0)), budget_usd=6000 * 10 / 1e6)
    assert asked == []


def test_what_was_judged_is_kept_when_the_user_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    call = module._call

    def stopped(client: Any, row: RowScore, endpoint: Endpoint) -> Any:
        if row.id == "r2":
            raise KeyboardInterrupt
        return call(client, row, endpoint)

    monkeypatch.setattr(module, "_call", stopped)
    with endpoint(lambda n: said("1")) as (url, _):
        found = judged(url)
    assert list(found.grades) == ["r0", "r1"]
    assert found.notes == ("the judge: was stopped",)


def test_a_proxy_that_cannot_be_used_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "nonsense://x")
    assert "the connection cannot be made" in judged("http://127.0.0.1:9/v1").notes[0]


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of the command, for two rows."""
    use_hash_encoder(monkeypatch, "evaluation.score.__main__")
    (tmp_path / "r.json").write_text(json.dumps(result(("a", "No.", "billing.seat"), ("b", "No.", "billing.seat"))))
    write(tmp_path / "l.jsonl", LABEL, LABEL | {"id": "b"})
    return ["--results", str(tmp_path / "r.json"), "--labels", str(tmp_path / "l.jsonl"), "--judge", "openai:m"]


def test_a_key_never_reaches_a_message(
    options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "verysecret\nmore")
    assert main(options) == 2
    captured = capsys.readouterr()
    assert "OPENAI_API_KEY" in captured.err
    assert "verysecret" not in captured.err + captured.out


@pytest.mark.parametrize("answer", [(401, "not verysecret"), (200, "not verysecret"), said("not verysecret")])
def test_a_key_that_the_endpoint_says_back_is_taken_out_of_the_note(answer: Answer) -> None:
    with endpoint(lambda _: answer) as (url, _):
        found = judge(ROWS[:1], Endpoint(url, "m", "verysecret", (10.0, 100.0)), budget_usd=10.0)
    assert "not [key]" in found.notes[0]
    assert "verysecret" not in found.notes[0]


def test_a_grade_takes_the_place_of_the_similarity_and_the_command_says_how_many_rows_have_one(
    options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for style in ([], ["--json"]):
        with endpoint(lambda n: said("0.25") if n == 1 else (402, "pay")) as (url, _):
            monkeypatch.setenv("OPENAI_BASE_URL", url)
            assert main([*options, "--judge-budget-usd", "1", *style]) == 0
    shown, _, found = capsys.readouterr().out.partition("{\n")
    assert "the other rows keep cosine and ROUGE-L" in shown
    assert "judged 1 of 2 rows, 1000 prompt and 10 completion tokens" in shown
    assert "says 402" in shown
    rows = json.loads("{" + found)["rows"]
    assert [row["grade"] for row in rows] == [0.25, None]
    assert (rows[0]["similarity"], rows[0]["quality"]) == (0.25, 0.125), (
        "half of the quality are its facts, of which it has none"
    )


@pytest.fixture
def real_server() -> Iterator[tuple[str, str]]:
    """`transformers serve` with the small base: its address, and the name by which it knows the model."""
    from finetune.base_model import load_base
    from retrieval.known_models import SMOLLM

    model = load_base(SMOLLM.name).path
    with transformers_serve(model) as url:
        yield url, model


@pytest.mark.real
def test_a_real_server_of_the_protocol_is_understood(real_server: tuple[str, str]) -> None:
    url, model = real_server
    found = judge(ROWS[:2], Endpoint(url, model, prices=(1.0, 1.0)), budget_usd=1.0)
    assert found.prompt_tokens > 2 * 100, "the rubric alone is longer"
    assert found.completion_tokens > 0
    assert len(found.grades) + len(found.notes) == 2
    # A small model may miss the form of a grade; the protocol it may not.
    assert all("expected a number from 0 to 1" in note for note in found.notes)
    assert all(0 <= grade <= 1 for grade in found.grades.values())
