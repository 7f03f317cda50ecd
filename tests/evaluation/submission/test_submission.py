"""The whole command on made zips: the program in them is a few lines that do what run.py promises."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.submission.__main__ import main
from evaluation.submission.sandbox import SANDBOXES
from tests.evaluation.samples import use_hash_encoder
from tests.evaluation.submission.zips import make, member, program, sample
from tests.test_run import ROOT


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    use_hash_encoder(monkeypatch, "evaluation.submission.__main__")
    return ["--python", sys.executable, *sample(tmp_path)]


def test_a_good_zip_is_listed_run_in_three_sandboxes_and_scored(
    tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path / "repo.zip", program())
    assert main([str(path), *options]) == 0
    said = capsys.readouterr().out
    assert "README.md" in said
    assert f"{path}: 2 files, {path.stat().st_size:,} bytes, " in said
    assert "found no broken rule" in said
    lines = {words[0]: words for words in map(str.split, said.splitlines()) if words and words[0] in SANDBOXES}
    assert list(lines) == ["registry", "nothing", "warm"]
    assert {"all-mpnet-base-v2", "(wheels)", "tiny", "yes"} <= set(lines["registry"])
    assert {"all-MiniLM-L6-v2", "(package)", "none", "no"} <= set(lines["nothing"])
    assert {"all-mpnet-base-v2", "(cache)", "tiny", "yes"} <= set(lines["warm"]), "the cache that the first run filled"
    assert all(line[-1] == "yes" and float(line[-2]) > 0.5 for line in lines.values()), "scored and proven"
    assert "sandbox registry had a package index and an empty cache\n" in said
    assert "sandbox nothing warns: retrieval alone: nothing can be had" in said
    assert said.rstrip().endswith("every sandbox is proven")


def test_a_run_without_an_adapter_is_a_failure_with_status_1(
    tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path / "repo.zip", program("adapter = False"))
    assert main([str(path), *options, "--sandbox", "registry", "nothing"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("sandbox registry: found no adapter in the weights folder")


def test_the_warm_sandbox_alone_has_the_caller_s_cache(
    tmp_path: Path, options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    path = make(tmp_path / "repo.zip", program())
    assert main([str(path), *options, "--sandbox", "warm"]) == 1, "it is empty"
    assert "found the encoder all-MiniLM-L6-v2, expected all-mpnet-base-v2" in capsys.readouterr().err
    (tmp_path / "mine" / "models").touch()
    assert main([str(path), *options, "--sandbox", "warm"]) == 0


def test_without_labels_nothing_is_scored(tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path / "repo.zip", program())
    assert main([str(path), *options[:-2], "--sandbox", "nothing"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("nothing")]
    assert line.split()[-2:] == ["no", "yes"], "adapter, proven"


def test_all_problems_of_zip_and_options_come_at_once_with_status_2_and_nothing_runs(
    tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    ran = tmp_path / "ran"
    path = make(
        tmp_path / "repo.zip", program(f"Path({str(ran)!r}).touch()"), (member("../out.py"), b""), (member(".env"), b"")
    )
    (tmp_path / "val.jsonl").write_text('{"id": "other", "ticket": "x"}\n{"id": 3}\n')
    assert main([str(path), *options, "--python", str(tmp_path / "no-python")]) == 2
    said = capsys.readouterr().err
    assert [
        piece for piece in ("../out.py", ".env", "val.jsonl:2:", "--python", "found labels of v") if piece not in said
    ] == []
    assert "Traceback" not in said
    assert not ran.exists()


def test_the_label_file_itself_is_refused_in_the_zip(
    tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    files = program() | {"data/x.jsonl": (tmp_path / "labels.jsonl").read_text()}
    assert main([str(make(tmp_path / "repo.zip", files)), *options]) == 2
    assert 'repo.zip: found ideal_reply, intent of the val row "v" in data/x.jsonl' in capsys.readouterr().err


def test_the_rules_alone_run_nothing_and_need_no_large_library(tmp_path: Path) -> None:
    path = make(tmp_path / "repo.zip", program())
    words = [str(path), "--rules-only", *sample(tmp_path)]
    code = f"import sys; from evaluation.submission.__main__ import main; main({words!r}); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "found no broken rule" in done.stdout) == (0, True), done.stderr
    assert "sandbox" not in done.stdout + done.stderr


def test_requirements_that_cannot_be_installed_end_it_with_status_1(
    tmp_path: Path, options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    path = make(tmp_path / "repo.zip", program() | {"requirements.txt": "no-such-package==1\n"})
    assert main([str(path), *options[2:], "--sandbox", "nothing"]) == 1
    assert f"{path}: requirements.txt: cannot be installed (ERROR: " in capsys.readouterr().err
