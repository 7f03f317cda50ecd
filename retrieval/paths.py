"""The files and folders of a run, checked before anything is loaded: a run must not fail at its last step, nor eat its input.

What it does not know: what stands in the files (`tickets`).
"""

import os
from pathlib import Path

# Names that a run writes into its weights folder: what belongs to an adapter (tokenizers differ in what they write), the rest.
ADAPTER_FILES = (
    *("adapter_model.safetensors", "adapter_config.json", "chat_template.jinja", "tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model"),
)
RUN_FILES = (*ADAPTER_FILES, "train_set.jsonl", "train_set.safetensors", "tickets.faiss", "predictions.jsonl", "run.json")


def path_problems(*, train: Path, val: Path, weights: Path, output: Path) -> list[str]:
    """What is wrong with the paths to write to, a sentence each."""
    for option, path in (("--train", train), ("--val", val), ("--weights", weights), ("--output", output)):
        try:
            str(path).encode()
            path.resolve().exists()
        except UnicodeEncodeError:
            return [f"{option} {str(path)!a}: found a path that is not UTF-8, expected one that is"]
        except (OSError, RuntimeError) as error:  # too long a name, no permission to look, links in a repeated
            return [f"{option} {path}: cannot be used ({error}), expected a path"]
    return _all_problems(train=train, val=val, weights=weights, output=output)


def _all_problems(*, train: Path, val: Path, weights: Path, output: Path) -> list[str]:
    found = [*_folder_problems(weights), *_output_problems(output, weights)]
    found += [
        f"--weights {weights}: found the folder {name} in it, where the run writes a file; expected another folder"
        for name in RUN_FILES
        if (weights / name).is_dir()
    ]
    own = {(weights / name).resolve() for name in RUN_FILES}
    for option, path in (("--train", train), ("--val", val)):
        if path.resolve() == output.resolve():
            found.append(f"--output {output}: found the file of {option}, expected another file")
        if path.resolve() in own:
            found.append(
                f"--weights {weights}: {path.name} of {option} stands in it and would be replaced, expected another folder"
            )
    if output.resolve() in own:
        found.append(f"--output {output}: the run writes a file of that name into --weights, expected another name")
    return found


def _folder_problems(folder: Path) -> list[str]:
    """A folder can be used if it is one, or if its nearest ancestor that exists is one and lets us write."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    if not nearest.is_dir():
        return [f"--weights {folder}: found the file {nearest}, expected a folder or a name for a new one"]
    if not os.access(nearest, os.W_OK | os.X_OK):
        return [f"--weights {folder}: found no permission to write in {nearest}, expected a folder that can be made"]
    return []


def _output_problems(output: Path, weights: Path) -> list[str]:
    parent = output.absolute().parent
    if output.exists() and not output.is_file():
        return [f"--output {output}: found a {'folder' if output.is_dir() else 'device or a pipe'}, expected a file"]
    if output.resolve() in (weights.resolve(), *weights.resolve().parents):
        return [f"--output {output}: --weights {weights} makes a folder of it, expected another name"]
    if parent.resolve() == weights.resolve():  # it will be there
        return []
    if not parent.is_dir():
        return [f"--output {output}: found no folder {output.parent}, expected one that exists"]
    if not os.access(parent, os.W_OK | os.X_OK):
        return [f"--output {output}: found no permission to write in {output.parent}, expected a folder that can be written to"]
    return []


def remove_adapter(weights: Path) -> None:
    """Takes away what an earlier run left: an adapter beside a record that knows nothing of it misleads."""
    for name in ADAPTER_FILES:
        (weights / name).unlink(missing_ok=True)


def look_problem(path: Path) -> str:
    """Why one cannot even look whether a path exists (too long a name, no permission); empty if one can."""
    try:
        path.exists()
    except (OSError, ValueError) as error:
        return f"a path that cannot be looked at ({getattr(error, 'strerror', None) or error})"
    return ""
