"""Downloading from a hub, against a stub of one on localhost."""

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

from retrieval import downloads, hub
from retrieval.checkpoint_files import CHECKPOINT, ENCODER, single_file
from retrieval.downloads import MIB, hopeless
from retrieval.errors import Refused
from retrieval.hub import listed, reason
from tests.retrieval.hub_stub import COMMIT, REPOSITORY, Hub, serving

FEW, MANY = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = f'{{"weight_map": {{"a": "{FEW}", "b": "{MANY}"}}}}'.encode()
SMALL = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
IN_FOLDERS = ("onnx/config.json", "tokenizer/more.json", "original/model.safetensors")
NOT_WANTED = ("pytorch_model.bin", "modeling_tiny.py", "README.md", "model.fp16.safetensors", *IN_FOLDERS)


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
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


def in_shards(stub: Hub) -> None:
    """The weights as two files: one of a few bytes, one of 8 MiB, which a slow line will not bring."""
    del stub.files["model.safetensors"]
    stub.files |= {FEW: b"few", MANY: os.urandom(8 * MIB), "model.safetensors.index.json": INDEX}


def get(revision: str | None = None, *, within: float = 60.0) -> Path:
    return hub.download(REPOSITORY, revision, CHECKPOINT, deadline=time.monotonic() + within)


def cached(revision: str | None) -> Path | None:
    return hub.cached(REPOSITORY, revision, CHECKPOINT)


def refusal(revision: str | None = None, *, within: float = 60.0) -> str:
    with pytest.raises(Refused) as caught:
        get(revision, within=within)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def child_refusal() -> str:
    """The sentence that the child would end with; asked in this process, which is faster (and good for the list only)."""
    with pytest.raises((OSError, ValueError)) as caught:
        listed(REPOSITORY, "v1", CHECKPOINT)
    return reason(caught.value)


def unfinished(folder: Path) -> list[Path]:
    return list(folder.rglob("*.incomplete"))


