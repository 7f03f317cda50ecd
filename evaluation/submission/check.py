"""A zip against all rules of the task at once."""

from dataclasses import dataclass
from pathlib import Path

from evaluation.submission.hidden_labels import Hidden, label_problem
from evaluation.submission.rules import archive_problems, is_folder, open_archive, program_folder, read_members
from retrieval.tickets import InputProblems


@dataclass(frozen=True, slots=True)
class Submission:
    """A zip that keeps to the rules."""

    path: Path
    folder: str  # in the zip, where run.py stands: "" or "NAME/"
    sizes: dict[str, int]  # unpacked bytes of each file, in the order of the zip

    def unpack(self, target: Path) -> Path:
        """Unpacks all of it into a folder; returns where run.py stands then."""
        with open_archive(self.path) as archive:
            archive.extractall(target)
        return target / self.folder


def checked_submission(path: Path, hidden: Hidden) -> Submission:
    """The zip, if it keeps to the rules.

    Raises:
        InputProblems: it does not; a sentence for every problem. What the members hold is looked at only where their sizes
            and places are harmless.
    """
    with open_archive(path) as archive:
        problems = archive_problems(archive)
        if not problems:
            looked_at = [label_problem(name, content, hidden) for name, content in read_members(archive, problems)]
            problems += filter(None, looked_at)
        folder = program_folder(archive.infolist())
        sizes = {member.filename: member.file_size for member in archive.infolist() if not is_folder(member)}
    if problems or folder is None:
        raise InputProblems([f"{path}: {problem}" for problem in problems])
    return Submission(path, folder, sizes)
