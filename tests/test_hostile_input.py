"""Hostile tickets and poisoned train rows through the whole command: intents, replies, page, terminal."""

import json
import re
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import run
from evaluation.report.__main__ import main as report
from evaluation.report.render import difference
from evaluation.score.__main__ import main as score
from evaluation.score.tables import CONSOLE
from retrieval import inspect
from tests.evaluation.report.finished import options
from tests.fakes import HashEncoder
from tests.hostile import SCRIPT, SEEN, TEMPLATE, TERMINAL, TEXTS
from tests.test_run import arguments, write

CLEAN = {
    "billing.seat": ("do guests need a seat", "Guests need no seat."),
    "api.token": ("rotate my api token", "Press Rotate."),
    "data.export": ("export all data", "Press Export."),
}


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("retrieval.encoder", "retrieval.inspect", "evaluation.report.__main__", "evaluation.score.__main__"):
        monkeypatch.setattr(f"{module}.load_encoder", lambda *_, **__: HashEncoder())


def rows_of(intents: dict[str, tuple[str, str]]) -> list[dict[str, Any]]:
    return [
        {"id": f"{i}{n}", "ticket": f"{ticket} {n}", "intent": intent, "ideal_reply": reply}
        for i, (intent, (ticket, reply)) in enumerate(intents.items())
        for n in range(2)
    ]


def finish(folder: Path, rows: list[dict[str, Any]], tickets: dict[str, str]) -> list[dict[str, Any]]:
    """The predictions of a run of these rows."""
    write(folder / "train.jsonl", *rows)
    write(folder / "val.jsonl", *({"id": key, "ticket": text} for key, text in tickets.items()))
    assert run.main(arguments(folder)) == 0
    predictions: list[dict[str, Any]] = json.loads((folder / "results.json").read_text(encoding="utf-8"))["predictions"]
    return predictions


def test_every_hostile_ticket_gets_an_intent_and_a_reply_of_the_train_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = finish(tmp_path, rows_of(CLEAN), TEXTS)
    assert [row["id"] for row in found] == list(TEXTS)
    assert {row["predicted_intent"] for row in found} <= set(CLEAN)
    assert {row["prediction"] for row in found} <= {reply for _, reply in CLEAN.values()}
    assert commands_in(capsys.readouterr().err) == set()
    kept = (tmp_path / "weights" / "predictions.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    assert [json.loads(line)["ticket"] for line in kept] == list(TEXTS.values())


def commands_in(text: str) -> set[str]:
    """The characters by which a text could command a terminal or turn what a reader sees."""
    return {repr(c) for c in text if unicodedata.category(c) in ("Cc", "Cf") and c != "\n"}


@pytest.fixture
def poisoned(tmp_path: Path) -> Path:
    """A finished run in which everything that a train row or a ticket says is hostile."""
    poison = f"{SCRIPT} {TEMPLATE} {TERMINAL}"
    intents = {f"{name} {poison}": (f"{ticket} {poison}", f"{reply} {poison}") for name, (ticket, reply) in CLEAN.items()}
    rows = [row | {"id": f"{row['id']} {poison}"} for row in rows_of(intents)]
    finish(tmp_path, rows, {f"v {poison}": f"seats {poison}", "w": "token"})
    facts = {"must_mention": [[poison], ["nothing"]], "must_not_mention": ["Press"]}
    write(tmp_path / "labels.jsonl", {"id": f"v {poison}", "intent": f"x {poison}", "ideal_reply": f"No. {poison}"} | facts)
    return tmp_path


def test_a_poisoned_row_commands_no_terminal(
    poisoned: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run.main(arguments(poisoned)) == 0
    val = ["--val", str(poisoned / "val.jsonl")]
    assert inspect.main(["--weights", str(poisoned / "weights"), *val, "--prompt"]) == 0
    monkeypatch.setattr(CONSOLE, "_file", None)
    scored = ["--results", str(poisoned / "results.json"), "--labels", str(poisoned / "labels.jsonl"), *val]
    assert score(scored) == 0
    said = capsys.readouterr()
    assert "alert(1)" in said.out, "what the rows say is shown"
    assert commands_in(said.out + said.err) == set()


def test_the_problems_of_a_poisoned_file_command_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = {"id": TERMINAL, "ticket": "x", "intent": "y", "ideal_reply": "z"}
    write(tmp_path / "train.jsonl", bad, bad)
    (tmp_path / "val.csv").write_text(f'id,ticket{TERMINAL.replace(chr(13), "")}\n{TERMINAL},{TERMINAL}"\n', encoding="utf-8")
    assert run.main(arguments(tmp_path, val=tmp_path / "val.csv", columns=f"ticket={TERMINAL}")) == 2
    said = capsys.readouterr().err
    assert said.count("train.jsonl:2: found the id") == 1
    assert commands_in(said) == set()


class Page(HTMLParser):
    """The elements of a page and their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}


@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")
def test_a_poisoned_row_adds_no_element_and_no_attribute_to_the_page(poisoned: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    labels = {"labels": poisoned / "labels.jsonl"}
    assert report(options(poisoned, page, **labels)) == 0
    text = page.read_text(encoding="utf-8")
    found = Page(text)
    assert found.tags.count("script") == 1
    assert not {name for name in found.attributes if name.startswith("on")}
    assert "{{ 7 * 7 }}{% for x in range(9) %}" in text, "a template stays text"
    assert "&lt;script&gt;" in text
    assert re.search(r'<details data-number="1" data-intent="[^"]*&lt;script', text)
    finish(poisoned, rows_of(CLEAN), {"v": "seats", "w": "token"})
    write(poisoned / "labels.jsonl", {"id": "v", "intent": "x", "ideal_reply": "No.", "must_mention": [["a"], ["b"]]})
    assert report(options(poisoned, page, **labels)) == 0
    clean = Page(page.read_text(encoding="utf-8"))
    assert set(found.tags) <= set(clean.tags) | {"del", "ins"}
    assert found.attributes <= clean.attributes


@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")
@settings(max_examples=6)
@given(st.lists(SEEN, min_size=6, max_size=6, unique_by=str.strip))
def test_the_page_of_any_texts_has_the_elements_of_any_other(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("page")
    rows = [{"id": texts[i], "ticket": texts[i + 1], "intent": texts[i + 2], "ideal_reply": texts[i + 3]} for i in range(3)]
    finish(folder, rows, {texts[0]: texts[1]})
    assert report(options(folder, folder / "page.html")) == 0
    found = Page((folder / "page.html").read_text(encoding="utf-8"))
    assert found.tags.count("script") == 1
    assert found.tags.count("details") == 1


@given(SEEN, SEEN)
def test_the_difference_of_two_replies_holds_the_words_of_both_in_order(reply: str, ideal: str) -> None:
    pieces = difference(reply, ideal)
    for side, text in (("reply", reply), ("ideal", ideal)):
        assert " ".join(words for kind, words in pieces if kind in ("same", side)).split() == text.split()


def test_the_difference_of_long_replies_takes_no_minutes() -> None:
    long, other = ("again and " * 20_000).strip(), ("and again " * 20_000).strip()
    assert difference(long, other) == [("reply", long), ("ideal", other)]