def wait_until(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_wanted_are_the_single_weight_file_and_small_files_no_pickles_no_code_and_nothing_in_folders(stub: Hub) -> None:
    stub.files |= {FEW: b"", MANY: b"", "model.safetensors.index.json": INDEX}
    found = {path.name: path.read_bytes() for path in get().iterdir()}
    assert found == {name: stub.files[name] for name in (*SMALL, "model.safetensors")}


@pytest.mark.parametrize(("revision", "asked"), [(None, ""), ("v1", "/revision/v1")])
def test_what_was_downloaded_is_taken_from_the_cache_without_a_request(stub: Hub, revision: str | None, asked: str) -> None:
    assert cached(revision) is None
    first = get(revision)
    assert stub.asked[0].startswith(f"GET /api/models/{REPOSITORY}{asked}")
    stub.asked.clear()
    assert get(revision) == get(COMMIT) == cached(revision) == first
    assert cached("v2") is None
    assert stub.asked == []


@pytest.mark.parametrize("lost", ["config.json", "tokenizer.json", "model.safetensors.index.json", FEW, MANY])
@pytest.mark.parametrize("how", ["absent", "a link to a file that is gone"])
def test_a_folder_in_the_cache_that_lacks_a_file_is_not_whole(stub: Hub, tmp_path: Path, lost: str, how: str) -> None:
    folder = tmp_path / "hub" / f"models--{REPOSITORY.replace('/', '--')}" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", FEW, MANY):
        (folder / name).write_bytes(b"")
    (folder / "model.safetensors.index.json").write_bytes(INDEX)
    assert cached(COMMIT) == folder
    (folder / lost).unlink()
    if how != "absent":
        (folder / lost).symlink_to(tmp_path / "gone")
    assert cached(COMMIT) is None


@pytest.mark.parametrize("index", [b"{", INDEX.replace(b"00002-of", b"00003-of")], ids=["unreadable", "names what is nowhere"])
def test_an_index_that_does_not_match_its_files_is_one_sentence(stub: Hub, index: bytes) -> None:
    in_shards(stub)
    stub.files["model.safetensors.index.json"] = index
    assert refusal() == "its index names files that it does not have, or has as pickles only: name another"


def test_a_link_to_a_file_that_is_gone_is_fetched_again_and_only_that(stub: Hub) -> None:
    (get() / "model.safetensors").resolve().unlink()
    stub.asked.clear()
    assert (get() / "model.safetensors").is_file()
    assert stub.fetched() == ["model.safetensors"]


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
def test_what_the_hub_refuses_is_one_sentence_that_says_what_to_do(stub: Hub, status: int, code: str, expected: str) -> None:
    stub.refusal = (status, code)
    assert expected in child_refusal()


def test_a_login_page_or_nothing_in_place_of_the_hub_is_named(stub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    stub.login_page = True
    assert "no model hub answers: check HF_ENDPOINT" in child_refusal()
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "the hub cannot be reached ([Errno 111] Connection refused): check the network" in child_refusal()


def test_a_gated_repository_that_shows_its_list_is_named_as_gated(stub: Hub) -> None:
    stub.gated = True
    expected = "its weights are gated: accept the terms on its page at the hub and set HF_TOKEN"
    assert refusal("v1") == expected


def test_a_child_that_breaks_is_one_sentence(stub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "httpx2.py").write_text("raise RuntimeError('broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert refusal() == "RuntimeError: broken"


def test_a_repository_of_pickles_is_no_checkpoint(stub: Hub) -> None:
    del stub.files["model.safetensors"]
    assert "found no weights in safetensors in the repository" in refusal()
    assert stub.fetched() == []


def test_a_name_that_no_hub_can_have_is_one_sentence(stub: Hub) -> None:
    with pytest.raises(Refused, match=r"^Cannot have -- or"):
        hub.download("a--b/c", None, CHECKPOINT, deadline=time.monotonic() + 60)
    assert stub.asked == []


def test_a_hub_that_never_answers_costs_no_more_than_the_limit(stub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "LIST_S", 1.0)
    stub.silent = True
    began = time.monotonic()
    assert "did not answer in the time there was" in refusal()
    assert time.monotonic() - began < 1.0 + downloads.END_S


def test_a_disk_that_is_too_small_is_named_with_what_is_needed(stub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9, 9, downloads.GIB // 2))
    assert "needed 1.0 GiB: make room, or set HF_HOME" in refusal()
    assert stub.fetched() == []


def test_a_cache_that_cannot_be_written_is_one_sentence(stub: Hub, tmp_path: Path) -> None:
    (tmp_path / "hub").write_text("no folder")
    assert "see that HF_HOME is a folder that can be written" in refusal()


def run(**variables: str) -> subprocess.Popen[str]:
    """`download` in a process of its own, without a deadline."""
    code = (
        "import math; from retrieval.checkpoint_files import CHECKPOINT; from retrieval.hub import download;"
        f"download({REPOSITORY!r}, None, CHECKPOINT, deadline=math.inf)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **variables}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_no_request_is_made_and_the_variable_is_named(stub: Hub, variable: str) -> None:
    _, complaint = run(**{variable: "1"}).communicate(timeout=30)
    assert "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set: unset it" in complaint.splitlines()[-1]
    assert stub.asked == []


def test_a_slow_line_is_given_up_early_and_whole_files_stay(stub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(downloads, "say", said.append)
    monkeypatch.setattr(downloads, "SAY_EVERY_S", 0.2)
    monkeypatch.setattr(downloads, "MEASURE_S", 2.5)
    in_shards(stub)
    stub.bytes_per_s = MIB  # of 8 MiB, with a deadline at half of that
    began = time.monotonic()
    expected = "MiB/s, too slow for the time budget; fetch it before the run with `hf download someone/tiny --revision v1`"
    assert expected in refusal("v1", within=6.0)
    assert time.monotonic() - began < 5.5
    assert said[0] == f"fetching {REPOSITORY}: 0.01 GiB"
    assert " of 0.01 GiB arrived, " in said[1]
    assert unfinished(tmp_path) == []
    stub.asked.clear()
    stub.bytes_per_s = 1e9
    assert (get("v1") / FEW).read_bytes() == b"few"
    assert stub.fetched() == [MANY]


def test_a_download_ends_at_the_deadline(stub: Hub, tmp_path: Path) -> None:
    in_shards(stub)
    stub.bytes_per_s = MIB / 2
    began = time.monotonic()
    assert "too slow for the time budget" in refusal(within=3.0)
    assert time.monotonic() - began < 3.0 + downloads.END_S
    assert unfinished(tmp_path) == []


def test_an_interrupt_ends_the_download_too(stub: Hub, tmp_path: Path) -> None:
    def interrupt() -> None:
        wait_until(lambda: unfinished(tmp_path))
        os.kill(os.getpid(), signal.SIGINT)

    in_shards(stub)
    stub.bytes_per_s = MIB / 2
    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        get()
    assert unfinished(tmp_path) == []


def test_a_run_that_is_killed_takes_its_download_along(stub: Hub, tmp_path: Path) -> None:
    in_shards(stub)
    stub.bytes_per_s = MIB / 2
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


MODULES = b"""[
    {"path": "", "type": "a.Transformer"},
    {"path": "1_Pooling", "type": "a.Pooling"},
    {"path": "2_Dense", "type": "a.Dense"},
    {"path": "3_Normalize", "type": "a.Normalize"}
]"""
OF_AN_ENCODER = {
    "modules.json": MODULES,
    "sentence_bert_config.json": b"{}",
    "config_sentence_transformers.json": b"{}",
    "1_Pooling/config.json": b"{}",
    "2_Dense/config.json": b"{}",
    "2_Dense/model.safetensors": b"dense",
}


def get_encoder() -> Path:
    return hub.download(REPOSITORY, "v1", ENCODER, deadline=time.monotonic() + 60)


def test_of_an_encoder_its_modules_are_wanted_too(stub: Hub) -> None:
    stub.files |= OF_AN_ENCODER | {
        "2_Dense/pytorch_model.bin": b"no",
        "2_Dense/code.py": b"no",
        "1_Pooling/onnx/config.json": b"no",
    }
    folder = get_encoder()
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {*SMALL, "model.safetensors", *OF_AN_ENCODER}
    for lost in ("1_Pooling/config.json", "2_Dense/model.safetensors", "modules.json"):
        (folder / lost).rename(folder / "kept")
        assert (hub.cached(REPOSITORY, "v1", ENCODER) is None) == (lost != "modules.json"), (
            "a plain checkpoint is an encoder, too"
        )
        (folder / "kept").rename(folder / lost)


def test_a_module_that_is_a_pickle_only_is_refused(stub: Hub) -> None:
    stub.files |= OF_AN_ENCODER | {"2_Dense/pytorch_model.bin": b"no"}
    del stub.files["2_Dense/model.safetensors"]
    with pytest.raises(Refused, match="or has as pickles only: name another"):
        get_encoder()


def test_small_files_come_before_the_weights(stub: Hub) -> None:
    stub.files |= {"vocab.txt": b"behind the weights in the list"}
    get()
    assert stub.fetched()[-1] == "model.safetensors"


def test_of_a_single_file_only_that_is_fetched(stub: Hub) -> None:
    stub.files |= {"tiny.gguf": b"GGUF", "other.gguf": b"GGUF"}
    folder = hub.download(REPOSITORY, COMMIT, single_file("tiny.gguf"), deadline=time.monotonic() + 60)
    assert stub.fetched() == ["tiny.gguf"]
    assert hub.cached(REPOSITORY, COMMIT, single_file("tiny.gguf")) == folder
    assert hub.cached(REPOSITORY, COMMIT, single_file("other.gguf")) is None
    with pytest.raises(Refused, match=r"found no third.gguf in the repository"):
        hub.download(REPOSITORY, COMMIT, single_file("third.gguf"), deadline=time.monotonic() + 60)
