"""The paths of a run, checked before a model is loaded: a run must not fail at its last step, nor overwrite its input."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from retrieval.run_files import RUN_FILES, foreign_files


def path_problems(*, train: Path | None, val: Path, weights: Path, output: Path, taxonomy: Path | None = None) -> list[str]:
    """What is wrong with the paths of a run, a sentence each; without train rows the weights folder is only read."""
    named = {"--train": train, "--val": val, "--taxonomy": taxonomy}
    inputs = {option: path for option, path in named.items() if path}
    for option, path in {**inputs, "--weights": weights, "--output": output}.items():
        try:
            str(path).encode()
            path.resolve().exists()
        except UnicodeEncodeError:
            return [f"{option} {str(path)!a}: found a path that is not UTF-8, expected one that is"]
        except (OSError, RuntimeError) as error:  # too long a name, no permission to look, links in a circle
            return [f"{option} {path}: cannot be used ({error}), expected a path"]
    return [
        *([] if train is None else _folder_problems(weights)),
        *_output_problems(output, weights),
        *_overlaps(inputs, weights, output, trains=train is not None),
    ]


def _folder_problems(folder: Path) -> list[str]:
    """It can be used if it, or the folder in which it will be made, lets us write, and no foreign file is in the way."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    if not nearest.is_dir():
        return [f"--weights {folder}: found the file {nearest}, expected a folder or a name for a new one"]
    if not os.access(nearest, os.W_OK | os.X_OK):
        return [f"--weights {folder}: found no permission to write in {nearest}, expected a folder that can be made"]
    if foreign := foreign_files(folder):
        names = f"{', '.join(foreign)} in it, which no run of this program left there as it is and which would be replaced"
        return [f"--weights {folder}: found {names}; expected a new folder, or that of an earlier run: move or delete them"]
    return []


def _output_problems(output: Path, weights: Path) -> list[str]:
    parent = output.resolve().parent  # the result is written through a link
    if output.exists() and not output.is_file():
        return [f"--output {output}: found a {'folder' if output.is_dir() else 'device or a pipe'}, expected a file"]
    if output.resolve() in (weights.resolve(), *weights.resolve().parents):
        return [f"--output {output}: --weights {weights} makes a folder of it, expected another name"]
    if parent == weights.resolve() and not parent.exists():  # it will be there
        return []
    if not parent.is_dir():
        return [f"--output {output}: found no folder {output.parent}, expected one that exists"]
    if not os.access(parent, os.W_OK | os.X_OK):
        return [f"--output {output}: found no permission to write in {output.parent}, expected a folder that can be written to"]
    return []


def _overlaps(inputs: Mapping[str, Path], weights: Path, output: Path, *, trains: bool) -> list[str]:
    own = {(weights / name).resolve() for name in RUN_FILES}
    replaced = [(option, path.name) for option, path in inputs.items() if trains and path.resolve() in own]
    expected = "which would be replaced; expected another folder"
    return [
        *(f"--weights {weights}: found {name} of {option}, {expected}" for option, name in replaced),
        *overwritten(output, inputs.items(), weights),
    ]


def overwritten(output: Path, inputs: Iterable[tuple[str, Path]], weights: Path) -> list[str]:
    """What a command would lose by writing its --output, a sentence each: an input of it, or a file of the run in --weights.

    Args:
        output: the file to be written.
        inputs: pairs of an option and a file that it names.
        weights: the folder of a run.
    """
    written = output.resolve()
    found = [
        f"--output {output}: found the file of {option}, expected another file"
        for option, path in inputs
        if path.resolve() == written
    ]
    if written in {(weights / name).resolve() for name in RUN_FILES}:
        found.append(f"--output {output}: found the name of a file of the run in --weights, expected another name")
    return found
