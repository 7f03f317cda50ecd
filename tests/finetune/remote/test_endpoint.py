"""What is wrong before anything is sent: key, address, processes; and what must never be printed."""

import subprocess
import sys

import pytest

from finetune.remote.endpoint import DEFAULT_URL, KEY_VARIABLE, URL_VARIABLE, endpoint_of, remote_problems
from tests.test_run import ROOT


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    monkeypatch.delenv(URL_VARIABLE, raising=False)


def test_a_key_and_nothing_else_leads_to_the_usual_address() -> None:
    assert remote_problems("gpt-4.1-mini") == []
    found = endpoint_of("gpt-4.1-mini")
    assert (found.url, found.key, found.host) == (DEFAULT_URL, "secret", "api.openai.com")


def test_without_a_remote_model_the_environment_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE)
    monkeypatch.setenv(URL_VARIABLE, "nonsense")
    assert remote_problems("none") == []


@pytest.mark.parametrize("key", [None, "", "  ", "two words", "line\nbreak", "ключ"])
def test_a_key_that_cannot_be_one_is_a_problem_and_is_not_printed(key: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE) if key is None else monkeypatch.setenv(KEY_VARIABLE, key)
    (problem,) = remote_problems("m")
    assert problem.startswith(f"{KEY_VARIABLE}: found ")
    assert not (key and key.strip() and key in problem)


BAD_URLS = (
    "ftp://x/v1",
    "localhost:8000",
    "http://",
    "http://x:port/v1",
    "http://x:99999/v1",
    "http://[::1/v1",
    "http://a b/v1",
)


@pytest.mark.parametrize("url", [*BAD_URLS, "file:///etc/passwd", "https://x/v1?key=1", "http://x:0/v1"])
def test_an_address_that_is_not_http_is_a_problem(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, url)
    (problem,) = remote_problems("m")
    assert problem.startswith(f"{URL_VARIABLE}: found ")
    assert DEFAULT_URL in problem


def test_all_problems_come_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "")
    monkeypatch.setenv(URL_VARIABLE, "nonsense")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert len(remote_problems("")) == 4


def test_a_password_in_the_address_is_refused_and_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, "https://me:hidden@x.example:8443/v1")
    (problem,) = remote_problems("m")
    assert "x.example" in problem
    assert "hidden" not in problem


def test_checking_imports_nothing_heavy() -> None:
    code = (
        "import sys, finetune.remote.endpoint; print([n for n in ('numpy', 'torch', 'openai', 'httpx2') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_whole_package_needs_no_torch() -> None:
    code = "import sys, finetune.remote.remote_model; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
