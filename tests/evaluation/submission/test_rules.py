import re
import stat
from contextlib import suppress
from pathlib import Path
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED

import pytest

from evaluation.submission import rules
from evaluation.submission.check import checked_submission
from evaluation.submission.hidden_labels import Hidden
from retrieval.tickets import InputProblems
from tests.evaluation.submission.zips import GOOD_FILES, make, member, patched

NOTHING = Hidden(frozenset(), frozenset())
ENTRY, LOCAL = b"PK\x01\x02", b"PK\x03\x04"  # of the directory; before a member's content


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made.zip"


def problems_of(path: Path) -> list[str]:
    with pytest.raises(InputProblems) as refused:
        checked_submission(path, NOTHING)
    assert all(problem.startswith(f"{path}: ") for problem in refused.value.problems)
    return [problem.removeprefix(f"{path}: ") for problem in refused.value.problems]


@pytest.mark.parametrize("folder", ["", "repo/"])
def test_a_program_at_the_root_or_in_one_folder_is_accepted_and_unpacks_there(path: Path, tmp_path: Path, folder: str) -> None:
    files = {f"{folder}{name}": text for name, text in GOOD_FILES.items()} | {f"{folder}retrieval/label_names.py": ""}
    found = checked_submission(make(path, files, (member(f"{folder}retrieval/", mode=0o40755), b"")), NOTHING)
    assert (found.folder, list(found.sizes)) == (folder, list(files))
    assert (found.unpack(tmp_path / "there") / "run.py").read_text() == GOOD_FILES["run.py"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../evil.py", "that leads out of its folder"),
        ("a/../../evil.py", "that leads out of its folder"),
        ("/etc/evil", "with an absolute path"),
        ("C:/evil.py", "with an absolute path"),
        ("..\\evil.py", "with a backslash"),
        ("a\\b.py", "with a backslash"),
        ("x.py\0.txt", "with a control character"),
        ("a\x1b[2J.py", "with a control character"),
        ("a//b.py", "with an empty part or a dot as a part"),
        ("./b.py", "with an empty part or a dot as a part"),
        (f"{'x' * 256}.py", "with a part too long to be a file's name"),
        (".git/config", "that is hidden, or in a hidden folder"),
        ("a/.env", "that is hidden, or in a hidden folder"),
    ],
)
def test_a_name_that_is_no_plain_relative_path_is_refused(path: Path, name: str, said: str) -> None:
    make(path, GOOD_FILES, (member(name), b"x"))
    (problem,) = problems_of(path)
    assert re.fullmatch(rf"found the name .* {said}, expected a plain relative path", problem)
    assert problem.isprintable()


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (stat.S_IFLNK | 0o777, "found the link x, expected files and folders alone"),
        (stat.S_IFIFO | 0o644, "found the device or pipe x, expected files and folders alone"),
        (stat.S_IFCHR | 0o644, "found the device or pipe x, expected files and folders alone"),
    ],
)
def test_links_and_devices_are_refused(path: Path, mode: int, said: str) -> None:
    make(path, GOOD_FILES, (member("x", mode=mode), b"/etc/passwd"))
    assert problems_of(path) == [said]


@pytest.mark.parametrize("flag", [b"\x01\x00", b"\x41\x00", b"\x00\x20"])
def test_an_encrypted_member_is_refused(path: Path, flag: bytes) -> None:
    make(path, GOOD_FILES, (member("secret.py"), b"x"))
    patched(path, ENTRY, 8, flag)
    assert problems_of(path) == ["found secret.py encrypted, expected plain files"]


@pytest.mark.parametrize("method", [ZIP_BZIP2, ZIP_LZMA])
def test_an_unusual_compression_is_refused(path: Path, method: int) -> None:
    make(path, GOOD_FILES, (member("x.py", method=method), b"x"))
    assert problems_of(path) == [f"found x.py compressed by method {method}, expected stored or deflated files"]


def test_a_member_that_swells_like_a_bomb_is_refused_and_ordinary_text_is_not(path: Path) -> None:
    make(path, GOOD_FILES, (member("zeros", method=ZIP_DEFLATED), bytes(2_000_000)))
    (problem,) = problems_of(path)
    assert problem.startswith("found zeros with 2,000,000 bytes packed into 1,")
    text = "".join(f"line {number}\n" for number in range(150_000)).encode()
    checked_submission(make(path, GOOD_FILES, (member("text", method=ZIP_DEFLATED), text)), NOTHING)


