"""The task's rules for the zip itself, checked member by member before anything is unpacked.

`archive_problems` reads the zip's directory alone. Only where it finds nothing may the members be read (`read_members`) or the
zip be unpacked: their number, sizes and places are known to be harmless then.
"""

import re
import stat
import unicodedata
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from retrieval.tickets import InputProblems, printable

MAX_ZIP = 20_000_000  # bytes: the smaller reading of 20 MB
MAX_MEMBER, MAX_UNPACKED = 100_000_000, 200_000_000  # bytes, our own: what a few megabytes of program hold at most
MAX_MEMBERS = 10_000
MAX_RATIO, RATIO_FROM = 100, 1_000_000  # of unpacked to packed bytes, for members from that size on; text reaches 10
MAX_PART = 255  # bytes of a file's name, on most file systems
REQUIRED = ("run.py", "README.md")
ENCRYPTED = 0x1 | 0x40 | 0x2000  # flags: encrypted, strongly encrypted, encrypted directory

# What zipfile raises over a broken one; OSError where a member should begin before the file does.
BROKEN = (BadZipFile, zlib.error, EOFError, NotImplementedError, OverflowError, ValueError, OSError)


def open_archive(path: Path) -> ZipFile:
    """The zip, to be read.

    Raises:
        InputProblems: there is none, or it is broken.
    """
    try:
        return ZipFile(path)
    except OSError as error:
        raise InputProblems([f"{path}: cannot be read ({error.strerror or error}), expected a zip"]) from error
    except BROKEN as error:
        raise InputProblems([f"{path}: found no zip, or a broken one ({printable(str(error))}), expected a zip"]) from error


def archive_problems(archive: ZipFile) -> list[str]:
    """What is wrong with the zip by what its directory says, a sentence each without the zip's name."""
    members = archive.infolist()
    each = [problem for member in members for problem in (_name(member), _kind(member), _size(member)) if problem]
    return [*_totals(archive, members), *each, *_clashes(members), *_layout(members)]


def is_folder(member: ZipInfo) -> bool:
    """What `ZipInfo.is_dir` says, for an empty name, too."""
    return member.filename.endswith("/")


def program_folder(members: Sequence[ZipInfo]) -> str | None:
    """Where run.py stands: "" for the root, or the one top-level folder as "NAME/"; None if at neither place."""
    files = {member.filename for member in members if not is_folder(member)}
    if "run.py" in files:
        return ""
    tops = {member.filename.partition("/")[0] for member in members}
    return next((f"{top}/" for top in tops if len(tops) == 1 and f"{top}/run.py" in files), None)


def read_members(archive: ZipFile, problems: list[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file; a sentence for each that is broken is added to `problems`."""
    for member in archive.infolist():
        if is_folder(member):
            continue
        try:
            yield member.filename, archive.read(member)
        except BROKEN as error:
            problems.append(f"found {member.filename} broken ({printable(str(error))}), expected a file that can be unpacked")


def _totals(archive: ZipFile, members: Sequence[ZipInfo]) -> list[str]:
    packed, unpacked = Path(str(archive.filename)).stat().st_size, sum(member.file_size for member in members)
    limits = (
        (packed, MAX_ZIP, "bytes"),
        (unpacked, MAX_UNPACKED, "bytes when it is unpacked"),
        (len(members), MAX_MEMBERS, "files and folders in it"),
    )
    return [f"found {found:,} {what}, expected {limit:,} at most" for found, limit, what in limits if found > limit]


def _name(member: ZipInfo) -> str:
    """The first thing that is wrong with a member's place."""
    name = member.orig_filename  # as it stands there; `filename` ends at a NUL
    parts = name.removesuffix("/").split("/")
    wrong = (
        (not name.isprintable(), "with a control character"),
        ("\\" in name, "with a backslash"),
        (name.startswith("/") or bool(re.match("[A-Za-z]:", name)), "with an absolute path"),
        (".." in parts, "that leads out of its folder"),
        ("" in parts or "." in parts, "with an empty part or a dot as a part"),
        (any(len(part.encode(errors="replace")) > MAX_PART for part in parts), "with a part too long to be a file's name"),
        (any(part.startswith(".") for part in parts), "that is hidden, or in a hidden folder"),
    )
    found = next((what for is_wrong, what in wrong if is_wrong), "")
    return f"found the name {printable(name)[:200]} {found}, expected a plain relative path" if found else ""


def _kind(member: ZipInfo) -> str:
    """What is wrong with a member besides its name and size."""
    kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the zip was made elsewhere than on Unix
    name = printable(member.filename)
    if member.flag_bits & ENCRYPTED:
        return f"found {name} encrypted, expected plain files"
    if kind == stat.S_IFLNK:
        return f"found the link {name}, expected files and folders alone"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return f"found the device or pipe {name}, expected files and folders alone"
    if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        return f"found {name} compressed by method {member.compress_type}, expected stored or deflated files"
    return ""


def _size(member: ZipInfo) -> str:
    name = printable(member.filename)
    if member.file_size > MAX_MEMBER:
        return f"found {name} with {member.file_size:,} bytes, expected {MAX_MEMBER:,} at most in a file"
    if member.file_size >= RATIO_FROM and member.file_size > MAX_RATIO * member.compress_size:
        packed = f"{member.file_size:,} bytes packed into {member.compress_size:,}"
        return f"found {name} with {packed}, expected {MAX_RATIO} times fewer at most, as in no zip bomb"
    return ""


def _clashes(members: Sequence[ZipInfo]) -> list[str]:
    """Names that would meet in one place when they are unpacked, on any file system."""
    names = [member.filename.removesuffix("/") for member in members]
    repeated = [name for name, count in Counter(names).items() if count > 1]
    spellings: dict[str, set[str]] = defaultdict(set)
    for path in {part for name in names for part in (name, *_parents(name))}:
        spellings[unicodedata.normalize("NFC", path).casefold()].add(path)
    alike = sorted(sorted(paths) for paths in spellings.values() if len(paths) > 1)
    files = {member.filename for member in members if not is_folder(member)}
    both = sorted(files & {parent for name in names for parent in _parents(name)})
    return [
        *(f"found {printable(name)} more than once, expected every name once" for name in repeated),
        *(f"found {printable(' and '.join(paths))}, which differ in case alone, expected one of them" for paths in alike),
        *(f"found {printable(name)} as a file and as the folder of others, expected one of them" for name in both),
    ]


def _parents(name: str) -> list[str]:
    """The folders of a path."""
    return [str(parent) for parent in PurePosixPath(name).parents if str(parent) not in (".", "/")]


def _layout(members: Sequence[ZipInfo]) -> list[str]:
    folder = program_folder(members)
    if folder is None:
        return ["found no run.py at the root, nor in a folder that is alone there, expected it, and README.md beside it"]
    files = {member.filename for member in members if not is_folder(member)}
    missing = [name for name in REQUIRED if f"{folder}{name}" not in files]
    return [f"found no {folder}{name}, expected it beside {folder}run.py" for name in missing]
