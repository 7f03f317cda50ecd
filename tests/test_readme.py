"""Every command that the README and CONTRIBUTING show is run, on the files of the real run; the help text is the real one."""

import importlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real_run import RealRun
from tests.test_run import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COMMAND = re.compile(r"^ {4}((?:python|make|torchrun|pip|bash) [^\n#]*[^\n# ])", re.MULTILINE)
EVALUATION = ("--base-model", "none")  # what a language model does is tested elsewhere; here the command has to work


def commands(text: str) -> list[str]:
    return COMMAND.findall(text)


@pytest.mark.parametrize("command", [line for line in commands(README) if line.startswith("python")])
def test_every_python_command_of_the_readme_runs(
    command: str, real: RealRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`out/` is the weights folder of a finished run with its result, `data/` the sample, as after `make run`."""
    shutil.copytree(ROOT / "data", tmp_path / "data")
    shutil.copytree(real.folder / "weights", tmp_path / "out")
    shutil.copy(real.folder / "results.json", tmp_path / "out" / "results.json")
    shutil.copy(real.folder / "labels.jsonl", tmp_path / "data" / "val_labels.jsonl")
    shutil.copy(real.folder / "val.jsonl", tmp_path / "data" / "val.jsonl")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", (tmp_path / "data" / "README.md").open())  # ends a command that asks for tickets
    words = shlex.split(command)[1:]
    module = importlib.import_module("run" if words[0] == "run.py" else entry_point(words[1]))
    arguments = words[1:] if words[0] == "run.py" else words[2:]
    if words[0] == "run.py" or words[1] == "evaluation.ablation":
        arguments = [*arguments, *EVALUATION]
    assert module.main(arguments) == 0, capsys.readouterr().err


def entry_point(name: str) -> str:
    """`python -m NAME` runs a module, or the `__main__` of a package."""
    return f"{name}.__main__" if (ROOT / name.replace(".", "/")).is_dir() else name


@pytest.mark.parametrize("command", [line for line in (*commands(README), *commands(CONTRIBUTING)) if line.startswith("make")])
def test_every_make_command_has_a_target(command: str) -> None:
    shown = subprocess.run(
        ["make", "--dry-run", *shlex.split(command)[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr


def test_the_help_text_in_the_docs_is_the_programs_and_the_readme_names_every_option() -> None:
    shown = subprocess.run(
        [sys.executable, "run.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True, env={"COLUMNS": "100"}
    )
    assert shown.stdout.strip() in (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    options = set(re.findall(r"^  (--[\w-]+)", shown.stdout, re.MULTILINE)) - {"--remote-budget-usd"}
    assert {option for option in options if option not in README} == set()


def test_the_readme_is_short() -> None:
    assert README.count("\n") <= 200


def test_the_map_of_the_code_has_a_line_for_every_module_and_names_no_other() -> None:
    tree = (ROOT / "docs" / "code.md").read_text(encoding="utf-8")
    sections = dict(
        zip(
            ("retrieval", "finetune", "finetune/remote"),
            re.split(r"^## `finetune/|\(`finetune/remote/`\):", tree, flags=re.M),
            strict=True,
        )
    )
    for folder, section in sections.items():
        named = re.findall(r"^\| `(\w+\.py)`", section.partition("## `evaluation/")[0], re.MULTILINE)
        assert sorted(named) == sorted({path.name for path in (ROOT / folder).glob("*.py")} - {"__init__.py"}), folder


def test_the_layout_names_every_folder_of_the_code() -> None:
    layout = README.partition("## Layout")[2].partition("## ")[0]
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")} | {"data", "docs"}
    assert {name for name in folders if f"{name}/" not in layout} == set()


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README + CONTRIBUTING))))
def test_every_link_leads_to_a_file(link: str) -> None:
    assert (ROOT / link).exists()
