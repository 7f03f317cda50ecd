"""What surrounds the program: one version, the changelog, the licence, the checks before a commit."""

import hashlib
import re
import tomllib

import yaml

from retrieval import __version__
from tests.test_run import ROOT

APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"  # SHA-256 of the text as its authors publish it


def test_the_version_stands_in_one_place_and_begins_the_changelog() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "retrieval.__version__"}
    releases = re.findall(r"^## \[([\d.]+)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert releases[0] == __version__
    assert releases == sorted(releases, reverse=True)


def test_the_changelog_uses_the_sections_of_its_format() -> None:
    sections = re.findall(r"^### (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert {*sections} <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_licence_is_the_standard_text() -> None:
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2


def test_a_commit_is_checked_as_ci_does_with_the_tools_of_the_environment() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = repository["hooks"]
    checks = [
        line
        for line in (ROOT / ".ci" / "run").read_text().splitlines()
        if line.startswith((".venv/bin/ruff", ".venv/bin/mypy"))
    ]
    assert repository["repo"] == "local"
    assert [hook["entry"] for hook in hooks] == checks
    assert all(hook["language"] == "system" and not hook["pass_filenames"] for hook in hooks)
