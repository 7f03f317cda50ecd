import json
import sys
from pathlib import Path
from typing import Any

import pytest

import run
from evaluation import report
from evaluation.report_page import difference
from tests.test_run import GOOD, arguments, write

EVIL = "<script>document.title = 'broken'</script><img src=x onerror=\"document.title='broken'\"> {{ 7 * 7 }} seats?"
ROWS = [
    GOOD | {"ideal_reply": "Guests need no seat </script><script>document.title = 'broken'</script>."},
    GOOD | {"id": "b", "ticket": "rotate my api token", "intent": "api.token", "ideal_reply": "Press Rotate."},
    GOOD | {"id": "c", "ticket": "a guest cannot log in", "intent": "access.login", "ideal_reply": "Invite them again."},
]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write(folder / "train.jsonl", *ROWS)
    tickets = [("v", EVIL), ("w", "the token leaked"), ("x", "login fails")]
    write(folder / "val.jsonl", *({"id": name, "ticket": text} for name, text in tickets))
    label = {"id": "w", "intent": "billing.seat", "ideal_reply": "Press Revoke.", "must_mention": [["Revoke"]]}
    write(folder / "labels.jsonl", label)
    assert run.main(arguments(folder)) == 0
    return folder


def options(folder: Path, output: Path, **changed: Path) -> list[str]:
    chosen = {"weights": folder / "weights", "results": folder / "results.json", "output": output} | changed
    return [text for name, value in chosen.items() for text in (f"--{name}", str(value))]


def page_of(folder: Path, tmp_path: Path, **changed: Path) -> str:
    assert report.main(options(folder, tmp_path / "page.html", **changed)) == 0
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def test_what_a_ticket_says_is_escaped_and_not_run_by_the_template(finished: Path, tmp_path: Path) -> None:
    page = page_of(finished, tmp_path)
    assert page.count("<script") == 1, "the page's own"
    assert "&lt;script&gt;document.title" in page
    assert "{{ 7 * 7 }}" in page
    assert "<img src=x" not in page


def test_the_page_needs_nothing_from_elsewhere_and_is_told_to_load_nothing(finished: Path, tmp_path: Path) -> None:
    page = page_of(finished, tmp_path)
    assert "default-src 'none'" in page
    assert not [piece for piece in ('src="http', 'href="http', "@import", "url(") if piece in page]


def test_without_a_language_model_it_says_so_in_place_of_a_loss_curve(finished: Path, tmp_path: Path) -> None:
    page = page_of(finished, tmp_path)
    assert "No language model was trained in this run." in page
    assert "training loss of each step" not in page


def test_losses_of_a_run_with_an_adapter_are_drawn(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for path in (finished / "weights").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    record = json.loads((folder / "run.json").read_text()) | {"losses": [3.0, 2.0]}
    (folder / "run.json").write_text(json.dumps(record))
    assert 'alt="training loss of each step' in page_of(finished, tmp_path, weights=folder)


def test_labels_bring_confusions_facts_and_differences(finished: Path, tmp_path: Path) -> None:
    bare, page = page_of(finished, tmp_path), page_of(finished, tmp_path, labels=finished / "labels.jsonl")
    for piece in (
        "Intents against labels",
        "0 of 1 intents are right. 2 rows have no label.",
        "Missing: Revoke",
        "<del>Rotate.</del>",
    ):
        assert piece in page
        assert piece not in bare


def test_the_difference_keeps_the_words_of_both_in_order() -> None:
    found = difference("open the old page now", "open the new page")
    assert [(piece["kind"], piece["text"]) for piece in found] == [
        ("same", "open the"), ("ours", "old"), ("ideal", "new"), ("same", "page"), ("ours", "now"),
    ]  # fmt: skip


def said(capsys: pytest.CaptureFixture[str], status: int, chosen: list[str]) -> str:
    assert report.main(chosen) == status
    return capsys.readouterr().err


def test_all_problems_are_said_at_once(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = {"weights": tmp_path / "none", "results": tmp_path / "r.json", "labels": tmp_path / "l.jsonl"}
    problems = said(capsys, 2, options(finished, tmp_path / "no" / "page.html", **paths))
    for piece in (
        "run.json: cannot be read",
        "predictions.jsonl: cannot",
        "r.json: cannot be read",
        "l.jsonl: cannot",
        "--output",
    ):
        assert piece in problems


def test_a_result_of_another_run_is_refused(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other: dict[str, Any] = json.loads((finished / "results.json").read_text())
    other["predictions"][0]["prediction"] = "something else"
    (tmp_path / "r.json").write_text(json.dumps(other))
    assert "found other answers" in said(capsys, 2, options(finished, tmp_path / "p.html", results=tmp_path / "r.json"))


@pytest.mark.parametrize("package", ["matplotlib.figure", "jinja2"])
def test_a_missing_package_is_a_sentence(
    finished: Path, tmp_path: Path, package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert "pip install -r requirements-dev.txt" in said(capsys, 1, options(finished, tmp_path / "p.html"))
