"""The report in a real Chromium."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluation.report.__main__ import main
from tests.evaluation.report.finished import EVIL, finish_run, options
from tests.evaluation.samples import use_hash_encoder

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NEEDED = "BROWSER_NEEDED" in os.environ  # in CI a missing browser is a failure
pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM and not NEEDED, reason="Chromium is not installed")]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = finish_run(tmp_path_factory.mktemp("report"))
    with pytest.MonkeyPatch.context() as patch:
        use_hash_encoder(patch, "evaluation.report.__main__")
        assert main(options(folder, folder / "report.html", labels=folder / "labels.jsonl")) == 0
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    with sync_api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: "sync_api.Browser", page_file: Path) -> Iterator["sync_api.Page"]:
    opened = browser.new_page(viewport={"width": 1200, "height": 900})
    complaints: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(page_file.as_uri())
    yield opened
    assert complaints == []
    assert [url for url in asked if not url.startswith("data:")] == [page_file.as_uri()], "it asks for nothing else"
    opened.close()


def shown(page: "sync_api.Page") -> list[str]:
    return [row.locator(".id").text_content() for row in page.locator("#list > details").all() if row.is_visible()]


def test_a_script_in_a_ticket_does_nothing(page: "sync_api.Page") -> None:
    assert page.title() == "Thirty Tickets: report of a run"
    assert page.locator("#list .text").first.text_content() == EVIL


def test_search_leaves_the_rows_with_all_words_and_counts_them(page: "sync_api.Page") -> None:
    page.fill("#search", "TOKEN leaked")
    assert shown(page) == ["w"]
    assert page.locator("#count").text_content() == "1 of 3"
    page.fill("#search", "")
    assert shown(page) == ["v", "w", "x"]


def test_a_column_sorts_up_then_down_and_order_brings_the_first_order_back(page: "sync_api.Page") -> None:
    by = page.locator("[data-by=confidence]")
    values = "rows => rows.map(row => Number(row.dataset.confidence))"
    by.click()
    up = page.locator("#list > details").evaluate_all(values)
    assert up == sorted(up)
    by.click()
    down = page.locator("#list > details").evaluate_all(values)
    assert down == sorted(up, reverse=True) != up
    page.locator("[data-by=number]").click()
    assert shown(page) == ["v", "w", "x"]


def test_a_row_opens_by_mouse_and_by_keyboard_to_all_that_explains_it(page: "sync_api.Page") -> None:
    row = page.locator("#list > details").nth(1)
    assert not row.locator(".inside").is_visible()
    row.locator("summary").click()
    text = row.locator(".inside").inner_text()
    for head in (
        "Neighbours",
        "Intents",
        "Exemplars",
        "Reply, copied",
        "Difference to the ideal reply",
        "Expected intent: billing",
    ):
        assert head in text
    page.locator("#list > details").nth(2).locator("summary").focus()
    page.keyboard.press("Enter")
    assert page.locator("#list > details").nth(2).locator(".inside").is_visible()


def test_every_picture_is_there(page: "sync_api.Page") -> None:
    widths = page.locator("figure img").evaluate_all("all => all.map(image => image.naturalWidth)")
    assert len(widths) == 2, "confidence and map; no loss without a language model"
    assert all(width > 100 for width in widths)


def test_a_phone_needs_no_sideways_scrolling(page: "sync_api.Page") -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator("#open").click()
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_print_shows_every_row_open_and_no_controls(page: "sync_api.Page") -> None:
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert all(row.is_visible() for row in page.locator(".inside").all())
    assert not page.locator("#search").is_visible()
    assert page.pdf().startswith(b"%PDF")
