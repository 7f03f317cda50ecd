"""What a user may name as --base-model, checked before anything heavy is imported.

    auto          the best base for this machine
    none          no language model: retrieval alone
    ORG/NAME      on a model hub, ORG/NAME@REVISION for a pinned one
    FOLDER        a checkpoint in safetensors
    FILE.gguf     a quantised checkpoint, read by transformers

What it does not know: whether the base can be loaded here (`base_model`).
"""

from pathlib import Path

from retrieval.encoder import HUB_ID
from retrieval.paths import look_problem

EXPECTED = "expected auto, none, ORG/NAME[@REVISION], a checkpoint folder or a .gguf file"


def base_problems(choice: str, weights: Path) -> list[str]:
    """What is wrong with the value of --base-model, a sentence each; `weights` is where the run will write."""
    path = Path(choice)
    if choice in ("auto", "none"):
        return []
    if unseen := look_problem(path):
        return [_problem(choice, unseen)]
    if path.is_dir():
        return _folder_problems(choice, path, weights)
    if choice.endswith(".gguf"):
        return _gguf_problems(choice, path)
    if path.exists():
        return [_problem(choice, "a file that is not .gguf")]
    name, at, revision = choice.partition("@")
    return (
        [] if HUB_ID.fullmatch(name) and bool(at) == bool(revision) else [_problem(choice, "no such path, and it is no hub id")]
    )


def _folder_problems(choice: str, folder: Path, weights: Path) -> list[str]:
    if folder.resolve() == weights.resolve():
        return [f"--weights {weights}: found the folder of --base-model, whose files would be replaced, expected another"]
    return [] if (folder / "config.json").is_file() else [_problem(choice, "a folder without config.json")]


def _gguf_problems(choice: str, path: Path) -> list[str]:
    if not path.is_file():
        return [_problem(choice, "no such file")]
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        return [_problem(choice, f"a file that cannot be read ({error.strerror})")]
    return [] if start == b"GGUF" else [_problem(choice, "a file that does not start with GGUF")]


def _problem(choice: str, found: str) -> str:
    return f"--base-model {choice}: found {found}, {EXPECTED}"
