"""python -m evaluation.submission: checks a zip against the task's rules, then proves it by running it in three sandboxes.

    python -m evaluation.submission dist/repo.zip [--labels L] [--sandbox NAME ...] [--python PATH] [--rules-only]

Every broken rule is a sentence, all at once, with status 2. Where none is broken the zip is unpacked into empty folders and run
with four flags on the sample, once with a package index and an empty cache, once with nothing, once with the cache that the
first run filled (alone: with the caller's own cache) and no network. A run that did less than its sandbox lets it do is a
sentence, too, with status 1.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from evaluation.command import count, new_parser, print_table, read_or_note, run_command
from evaluation.score.grading import GRADING_ENCODER
from evaluation.score.labels import Label, read_labels
from evaluation.submission.build import SAMPLE_TRAIN, SAMPLE_VAL
from evaluation.submission.check import Submission, checked_submission
from evaluation.submission.hidden_labels import read_hidden
from evaluation.submission.proof import Proof, prove, score
from evaluation.submission.sandbox import SANDBOXES, Sandbox, Task, make_environment, run_in
from retrieval.console import say
from retrieval.encoder import load_encoder
from retrieval.runtime import configure
from retrieval.tickets import InputProblems, printable, read_val


@dataclass(frozen=True, slots=True)
class Given:
    """What was given besides the options."""

    submission: Submission
    ids: list[str]  # of the val rows, in their order
    labels: dict[str, Label]  # of them; empty without --labels


def main(arguments: Sequence[str] | None = None) -> int:
    """Checks, lists, runs, scores."""
    parser = new_parser("evaluation.submission", __doc__)
    add = parser.add_argument
    add("zip", type=Path, metavar="ZIP", help="what is to be handed in")
    add("--train", type=Path, default=SAMPLE_TRAIN, metavar="FILE", help="for the runs (default: the sample's)")
    add("--val", type=Path, default=SAMPLE_VAL, metavar="FILE", help="for the runs (default: the sample's)")
    add("--labels", type=Path, metavar="FILE", help="labels of the val rows, to score the runs and to find them in the zip")
    add("--sandbox", nargs="+", choices=SANDBOXES, default=list(SANDBOXES), help="default: all three")
    python_help = "with the zip's requirements (default: a new environment with its requirements.txt alone)"
    add("--python", type=Path, metavar="PATH", help=python_help)
    add("--limit-s", type=count, default=1800, metavar="S", help="seconds of a run (default: 1800, the task's)")
    add("--rules-only", action="store_true", help="run nothing")
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Checks and prints what is in the zip; runs it, unless that is not wanted."""
    given = read_input(options)
    print_files(given.submission)
    if options.rules_only:
        return 0
    with tempfile.TemporaryDirectory(prefix="submission-") as name:
        return run_sandboxes(options, given, Path(name))


def read_input(options: argparse.Namespace) -> Given:
    """The zip and the sample; raises InputProblems with all that is wrong with them."""
    problems: list[str] = []
    hidden = read_hidden(options.train, options.val, options.labels, problems)
    ids = [ticket.id for ticket in read_val(options.val)[0]]
    labels: dict[str, Label] = {}
    if options.labels:
        with suppress(InputProblems):  # `read_hidden` has told
            labels = read_labels(options.labels)
    if lost := [key for key in labels if key not in ids]:
        problems.append(f"{options.labels}: found labels of {', '.join(lost)}, expected none but of rows of {options.val}")
    if options.python and not os.access(options.python, os.X_OK):
        problems.append(f"--python {options.python}: found no program there, expected a Python")
    submission = read_or_note(lambda: checked_submission(options.zip, hidden), problems)
    if problems or not submission:
        raise InputProblems(problems)
    return Given(submission, ids, labels)


def print_files(submission: Submission) -> None:
    """Every file of the zip with its size, and what all take."""
    print_table([{"file": printable(name), "bytes": f"{size:,}"} for name, size in submission.sizes.items()])
    packed = submission.path.stat().st_size
    print(f"{submission.path}: {len(submission.sizes)} files, {packed:,} bytes, {sum(submission.sizes.values()):,} unpacked")
    print("found no broken rule")


def run_sandboxes(options: argparse.Namespace, given: Given, folder: Path) -> int:
    """Runs the sandboxes, the registry first, for it fills the cache; prints the table and what is wrong."""
    python = options.python.absolute() if options.python else None
    if python is None:
        say("make an environment with the zip's requirements.txt alone: minutes")
        python, problem = make_environment(given.submission, folder)
        if problem:
            print(f"{given.submission.path}: {problem}", file=sys.stderr)
            return 1
    task = Task(options.train, options.val, python, options.limit_s)
    proofs = [prove_in(sandbox, given, task, folder) for name, sandbox in SANDBOXES.items() if name in options.sandbox]
    print_proofs(proofs, scores_of(proofs, given.labels))
    return int(any(proof.problems for proof in proofs))


def prove_in(sandbox: Sandbox, given: Given, task: Task, folder: Path) -> Proof:
    """Runs the submission in a sandbox and judges the run."""
    say(f"sandbox {sandbox.name} ({sandbox.offers}): up to {task.limit_s:.0f} s")
    filled = folder / "registry" / "cache"
    own = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = (filled if filled.is_dir() else own) if sandbox.warm else folder / sandbox.name / "cache"
    return prove(sandbox, run_in(sandbox, given.submission, task, folder / sandbox.name, cache), given.ids)


def scores_of(proofs: Sequence[Proof], labels: Mapping[str, Label]) -> dict[str, dict[str, float]]:
    """The parts of each proven sandbox's score by its name; none without labels."""
    proven = [proof for proof in proofs if not proof.problems]
    if not (labels and proven):
        return {}
    configure()
    encoder = load_encoder(GRADING_ENCODER)
    return {proof.sandbox.name: score(proof, labels, encoder) for proof in proven}


def print_proofs(proofs: Sequence[Proof], scores: Mapping[str, Mapping[str, float]]) -> None:
    """The table of the sandboxes, what each had and warned about, and on stderr what is not as it must be."""
    print_table([_line(proof, scores.get(proof.sandbox.name, {})) for proof in proofs])
    for proof in proofs:
        closed = "in a network namespace of its own" if proof.ended.closed else "closed by the settings of pip and hub alone"
        print(f"sandbox {proof.sandbox.name} had {proof.sandbox.offers}{'' if proof.sandbox.index else f', {closed}'}")
        for warning in proof.record.get("warnings", []):
            print(f"sandbox {proof.sandbox.name} warns: {printable(str(warning))}")
    problems = [problem for proof in proofs for problem in proof.problems]
    print(*problems or ["every sandbox is proven"], sep="\n", file=sys.stderr if problems else sys.stdout)


def _line(proof: Proof, found: Mapping[str, float]) -> dict[str, str]:
    return {
        "sandbox": proof.sandbox.name,
        "seconds": f"{proof.ended.seconds:.0f}",
        "encoder": printable(proof.encoder),
        "base": printable(proof.base),
        "adapter": "yes" if proof.adapter else "no",
        **{name: f"{found[name]:.3f}" if name in found else "" for name in ("intents", "replies", "efficiency", "total")},
        "proven": "no" if proof.problems else "yes",
    }


if __name__ == "__main__":
    sys.exit(main())
