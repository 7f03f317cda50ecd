from pathlib import Path

import pytest

from finetune.base_selection import QWEN_1_5B, QWEN_7B, SMALL, BaseCandidate, base_problems, candidates
from retrieval.known_models import known_names
from tests.fakes import save_base

FULL, QUANTISED = (QWEN_7B[0], "bf16"), (QWEN_7B[0], "nf4")
REST = [(QWEN_1_5B[0], "bf16"), ("qwen2.5-coder-1.5b", "bf16"), ("smollm2-135m", None)]


@pytest.mark.parametrize(
    ("free_gib", "expected"),
    [
        (None, REST[2:]),
        (7.9, REST),
        (8.0, [QUANTISED, *REST]),
        (21.9, [QUANTISED, *REST]),
        (22.0, [FULL, QUANTISED, *REST]),
    ],
)
def test_free_memory_decides_which_candidate_is_first(free_gib: float | None, expected: list[tuple[str, str | None]]) -> None:
    assert [(candidate.source, candidate.precision) for candidate in candidates("auto", free_gib)] == expected


def test_a_cpu_that_is_fast_enough_gets_the_larger_known_base_first() -> None:
    found = candidates("auto", None, fast_cpu=True)
    assert [(candidate.source, candidate.precision) for candidate in found] == REST[1:]
    assert candidates("auto", 40.0, fast_cpu=True) == candidates("auto", 40.0)


def test_hub_bases_are_pinned_to_a_commit() -> None:
    of_hubs = [candidate for candidate in candidates("auto", 80.0) if candidate.source not in known_names("base")]
    assert len(of_hubs) == 3
    assert all(len(candidate.revision or "") == 40 for candidate in of_hubs)


@pytest.mark.parametrize("free_gib", [None, 40.0])
def test_the_small_base_is_the_same_whether_it_is_named_or_not(free_gib: float | None) -> None:
    assert candidates("smollm2-135m", free_gib) == (SMALL,)
    assert candidates("auto", free_gib)[-1] == SMALL


def test_a_named_base_stays_the_base_and_on_a_gpu_may_be_quantised() -> None:
    assert candidates("a/b@main", None) == (BaseCandidate("a/b", "main", None),)
    assert candidates("a/b", 40.0) == (BaseCandidate("a/b", None, "bf16"), BaseCandidate("a/b", None, "nf4"))


def test_an_at_sign_in_a_folders_name_is_no_revision(tmp_path: Path) -> None:
    (tmp_path / "base@home").mkdir()
    assert candidates(str(tmp_path / "base@home"), None)[0].source == str(tmp_path / "base@home")


@pytest.mark.parametrize("choice", ["auto", "none", "org/name", "org/name@main", *known_names("base")])
def test_a_name_that_is_known_or_that_a_hub_may_have_is_no_problem(choice: str, tmp_path: Path) -> None:
    assert base_problems(choice, tmp_path / "weights") == []


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("missing", "no such path, and it is no hub id"),
        ("org/name@", "no such path, and it is no hub id"),
        ("missing.gguf", "no such file"),
        ("empty", "a folder without config.json"),
        ("words.gguf", "a file that does not start with GGUF"),
        ("words.bin", "a file that is not .gguf"),
    ],
)
def test_a_malformed_base_is_one_sentence(name: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for file in ("words.gguf", "words.bin"):
        (tmp_path / file).write_text("words")
    choice = name if "@" in name else str(tmp_path / name)
    assert base_problems(choice, tmp_path / "weights") == [
        f"--base-model {choice}: found {found}, expected auto, none, smollm2-135m, qwen2.5-coder-1.5b, ORG/NAME[@REVISION], "
        "a checkpoint folder or a .gguf file"
    ]


def test_a_base_in_the_folder_that_the_run_writes_into_is_refused(tmp_path: Path) -> None:
    folder = save_base(tmp_path / "base")
    assert base_problems(str(folder), tmp_path / "weights") == []
    (problem,) = base_problems(str(folder), folder)
    assert "files would be replaced" in problem
