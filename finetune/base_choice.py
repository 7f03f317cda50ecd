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

EXPECTED = "expected auto, none, ORG/NAME[@REVISION], a checkpoint folder or a .gguf file"


def base_problems(choice: str) -> list[str]:
    """What is wrong with the value of --base-model, a sentence each."""
    path = Path(choice)
    if choice in ("auto", "none"):
        return []
    if path.is_dir():
        return [] if (path / "config.json").is_file() else [_problem(choice, "a folder without config.json")]
    if choice.endswith(".gguf"):
        return _gguf_problems(choice, path)
    if path.exists():
        return [_problem(choice, "a file that is not .gguf")]
    name, at, revision = choice.partition("@")
    return (
        [] if HUB_ID.fullmatch(name) and bool(at) == bool(revision) else [_problem(choice, "no such path, and it is no hub id")]
    )


def _gguf_problems(choice: str, path: Path) -> list[str]:
    if not path.is_file():
        return [_problem(choice, "no such file")]
    with path.open("rb") as file:
        return [] if file.read(4) == b"GGUF" else [_problem(choice, "a file that does not start with GGUF")]


def _problem(choice: str, found: str) -> str:
    return f"--base-model {choice}: found {found}, {EXPECTED}"
