import json
import sys
from pathlib import Path
from typing import Any

import pytest

from evaluation.report.__main__ import main
from evaluation.report.render import difference
from tests.evaluation.report.finished import changed_record, finish_run, options
from tests.evaluation.samples import use_hash_encoder
from tests.test_run import write

MODULE = "evaluation.report.__main__"
LOSSES = {"losses": [3.0, 2.0]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finish_run(tmp_path_factory.mktemp("report"))


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    use_hash_encoder(monkeypatch, MODULE)


def page_of(folder: Path, tmp_path: Path, **changed: Path) -> str:
    assert main(options(folder, tmp_path / "page.html", **changed)) == 0
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def cells(page: str, head: str) -> str:
    """The first table with this head."""
    return page[page.index(head) :].partition("</table>")[0]


def section(page: str, name: str) -> str:
    """The section with this heading."""
    return page[page.index(f'<section aria-labelledby="{name}"') :].partition("</section>")[0]


def test_what_a_ticket_says_is_escaped_and_the_page_loads_nothing(finished: Path, tmp_path: Path) -> None:
    page = page_of(finished, tmp_path)
    assert page.startswith("<!doctype html>")
    assert page.count("<script") == 1, "the page's own"
    assert "&lt;script&gt;document.title" in page
    assert "{{ 7 * 7 }}" in page
    assert "<img src=x" not in page
    assert "default-src 'none'" in page
    assert not [piece for piece in ('src="http', 'href="http', "@import", "url(") if piece in page]


def test_it_shows_what_the_run_recorded(finished: Path, tmp_path: Path) -> None:
    page = page_of(finished, tmp_path)
    assert "cross-entropy of the right intent, nats per ticket" in page
    assert "<td>label names</td>" in page
    neighbours, intents = cells(page, "<th>cosine</th>"), cells(page, "<th>probability</th>")
    explained = json.loads((finished / "weights" / "predictions.jsonl").read_text().splitlines()[0])
    for near in explained["neighbours"]:
        assert f"<td>{near['id']}</td><td>{near['intent']}</td>" in neighbours
        assert all(f">{near[name]:.3f}</td>" in neighbours for name in ("cosine", "vote_share", "exemplar_score"))
    for score in explained["intents"]:
        assert f"<td>{score['intent']}</td>" in intents
        assert all(f">{score[name]:.3f}</td>" in intents for name in ("probability", "ticket_vote", "reply_vote", "bm25"))
    assert "Probably out of scope" in page


def test_a_gate_shows_its_standard_its_value_with_the_interval_and_what_was_not_measured(
    finished: Path, tmp_path: Path
) -> None:
    gate = {"name": "replies", "passed": True, "decision": "generate", "standard": "if <b>", "statistic": "mean gain"}
    measured = gate | {"value": 0.5, "n": 12, "interval": [-0.1, 0.75], "reason": "because"}
    untested = gate | {"value": None, "n": 0, "interval": None, "reason": "untested"}
    folder = changed_record(finished, tmp_path / "run", gates=[measured, untested])
    page = cells(page_of(finished, tmp_path, weights=folder), "<th>gate</th>")
    for piece in ("if &lt;b&gt;", "+0.500 (-0.100 .. +0.750)", "mean gain", ">12<", "because", "not measured", "untested"):
        assert piece in page


def test_the_loss_curve_is_drawn_where_a_language_model_was_trained(finished: Path, tmp_path: Path) -> None:
    page = page_of(finished, tmp_path)
    assert "No language model was trained in this run." in page
    assert "training loss of each step" not in page
    page = page_of(finished, tmp_path, weights=changed_record(finished, tmp_path / "run", **LOSSES))
    assert 'alt="training loss of each step' in page
    assert "The out-of-fold loss is measured once" not in page, "that one is another quantity here"
    training = {"steps": 2, "train_loss": 1.0, "val_loss": 2.0, "wall_clock_s": 1.0, "loss": "completion loss, nats per token"}
    both = changed_record(finished, tmp_path / "other", **LOSSES, training=training)
    assert "The out-of-fold loss is measured once" in page_of(finished, tmp_path, weights=both)


def test_labels_bring_confusions_facts_and_differences(finished: Path, tmp_path: Path) -> None:
    bare, page = page_of(finished, tmp_path), page_of(finished, tmp_path, labels=finished / "labels.jsonl")
    counted = "0 of 1 intents are correct. 2 rows have no label."
    for piece in ("Intents against labels", counted, "Missing: Revoke", "<del>Rotate.</del>", "<td>api.token (1)</td>"):
        assert piece in page
        assert piece not in bare


def test_probes_are_a_section_of_their_own(finished: Path, tmp_path: Path) -> None:
    facts = {"must_mention": [["Invite"], ["nothing"]], "must_not_mention": ["again"]}
    probe = {"id": "x", "intent": "access.login", "ideal_reply": "Invite them again.", "kind": "probe"} | facts
    labels = [str(finished / "labels.jsonl"), str(write(tmp_path / "probes.jsonl", probe))]
    assert main([*options(finished, tmp_path / "page.html"), "--labels", *labels]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    ordinary, probes = (section(page, f"labels-{kind}") for kind in ("row", "probe"))
    assert "0 of 1 intents are correct. 1 rows have no label." in ordinary
    assert "0 of 1 required facts are met. Wrong facts: 0." in ordinary
    assert "Probes against labels" in probes
    assert "1 of 1 intents are correct. Reply quality is 0.50; 1 of 2 required facts are met. Wrong facts: 1." in probes
    assert "no label" not in probes
    assert "<td>billing.seat</td>" in ordinary
    assert "<td>billing.seat</td>" not in probes
    assert "<td>access.login</td><td>1</td><td>1</td><td>0.50</td>" in probes
    (own,) = [row for row in page.split("<details")[1:] if "This ticket is a probe." in row]
    assert '<span class="id">x</span>' in own


def test_without_probes_there_is_no_section_for_them(finished: Path, tmp_path: Path) -> None:
    page = page_of(finished, tmp_path, labels=finished / "labels.jsonl")
    assert "labels-row" in page
    assert "probe" not in page.lower()


def test_an_id_in_two_label_files_is_refused(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twice = [str(finished / "labels.jsonl")] * 2
    assert 'found "w" in both' in said(capsys, 2, [*options(finished, tmp_path / "page.html"), "--labels", *twice])


def test_the_difference_keeps_the_words_of_both_in_order() -> None:
    assert difference("open the old page now", "open the new page") == [
        ("same", "open the"), ("reply", "old"), ("ideal", "new"), ("same", "page"), ("reply", "now"),
    ]  # fmt: skip


def said(capsys: pytest.CaptureFixture[str], status: int, chosen: list[str]) -> str:
    assert main(chosen) == status
    return capsys.readouterr().err


def test_all_problems_are_said_at_once(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = {"weights": tmp_path / "none", "results": tmp_path / "r.json", "labels": tmp_path / "l.jsonl"}
    problems = said(capsys, 2, options(finished, tmp_path / "no" / "page.html", **paths))
    for piece in ("none: cannot be read", "predictions.jsonl: cannot", "r.json: cannot be", "l.jsonl: cannot", "--output"):
        assert piece in problems


@pytest.mark.parametrize("change", ["prediction", "predicted_intent", "order"])
def test_a_result_of_another_run_is_refused(
    finished: Path, tmp_path: Path, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other: dict[str, Any] = json.loads((finished / "results.json").read_text())
    if change == "order":
        other["predictions"].reverse()
    else:
        other["predictions"][0][change] = "something else"
    (tmp_path / "r.json").write_text(json.dumps(other))
    assert "found other predictions" in said(capsys, 2, options(finished, tmp_path / "p.html", results=tmp_path / "r.json"))


def test_labels_of_other_rows_are_refused(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = tmp_path / "l.jsonl"
    labels.write_text((finished / "labels.jsonl").read_text().replace('"w"', '"zz"'))
    assert "found no label for any row" in said(capsys, 2, options(finished, tmp_path / "p.html", labels=labels))


@pytest.mark.parametrize("package", ["matplotlib.figure", "jinja2"])
def test_a_missing_package_is_a_sentence(
    finished: Path, tmp_path: Path, package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert "pip install -r requirements-dev.txt" in said(capsys, 1, options(finished, tmp_path / "p.html"))


@pytest.mark.parametrize("name", ["results.json", "weights/run.json"])
def test_the_page_takes_the_place_of_no_input_and_of_no_file_of_the_run(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    before = (finished / name).read_bytes()
    assert main(options(finished, finished / name)) == 2
    assert f"--output {finished / name}: found the " in capsys.readouterr().err
    assert (finished / name).read_bytes() == before
