"""What goes into the image: all that run.py needs, and no data, labels or tests."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_run import GOOD, ROOT, arguments, check_result, write

DOCKERFILE = (ROOT / "Dockerfile").read_text()
IGNORE = (ROOT / ".dockerignore").read_text()
FIRST_PARTY = ("run", "retrieval", "finetune", "evaluation", "tests")
SECRET = (
    "data/val_labels.jsonl",
    "data/train.jsonl",
    "tests/fakes.py",
    ".git/config",
    "out/run.json",
    ".venv/bin/python",
    ".env",
)


def sent(name: str) -> bool:
    """Whether the builder gets a file: the last pattern of .dockerignore that the path or a folder of it matches decides."""
    parts = Path(name).parts
    paths = ["/".join(parts[: i + 1]) for i in range(len(parts))]
    ignored = False
    for line in IGNORE.splitlines():
        if line and not line.startswith("#"):
            pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
            if any(re.fullmatch(pattern, path) for path in paths):
                ignored = not line.startswith("!")
    return not ignored


def copied() -> list[Path]:
    """The files of this checkout that the Dockerfile copies, without what it only installs from."""
    sources = [word for line in re.findall(r"^COPY (.+)", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]]
    found = []
    for source in sources:
        path = ROOT / source
        assert path.exists(), source
        found += [one for one in ([path] if path.is_file() else path.rglob("*")) if one.is_file()]
    names = [one.relative_to(ROOT) for one in found]
    return [name for name in names if sent(name.as_posix()) and name.suffix != ".lock"]


def imported(module: Path) -> set[str]:
    """The first-party modules that a file imports anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if name.partition(".")[0] in FIRST_PARTY}


def needed() -> set[Path]:
    """The files of run.py and of all that it imports, directly or not."""
    left, found = [Path("run.py")], set[Path]()
    while left:
        file = left.pop()
        if file not in found:
            found.add(file)
            places = [Path(*name.split(".")) for name in imported(ROOT / file)]
            there = [one for place in places for one in (place.with_suffix(".py"), place / "__init__.py")]
            left += [one for one in (*there, file.parent / "__init__.py") if (ROOT / one).is_file()]
    return found


def test_all_that_run_needs_is_copied() -> None:
    assert len(needed()) > 50
    assert needed() <= {*copied()}


def test_nothing_else_is_copied_but_the_licence_and_the_commands_of_the_same_packages() -> None:
    further = {*copied()} - needed()
    assert Path("LICENSE") in further
    assert {file.parts[0] for file in further} == {"LICENSE", "retrieval"}
    assert all(file.suffix == ".py" for file in copied() if file != Path("LICENSE"))


@pytest.mark.parametrize("name", SECRET)
def test_data_labels_tests_and_history_never_reach_the_builder(name: str) -> None:
    assert not sent(name)


def test_caches_are_left_out_and_lock_files_sent() -> None:
    assert not sent("retrieval/__pycache__/files.cpython-311.pyc")
    assert all(
        map(sent, ("run.py", "retrieval/files.py", "requirements.lock", "requirements-cpu.lock", "requirements-cuda.lock"))
    )


def test_what_is_copied_answers_from_another_folder(tmp_path: Path) -> None:
    """As in the image: the program in one folder, the working folder another."""
    app, data = tmp_path / "app", tmp_path / "data"
    for file in copied():
        (app / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, app / file)
    data.mkdir()
    write(data / "train.jsonl", GOOD)
    write(data / "val.jsonl", {"id": "v", "ticket": "guest seats?"})
    command = [sys.executable, app / "run.py", *arguments(Path(), encoder="all-MiniLM-L6-v2")]
    done = subprocess.run(command, cwd=data, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    check_result(data / "results.json", ["v"], {"billing.seat"})


def test_the_base_is_pinned_the_user_has_no_privileges_and_the_entry_point_is_the_command() -> None:
    assert re.search(r"^ARG BASE=python:3\.11\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    last = DOCKERFILE.rpartition("\nUSER ")[2]
    assert int(last.split()[0]) > 0
    assert 'ENTRYPOINT ["python", "/app/run.py"]' in last
