import os
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

from evaluation.submission import build as module
from evaluation.submission.build import build, main
from retrieval.defaults_file import FILE
from retrieval.tickets import InputProblems
from tests.test_run import ROOT

PROGRAM = ("run.py", "README.md", "requirements.txt", "retrieval/a.py", "retrieval/b.py", "finetune/c.py")
TRACKED = (*PROGRAM, "data/val_labels.jsonl")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A program under git, with files that no submission holds."""
    root = tmp_path / "repository"
    more = ("tests/t.py", "evaluation/e.py", "retrieval/__pycache__/a.pyc", "retrieval/scratch.py", "out/adapter.safetensors")
    for name in (*TRACKED, *more):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    for words in (["init", "-q"], ["add", *TRACKED, "tests", "evaluation"]):
        subprocess.run(["git", "-C", str(root), *words], check=True)
    return root


def defaults_in(path: Path) -> dict[str, object]:
    with ZipFile(path) as archive:
        return tomllib.loads(archive.read(FILE).decode())


def test_the_program_that_git_tracks_goes_in_and_nothing_else(repository: Path, tmp_path: Path) -> None:
    found = build(repository, tmp_path / "dist" / "repo.zip", {})
    assert list(found.sizes) == sorted(PROGRAM)


def test_the_same_files_give_the_same_bytes_whatever_their_times_and_permissions(repository: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "1.zip", tmp_path / "2.zip"
    build(repository, first, {"seed": "3", "base-model": "none"})
    os.utime(repository / "run.py", (1e9, 1e9))
    (repository / "run.py").chmod(0o700)
    build(repository, second, {"base-model": "none", "seed": "3"})
    assert first.read_bytes() == second.read_bytes()
    with ZipFile(first) as archive:
        members = archive.infolist()
    assert {member.date_time for member in members} == {(1980, 1, 1, 0, 0, 0)}
    assert {member.external_attr >> 16 for member in members} == {0o100644}
    assert [member.filename for member in members] == sorted(member.filename for member in members)


def test_this_program_s_own_zip_holds_its_modules_and_no_data_and_starts(tmp_path: Path) -> None:
    found = build(ROOT, tmp_path / "repo.zip", {})
    modules = {f"{folder}/{path.name}" for folder in ("retrieval", "finetune") for path in (ROOT / folder).glob("*.py")}
    assert modules <= set(found.sizes)
    assert {name.partition("/")[0] for name in found.sizes} <= set(module.CONTENTS)
    assert not [name for name in found.sizes if not name.endswith((".py", ".md", ".txt", ".toml"))]
    program = found.unpack(tmp_path / "unpacked")
    done = subprocess.run([sys.executable, "-I", "run.py"], cwd=program, capture_output=True, text=True, check=False)
    assert "No module named" in done.stderr, "an isolated Python does not see the folder: the modules come from nowhere else"
    done = subprocess.run([sys.executable, "run.py"], cwd=program, capture_output=True, text=True, check=False)
    assert (done.returncode, "the following arguments are required: --val" in done.stderr) == (2, True)


def test_defaults_go_into_the_zip_over_the_tracked_ones_and_not_into_the_working_tree(repository: Path, tmp_path: Path) -> None:
    (repository / FILE).write_text('seed = 1\nencoder = "all-MiniLM-L6-v2"\n')
    untracked = build(repository, tmp_path / "untracked.zip", {})
    assert FILE not in untracked.sizes
    subprocess.run(["git", "-C", str(repository), "add", FILE], check=True)
    build(repository, tmp_path / "repo.zip", {"base-model": "smollm2-135m", "seed": "7", "quiet": "true"})
    expected = {"base-model": "smollm2-135m", "encoder": "all-MiniLM-L6-v2", "quiet": True, "seed": 7}
    assert defaults_in(tmp_path / "repo.zip") == expected
    assert (repository / FILE).read_text() == 'seed = 1\nencoder = "all-MiniLM-L6-v2"\n'


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("base-modle", "none", "--default: base-modle: found no such option, expected one of base-model, "),
        ("seed", "x", "--default: seed: found x, expected a whole number"),
        ("seed", '"3"', '--default: seed: found the string "3", expected a number'),
        ("base-model", "7", "--default: base-model: found the number 7, expected a string"),
        ("base-model", "no such base", "--default: base-model no such base: found no such path, and it is no hub id"),
        ("encoder", "nope", "--default: encoder nope: found no such folder"),
        ("base-model", "./base", "--default: base-model: found the path ./base, expected a name: the zip has no other files"),
        ("base-model", "/models/base", "--default: base-model: found the path /models/base, expected a name"),
        ("train", "train.jsonl", "--default: train: found the path train.jsonl, expected a name"),
    ],
)
def test_a_default_that_run_py_would_refuse_is_refused_when_the_zip_is_made(
    repository: Path, tmp_path: Path, name: str, value: str, said: str
) -> None:
    with pytest.raises(InputProblems) as refused:
        build(repository, tmp_path / "repo.zip", {name: value})
    (problem,) = refused.value.problems
    assert problem.startswith(said)
    assert not (tmp_path / "repo.zip").exists()


def test_a_folder_that_lies_where_make_is_called_is_no_base_of_a_submission(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    with pytest.raises(InputProblems, match="--default: base-model: found the path out, expected a name"):
        build(repository, tmp_path / "repo.zip", {"base-model": "out"})


def test_a_tracked_file_that_is_wrong_is_named_with_the_options_that_are(repository: Path, tmp_path: Path) -> None:
    (repository / FILE).write_text("colour = 1\n")
    subprocess.run(["git", "-C", str(repository), "add", FILE], check=True)
    with pytest.raises(InputProblems) as refused:
        build(repository, tmp_path / "repo.zip", {"seed": "x"})
    in_file, given = refused.value.problems
    assert in_file.startswith(f"{repository / FILE}: colour: found no such option")
    assert given.startswith("--default: seed: ")


def test_a_zip_that_breaks_a_rule_is_not_left_behind(repository: Path, tmp_path: Path) -> None:
    (repository / "retrieval/b.py").write_text((ROOT / "data/val_labels.jsonl").read_text(encoding="utf-8"))
    with pytest.raises(InputProblems, match="of the val row"):
        build(repository, tmp_path / "repo.zip", {})
    assert not (tmp_path / "repo.zip").exists()


def test_no_repository_and_no_git_are_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(InputProblems, match=r"git does not say what belongs to the program .*, expected a repository"):
        build(tmp_path / "plain", tmp_path / "repo.zip", {})
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputProblems, match="found no git, expected it"):
        build(tmp_path / "plain", tmp_path / "repo.zip", {})


def test_the_command_says_what_it_made_and_refuses_half_an_option(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "ROOT", repository)
    assert main(["--output", str(tmp_path / "repo.zip"), "--default", "base-model=none"]) == 0
    assert capsys.readouterr().err.startswith(f"{tmp_path / 'repo.zip'}: 7 files, ")
    with pytest.raises(SystemExit):
        main(["--default", "base-model"])
    assert "found base-model, expected OPTION=VALUE" in capsys.readouterr().err


def test_make_passes_base_and_remote_on() -> None:
    def shown(*words: str) -> str:
        command = ["make", "--dry-run", "submission", *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert "--default" not in shown()
    said = shown("BASE=ORG/NAME", "REMOTE=some-model")
    assert '--default "base-model=ORG/NAME" --default "remote-model=some-model"' in said
