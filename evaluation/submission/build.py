"""python -m evaluation.submission.build: makes the zip that is handed in, with what run.py needs and nothing else.

    python -m evaluation.submission.build --output dist/repo.zip [--default base-model=qwen2.5-coder-1.5b ...]

What goes in is what git tracks of `CONTENTS`. The same files give the same bytes, on any machine: names are sorted, times and
permissions fixed, and nothing is compressed, for two versions of zlib pack one file differently. The task starts run.py with
four flags; a choice beyond them goes into the zip's own defaults.toml, the working tree stays as it is.
"""

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from evaluation.command import new_parser, run_command
from evaluation.submission.check import Submission, checked_submission
from evaluation.submission.hidden_labels import read_hidden
from evaluation.submission.own_defaults import defaults_text
from retrieval.defaults_file import FILE
from retrieval.tickets import InputProblems

ROOT = Path(__file__).parents[2]
CONTENTS = ("run.py", "README.md", "requirements.txt", FILE, "retrieval", "finetune")
SAMPLE_TRAIN, SAMPLE_VAL, SAMPLE_LABELS = (ROOT / "data" / f"{name}.jsonl" for name in ("train", "val", "val_labels"))
TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip can name
PERMISSIONS = 0o100644  # a plain file that everybody may read


def main(arguments: Sequence[str] | None = None) -> int:
    """Builds the zip and checks it."""
    parser = new_parser("evaluation.submission.build", __doc__)
    parser.add_argument("--output", type=Path, default=Path("dist/repo.zip"), metavar="FILE", help="default: dist/repo.zip")
    default_help = f"an option of run.py for the zip's {FILE}, without its dashes; may be repeated"
    parser.add_argument("--default", action="append", default=[], type=_pair, metavar="OPTION=VALUE", help=default_help)
    options = parser.parse_args(arguments)
    return run_command(lambda: _build(options.output, dict(options.default)))


def _build(output: Path, defaults: Mapping[str, str]) -> int:
    submission = build(ROOT, output, defaults)
    print(f"{output}: {len(submission.sizes)} files, {output.stat().st_size:,} bytes", file=sys.stderr)
    return 0


def build(root: Path, output: Path, defaults: Mapping[str, str]) -> Submission:
    """Writes the zip of the program in `root`, with these options in its defaults.toml; it keeps to the rules.

    Raises:
        InputProblems: an option is not one of run.py, git does not say what belongs to the program, or the zip breaks a rule.
    """
    problems: list[str] = []
    hidden = read_hidden(SAMPLE_TRAIN, SAMPLE_VAL, SAMPLE_LABELS, problems)
    files = {name: (root / name).read_bytes() for name in tracked(root)}
    if text := defaults_text(root / FILE if FILE in files else None, defaults, problems):
        files[FILE] = text.encode()
    if problems:
        raise InputProblems(problems)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_zip(files, output)
    try:
        return checked_submission(output, hidden)
    except InputProblems:
        output.unlink()  # nobody should hand it in
        raise


def tracked(root: Path) -> list[str]:
    """The paths that git tracks of the program, relative to its root.

    Raises:
        InputProblems: there is no git, or no repository.
    """
    command = ["git", "-C", str(root), "ls-files", "-z", "--", *CONTENTS]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    except FileNotFoundError as error:
        raise InputProblems(["found no git, expected it, to ask what belongs to the program"]) from error
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.split())
        raise InputProblems(
            [f"{root}: git does not say what belongs to the program ({said}), expected a repository"]
        ) from error
    return sorted(filter(None, found))


def write_zip(files: Mapping[str, bytes], output: Path) -> None:
    """Writes the files in the order of their names."""
    with ZipFile(output, "w", ZIP_STORED) as archive:
        for name in sorted(files):
            member = ZipInfo(name, TIME)
            member.create_system, member.external_attr = 3, PERMISSIONS << 16  # 3: Unix, on every machine
            archive.writestr(member, files[name])


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"found {text}, expected OPTION=VALUE, as base-model=none")
    return name, value


if __name__ == "__main__":
    sys.exit(main())
