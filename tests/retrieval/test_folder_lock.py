import subprocess
import sys
from pathlib import Path
from threading import Event, Thread

from retrieval.folder_lock import locked_folder
from tests.test_run import ROOT

HOLDS = """
import sys
from pathlib import Path
from retrieval.folder_lock import locked_folder

with locked_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def enter(folder: Path, entered: Event, *, shared: bool) -> Thread:
    def work() -> None:
        with locked_folder(folder, shared=shared):
            entered.set()

    thread = Thread(target=work)
    thread.start()
    return thread


def test_readers_share_a_folder_and_a_writer_waits_for_them(tmp_path: Path) -> None:
    with locked_folder(tmp_path, shared=True):
        another, writer = Event(), Event()
        enter(tmp_path, another, shared=True).join(timeout=10)
        waiting = enter(tmp_path, writer, shared=False)
        assert another.is_set()
        assert not writer.wait(timeout=0.2)
    waiting.join(timeout=10)
    assert writer.is_set()


def test_nothing_is_left_in_the_folder(tmp_path: Path) -> None:
    with locked_folder(tmp_path):
        assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_killed_gives_the_lock_back(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        entered = Event()
        waiting = enter(tmp_path, entered, shared=False)
        assert not entered.wait(timeout=0.2)
        holder.kill()
    waiting.join(timeout=10)
    assert entered.is_set()
