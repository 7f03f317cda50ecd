"""Fetching a checkpoint from a hub, against a stub of one on localhost."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetune import child, fetch
from finetune.fetch import Progress
from finetune.snapshot import cached, lacks, small, weights
from retrieval.encoder import ModelUnavailable
from tests.fakes import base, save_base
from tests.finetune.hub_stub import COMMIT, REPOSITORY, Hub, serving

NOT_WANTED = {"pytorch_model.bin": b"pickle", "modeling_tiny.py": b"code", "README.md": b"words"}
MIB = 1 << 20


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = save_base(tmp_path_factory.mktemp("tiny"))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hub(tiny: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The stub, with an empty cache of its own."""
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    with serving({**tiny, **NOT_WANTED}) as stub:
        monkeypatch.setenv("HF_ENDPOINT", stub.address)
        monkeypatch.setenv("HF_HOME", str(tmp_path))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield stub
        stub.silent = False


def get(revision: str | None = None, *, within: float = 60.0) -> Path:
    return fetch.fetch(REPOSITORY, revision, deadline=time.monotonic() + within)


def refusal(revision: str | None = None, *, within: float = 60.0) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        get(revision, within=within)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def left_over(folder: Path) -> list[Path]:
    return list(folder.rglob("*.incomplete"))


def test_what_was_fetched_loads_as_a_local_folder_and_holds_no_pickle_and_no_code(hub: Hub) -> None:
    folder = get()
    model, report = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    assert not report["missing_keys"]
    expected = base().model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert AutoTokenizer.from_pretrained(folder, local_files_only=True).chat_template
    assert not NOT_WANTED.keys() & {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("revision", [None, "v1", COMMIT])
def test_what_is_whole_in_the_cache_is_taken_without_a_request(hub: Hub, revision: str | None) -> None:
    first = get(revision)
    hub.asked.clear()
    hub.refusal = (500, "")
    assert get(revision) == first
    assert hub.asked == []


def test_a_pinned_revision_is_what_is_asked_for(hub: Hub) -> None:
    get("v1")
    assert hub.asked[0] == f"GET /api/models/{REPOSITORY}/revision/v1"


def test_the_weights_come_last(hub: Hub) -> None:
    get()
    assert hub.fetched()[-1] == "model.safetensors"


def test_a_snapshot_that_lacks_its_weights_is_completed(hub: Hub) -> None:
    (get() / "model.safetensors").unlink()
    assert cached(REPOSITORY, None) is None
    assert (get() / "model.safetensors").is_file()


def test_a_link_to_a_file_that_is_gone_is_fetched_again(hub: Hub) -> None:
    (get() / "model.safetensors").resolve().unlink()
    assert (get() / "model.safetensors").is_file()
    assert hub.fetched().count("model.safetensors") == 2


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (404, "RepoNotFound", "no such repository, or it is private: check the name, or set HF_TOKEN"),
        (401, "RepoNotFound", "no such repository, or it is private: check the name, or set HF_TOKEN"),
        (403, "GatedRepo", "gated: accept the terms"),
        (404, "RevisionNotFound", "no such revision: name a branch, a tag or a commit"),
        (403, "", "HTTP 403: set an HF_TOKEN"),
        (404, "", "HTTP 404: check HF_ENDPOINT"),
        (503, "", "HTTP 503: try again later"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence_that_says_what_to_do(hub: Hub, status: int, code: str, expected: str) -> None:
    hub.refusal = (status, code)
    found = refusal("v1")
    assert found.startswith(f"{REPOSITORY}@v1 cannot be fetched: ")
    assert expected in found


def test_a_gated_repository_that_shows_its_list_is_named_as_gated(hub: Hub) -> None:
    hub.gated = True
    assert "gated: accept the terms" in refusal()


def test_a_repository_of_pickles_is_no_checkpoint(hub: Hub) -> None:
    del hub.files["model.safetensors"]
    assert "found no weights in safetensors in the repository" in refusal()
    assert hub.fetched() == []


def test_a_hub_that_is_down_is_one_sentence(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "the hub cannot be reached ([Errno 111] Connection refused): check the network" in refusal()


def test_a_login_page_in_place_of_the_hub_is_named(hub: Hub) -> None:
    hub.login_page = True
    assert "no model hub answers: check HF_ENDPOINT" in refusal()


def test_a_name_that_no_hub_can_have_is_one_sentence(hub: Hub) -> None:
    with pytest.raises(ModelUnavailable, match=r"a--b/c cannot be fetched: Cannot have -- or"):
        fetch.fetch("a--b/c", None, deadline=time.monotonic() + 9)
    assert hub.asked == []


def test_a_hub_that_never_answers_costs_no_more_than_the_limit(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "LIST_S", 1.5)
    hub.silent = True
    began = time.monotonic()
    assert "did not answer in the time there was" in refusal()
    assert time.monotonic() - began < 1.5 + child.END_S


def test_a_disk_that_is_too_small_is_named_with_what_is_needed(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9, 9, fetch.GIB // 2))
    found = refusal()
    assert "found 0.5 GiB free in " in found
    assert "needed 1.0 GiB: make max_new_tokens, or set HF_HOME" in found
    assert hub.fetched() == []


def test_a_cache_that_cannot_be_written_is_one_sentence(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    assert "see that HF_HOME is a folder that can be written" in refusal()


def test_an_index_that_names_files_which_are_nowhere_is_one_sentence(hub: Hub) -> None:
    shards(hub)
    del hub.files["model-00002-of-00002.safetensors"]
    assert "its index names files that it does not have: name another checkpoint" in refusal()


def test_offline_no_request_is_made_and_the_variable_is_named(hub: Hub, tmp_path: Path) -> None:
    code = f"from finetune.fetch import fetch; fetch({REPOSITORY!r}, None, deadline=1e9)"
    environment = {**os.environ, "TRANSFORMERS_OFFLINE": "1"}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set: unset it" in ended.stderr.splitlines()[-1]
    assert hub.asked == []


def shards(hub: Hub) -> None:
    """The weights as two files: one of a few bytes, one of 8 MiB, which a slow line will not bring."""
    del hub.files["model.safetensors"]
    first, second = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
    hub.files |= {first: b"few", second: os.urandom(8 * MIB)}
    hub.files["model.safetensors.index.json"] = f'{{"weight_map": {{"a": "{first}", "b": "{second}"}}}}'.encode()


def test_a_line_that_is_too_slow_is_given_up_on_early_and_whole_files_are_kept(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fetch, "MEASURE_S", 3.0)
    shards(hub)
    hub.bytes_per_s = MIB / 2  # of 8 MiB: done by 16 s, and the deadline is at 10
    began = time.monotonic()
    found = refusal(within=10.0)
    assert time.monotonic() - began < 9.0
    assert " of 0.01 GiB arrived, " in found
    assert "MiB/s, too slow for the time budget; fetch it before the run with `hf download someone/tiny`" in found
    assert left_over(tmp_path) == []
    kept = set(hub.fetched()) - {"model-00002-of-00002.safetensors"}
    hub.asked.clear()
    hub.bytes_per_s = 1e9
    assert (get() / "model-00001-of-00002.safetensors").read_bytes() == b"few"
    assert "model-00001-of-00002.safetensors" in kept
    assert hub.fetched() == ["model-00002-of-00002.safetensors"]


def test_a_download_ends_at_the_deadline(hub: Hub, tmp_path: Path) -> None:
    shards(hub)
    hub.bytes_per_s = MIB
    began = time.monotonic()
    assert "arrived" in refusal(within=4.0)
    assert time.monotonic() - began < 4.0 + child.END_S
    assert left_over(tmp_path) == []


def test_an_interrupt_ends_the_download_too(hub: Hub, tmp_path: Path) -> None:
    shards(hub)
    hub.bytes_per_s = MIB
    threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        get()
    assert left_over(tmp_path) == []


def test_a_run_that_is_killed_takes_its_download_along(hub: Hub, tmp_path: Path) -> None:
    shards(hub)
    hub.bytes_per_s = MIB
    code = f"from finetune.fetch import fetch; import time; fetch({REPOSITORY!r}, None, deadline=time.monotonic() + 60)"
    killed = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    waited = time.monotonic() + 30
    while not left_over(tmp_path) and time.monotonic() < waited:
        time.sleep(0.05)
    assert left_over(tmp_path)
    killed.kill()
    killed.wait()
    waited = time.monotonic() + 30
    while left_over(tmp_path) and time.monotonic() < waited:
        time.sleep(0.05)
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(
    ("state", "left_s", "hopeless"),
    [
        (Progress(done=10, total=100, spent_s=20.0), 100.0, True),  # 180 s more
        (Progress(done=10, total=100, spent_s=20.0), 170.0, False),  # nearly: a rate may increase
        (Progress(done=10, total=100, spent_s=5.0), 1.0, False),  # not measured long enough
        (Progress(done=0, total=100, spent_s=21.0), 1e6, True),  # nothing comes
        (Progress(done=0, total=0, spent_s=21.0), 1.0, False),  # the hub tells no sizes
    ],
)
def test_a_download_is_hopeless_when_the_measured_rate_cannot_finish(state: Progress, left_s: float, hopeless: bool) -> None:
    assert state.hopeless(left_s) is hopeless


def test_one_weight_file_is_taken_before_shards_and_nothing_from_folders_or_variants() -> None:
    names = ["config.json", "tokenizer.json", "original/model.safetensors", "onnx/config.json", "model.fp16.safetensors"]
    sharded = [*names, "model.safetensors.index.json", "model-00001-of-00001.safetensors", "consolidated.safetensors"]
    assert lacks(names) == "weights in safetensors"
    assert lacks(sharded) == ""
    assert weights(sharded) == ["model-00001-of-00001.safetensors"]
    assert small(sharded) == ["model.safetensors.index.json", "config.json", "tokenizer.json"]
    assert weights([*sharded, "model.safetensors"]) == ["model.safetensors"]
    assert small([*sharded, "model.safetensors"]) == ["config.json", "tokenizer.json"]