@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [
        ("MAX_ZIP", 1000, "bytes, expected 1,000 at most"),
        ("MAX_UNPACKED", 1000, "bytes when it is unpacked, expected 1,000 at most"),
        ("MAX_MEMBERS", 1, "found 2 files and folders in it, expected 1 at most"),
        ("MAX_MEMBER", 1000, "bytes, expected 1,000 at most in a file"),
    ],
)
def test_what_is_larger_than_a_limit_is_refused(
    path: Path, limit: str, value: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(path, GOOD_FILES)
    checked_submission(path, NOTHING)
    monkeypatch.setattr(rules, limit, value)
    (problem,) = problems_of(path)
    assert problem.endswith(said)


def test_the_limit_of_a_zip_is_20_megabytes(path: Path) -> None:
    make(path, GOOD_FILES, (member("data.bin", method=ZIP_STORED), bytes(20_000_000)))
    (problem,) = problems_of(path)
    assert problem.endswith("bytes, expected 20,000,000 at most")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a.py", "a.py"], "found a.py more than once, expected every name once"),
        (["a/b.py", "a", "c.py"], "found a as a file and as the folder of others, expected one of them"),
        (["a.py", "A.py"], "found A.py and a.py, which differ in case alone, expected one of them"),
        (["a/b.py", "A/c.py"], "found A and a, which differ in case alone, expected one of them"),
        (["\u00e9.py", "e\u0301.py"], "found e\u0301.py and \u00e9.py, which differ in case alone, expected one of them"),
    ],
)
def test_names_that_meet_in_one_place_are_refused(path: Path, names: list[str], said: str) -> None:
    make(path, GOOD_FILES, *((member(name), b"x") for name in names))
    assert problems_of(path) == [said]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["README.md"], "found no run.py at the root, nor in a folder that is alone there"),
        (["run.py"], "found no README.md, expected it beside run.py"),
        (["repo/run.py"], "found no repo/README.md, expected it beside repo/run.py"),
        (["run.py", "readme.md"], "found no README.md, expected it beside run.py"),
        (["a/b/run.py", "a/b/README.md"], "found no run.py at the root, nor in a folder that is alone there"),
        (["a/run.py", "a/README.md", "notes.txt"], "found no run.py at the root, nor in a folder that is alone there"),
        (["a/run.py", "b/README.md"], "found no run.py at the root, nor in a folder that is alone there"),
        (["run.py/x", "README.md"], "found no run.py at the root, nor in a folder that is alone there"),
        ([], "found no run.py at the root, nor in a folder that is alone there"),
    ],
)
def test_run_py_and_the_readme_must_stand_where_the_task_looks_for_them(path: Path, names: list[str], said: str) -> None:
    make(path, dict.fromkeys(names, "x"))
    (problem,) = problems_of(path)
    assert problem.startswith(said)


def test_what_is_no_zip_is_one_sentence(path: Path, tmp_path: Path) -> None:
    assert problems_of(path)[0].startswith("cannot be read (No such file")
    assert problems_of(tmp_path)[0].startswith("cannot be read (Is a directory")
    path.write_text("no zip")
    assert problems_of(path) == ["found no zip, or a broken one (File is not a zip file), expected a zip"]
    whole = make(path, GOOD_FILES).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert problems_of(path)[0].startswith("found no zip, or a broken one (")


def test_a_name_that_claims_to_be_utf_8_and_is_not_is_a_broken_zip(path: Path) -> None:
    make(path, GOOD_FILES, (member("\u00e9.py"), b"x"))
    patched(path, ENTRY, 46, b"\xff\xff")
    assert problems_of(path)[0].startswith("found no zip, or a broken one ('utf-8' codec can't decode")


def test_content_that_does_not_fit_its_checksum_is_refused(path: Path) -> None:
    make(path, GOOD_FILES, (member("x.py"), b"abc"))
    patched(path, LOCAL, 30 + len("x.py"), b"z")
    (problem,) = problems_of(path)
    assert problem.startswith("found x.py broken (Bad CRC-32")


def test_a_member_that_claims_to_be_smaller_than_it_is_is_refused(path: Path) -> None:
    make(path, GOOD_FILES, (member("x.py", method=ZIP_DEFLATED), bytes(5000)))
    patched(path, ENTRY, 24, (10).to_bytes(4, "little"))
    assert problems_of(path)[0].startswith("found x.py broken (")


def test_all_broken_rules_are_told_at_once(path: Path) -> None:
    link = member("link", mode=stat.S_IFLNK | 0o777)
    make(path, {"README.md": "x", "readme.md": "y", ".env": "z"}, (member("../out"), b"x"), (link, b"/"))
    said = problems_of(path)
    assert len(said) == 5
    for piece in ("../out that leads", ".env that is hidden", "the link link", "README.md and readme.md", "no run.py"):
        assert any(piece in problem for problem in said), piece


def test_no_byte_of_a_zip_can_be_changed_so_that_the_check_ends_in_a_traceback(path: Path) -> None:
    whole = make(path, {"run.py": "pass", "README.md": "x"}, (member("a/b.txt", method=ZIP_DEFLATED), b"abc" * 9)).read_bytes()
    for at in range(len(whole)):
        for value in (0, 0xFF, whole[at] ^ 0x10):
            path.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
            with suppress(InputProblems):
                checked_submission(path, NOTHING)
