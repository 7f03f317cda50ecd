"""Downloading a checkpoint from a hub, against a stub of one on localhost."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from retrieval import model_files
from retrieval.encoder import ModelUnavailable
from retrieval.model_files import MIB, cached, download, hopeless, listed, reason
from tests.retrieval.hub_stub import COMMIT, REPOSITORY, Hub, serving

FEW, MANY = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = f'{{"weight_map": {{"a": "{FEW}", "b": "{MANY}"}}}}'.encode()
SMALL = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
IN_FOLDERS = ("onnx/config.json", "tokenizer/more.json", "original/model.safetensors")
NOT_WANTED = ("pytorch_model.bin", "modeling_tiny.py", "README.md", "model.fp16.safetensors", *IN_FOLDERS)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The stub, with an empty cache of its own, and the working directory elsewhere than in the repository."""
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    files = {name: name.encode() for name in (*SMALL, *NOT_WANTED, "model.safetensors")}
    with serving(files) as stub:
        monkeypatch.setenv("HF_ENDPOINT", stub.address)
        monkeypatch.setenv("HF_HOME", str(tmp_path))
        monkeypatch.setattr(constants, "ENDPOINT", stub.address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.chdir(tmp_path)
        yield stub
        stub.silent = False


def in_shards(hub: Hub) -> None:
    """The weights as two files: one of a few bytes, one of 8 MiB, which a slow line will not bring."""
    del hub.files["model.safetensors"]
    hub.files |= {FEW: b"few", MANY: os.urandom(8 * MIB), "model.safetensors.index.json": INDEX}


def get(revision: str | None = None, *, within: float = 60.0) -> Path:
    return download(REPOSITORY, revision, deadline=time.monotonic() + within)


def refusal(revision: str | None = None, *, within: float = 60.0) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        get(revision, within=within)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def child_refusal() -> str:
    """The sentence that the child would end with; asked in this process, which is faster (and good for the list only)."""
    with pytest.raises((OSError, ValueError)) as caught:
        listed(REPOSITORY, "v1")
    return reason(caught.value)


def unfinished(folder: Path) -> list[Path]:
    return list(folder.rglob("*.incomplete"))


def wait_until(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_wanted_are_the_single_weight_file_and_small_files_no_pickles_no_code_and_nothing_in_folders(hub: Hub) -> None:
    hub.files |= {FEW: b"", MANY: b"", "model.safetensors.index.json": INDEX}
    found = {path.name: path.read_bytes() for path in get().iterdir()}
    assert found == {name: hub.files[name] for name in (*SMALL, "model.safetensors")}


@pytest.mark.parametrize(("revision", "asked"), [(None, ""), ("v1", "/revision/v1")])
def test_what_was_downloaded_is_taken_from_the_cache_without_a_request(hub: Hub, revision: str | None, asked: str) -> None:
    assert cached(REPOSITORY, revision) is None
    first = get(revision)
    assert hub.asked[0].startswith(f"GET /api/models/{REPOSITORY}{asked}")
    hub.asked.clear()
    assert get(revision) == get(COMMIT) == cached(REPOSITORY, revision) == first
    assert cached(REPOSITORY, "v2") is None
    assert hub.asked == []


@pytest.mark.parametrize("lost", ["config.json", "tokenizer.json", "model.safetensors.index.json", FEW, MANY])
@pytest.mark.parametrize("how", ["absent", "a link to a file that is gone"])
def test_a_folder_in_the_cache_that_lacks_a_file_is_not_whole(hub: Hub, tmp_path: Path, lost: str, how: str) -> None:
    folder = tmp_path / "hub" / f"models--{REPOSITORY.replace('/', '--')}" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", FEW, MANY):
        (folder / name).write_bytes(b"")
    (folder / "model.safetensors.index.json").write_bytes(INDEX)
    assert cached(REPOSITORY, COMMIT) == folder
    (folder / lost).unlink()
    if how != "absent":
        (folder / lost).symlink_to(tmp_path / "gone")
    assert cached(REPOSITORY, COMMIT) is None


@pytest.mark.parametrize("index", [b"{", INDEX.replace(b"00002-of", b"00003-of")], ids=["unreadable", "names what is nowhere"])
def test_an_index_that_does_not_match_its_files_is_one_sentence(hub: Hub, index: bytes) -> None:
    in_shards(hub)
    hub.files["model.safetensors.index.json"] = index
    assert "cannot be used: its index names files that it does not have: name another checkpoint" in refusal()


def test_a_link_to_a_file_that_is_gone_is_fetched_again_and_only_that(hub: Hub) -> None:
    (get() / "model.safetensors").resolve().unlink()
    hub.asked.clear()
    assert (get() / "model.safetensors").is_file()
    assert hub.fetched() == ["model.safetensors"]


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (404, "RepoNotFound", "no such repository, or it is private: check the name, or set HF_TOKEN"),
        (401, "RepoNotFound", "no such repository, or it is private: check the name, or set HF_TOKEN"),
        (403, "GatedRepo", "gated: accept the terms"),
        (404, "RevisionNotFound", "no such revision: name a branch, a tag or a commit"),
        (403, "", "HTTP 403: set an HF_TOKEN"),
        (404, "", "HTTP 404: check HF_ENDPOINT"),
        (500, "", "HTTP 500: try again later"),
        (503, "", "HTTP 503: try again later"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence_that_says_what_to_do(hub: Hub, status: int, code: str, expected: str) -> None:
    hub.refusal = (status, code)
    assert expected in child_refusal()


def test_a_login_page_or_nothing_in_place_of_the_hub_is_named(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.login_page = True
    assert "no model hub answers: check HF_ENDPOINT" in child_refusal()
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "the hub cannot be reached ([Errno 111] Connection refused): check the network" in child_refusal()


def test_a_gated_repository_that_shows_its_list_is_named_as_gated_and_the_sentence_names_the_checkpoint(hub: Hub) -> None:
    hub.gated = True
    expected = "its weights are gated: accept the terms on its page at the hub and set HF_TOKEN"
    assert refusal("v1") == f"{REPOSITORY}@v1 cannot be fetched: {expected}"


def test_a_child_that_breaks_is_one_sentence(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "httpx2.py").write_text("raise RuntimeError('broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert refusal() == f"{REPOSITORY} cannot be fetched: RuntimeError: broken"


def test_a_repository_of_pickles_is_no_checkpoint(hub: Hub) -> None:
    del hub.files["model.safetensors"]
    assert "found no weights in safetensors in the repository" in refusal()
    assert hub.fetched() == []


def test_a_name_that_no_hub_can_have_is_one_sentence(hub: Hub) -> None:
    with pytest.raises(ModelUnavailable, match=r"a--b/c cannot be fetched: Cannot have -- or"):
        download("a--b/c", None)
    assert hub.asked == []


def test_a_hub_that_never_answers_costs_no_more_than_the_limit(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "LIST_S", 1.0)
    hub.silent = True
    began = time.monotonic()
    assert "did not answer in the time there was" in refusal()
    assert time.monotonic() - began < 1.0 + model_files.END_S


def test_a_disk_that_is_too_small_is_named_with_what_is_needed(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9, 9, model_files.GIB // 2))
    assert "needed 1.0 GiB: make room, or set HF_HOME" in refusal()
    assert hub.fetched() == []


def test_a_cache_that_cannot_be_written_is_one_sentence(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "hub").write_text("no folder")
    assert "see that HF_HOME is a folder that can be written" in refusal()


def run(**variables: str) -> subprocess.Popen[str]:
    """`download` in a process of its own, without a deadline."""
    code = f"from retrieval.model_files import download; download({REPOSITORY!r}, None)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **variables}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_no_request_is_made_and_the_variable_is_named(hub: Hub, variable: str) -> None:
    _, complaint = run(**{variable: "1"}).communicate(timeout=30)
    assert "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set: unset it" in complaint.splitlines()[-1]
    assert hub.asked == []


def test_a_slow_line_is_given_up_early_and_whole_files_stay(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(model_files, "say", said.append)
    monkeypatch.setattr(model_files, "TELL_EVERY_S", 0.2)
    monkeypatch.setattr(model_files, "MEASURE_S", 2.5)
    in_shards(hub)
    hub.bytes_per_s = MIB  # of 8 MiB, with a deadline at half of that
    began = time.monotonic()
    expected = "MiB/s, too slow for the time budget; fetch it before the run with `hf download someone/tiny --revision v1`"
    assert expected in refusal("v1", within=6.0)
    assert time.monotonic() - began < 5.5
    assert said[0] == f"fetching {REPOSITORY}: 0.01 GiB"
    assert " of 0.01 GiB arrived, " in said[1]
    assert unfinished(tmp_path) == []
    hub.asked.clear()
    hub.bytes_per_s = 1e9
    assert (get("v1") / FEW).read_bytes() == b"few"
    assert hub.fetched() == [MANY]


def test_a_download_ends_at_the_deadline(hub: Hub, tmp_path: Path) -> None:
    in_shards(hub)
    hub.bytes_per_s = MIB / 2
    began = time.monotonic()
    assert "too slow for the time budget" in refusal(within=3.0)
    assert time.monotonic() - began < 3.0 + model_files.END_S
    assert unfinished(tmp_path) == []


def test_an_interrupt_ends_the_download_too(hub: Hub, tmp_path: Path) -> None:
    def interrupt() -> None:
        wait_until(lambda: unfinished(tmp_path))
        os.kill(os.getpid(), signal.SIGINT)

    in_shards(hub)
    hub.bytes_per_s = MIB / 2
    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        get()
    assert unfinished(tmp_path) == []


def test_a_run_that_is_killed_takes_its_download_along(hub: Hub, tmp_path: Path) -> None:
    in_shards(hub)
    hub.bytes_per_s = MIB / 2
    killed = run()
    wait_until(lambda: unfinished(tmp_path))
    killed.kill()
    killed.communicate()
    wait_until(lambda: not unfinished(tmp_path))


@pytest.mark.parametrize(
    ("done", "spent_s", "left_s", "expected"),
    [
        (10, 20.0, 100.0, True),  # 180 s more
        (10, 20.0, 170.0, False),  # nearly: a rate may increase
        (10, 5.0, 1.0, False),  # not measured long enough
        (0, 21.0, 1e6, True),  # nothing comes
        (0, 21.0, float("inf"), False),  # but nobody waits
        (100, 21.0, 1.0, False),  # all there, or the hub tells no sizes
    ],
)
def test_hopeless_is_what_the_measured_rate_cannot_finish(done: int, spent_s: float, left_s: float, expected: bool) -> None:
    assert hopeless(done, 100, spent_s=spent_s, left_s=left_s) is expected
