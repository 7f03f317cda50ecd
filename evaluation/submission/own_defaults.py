"""The defaults.toml of a submission: what git tracks beside run.py, and over it what was chosen for this zip.

Everything in it must hold on the machine that runs the submission: a path of this one is refused.
"""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune.base_selection import base_problems
from retrieval.command_line import parser
from retrieval.defaults_file import FILE, checked, read_table, settable
from retrieval.encoder import encoder_problems


def defaults_text(file: Path | None, chosen: Mapping[str, str], problems: list[str]) -> str:
    """The text of the zip's defaults.toml; empty where nothing is set.

    Args:
        file: the tracked one, if there is one.
        chosen: further options of run.py without dashes, with values in TOML or as plain words.
        problems: gets a sentence for whatever is wrong with them.
    """
    tracked, found = read_table(file) if file else ({}, [])
    given = {name: _toml_value(text) for name, text in chosen.items()}
    problems += found
    for table, named in ((tracked, str(file)), (given, "--default")):
        problems += _problems(table, named)
    table = tracked | given
    return "" if problems else "".join(f"{name} = {json.dumps(table[name], ensure_ascii=False)}\n" for name in sorted(table))


def _problems(table: Mapping[str, Any], named: str) -> list[str]:
    """What is wrong with options, `named` after the place where they stand."""
    here = Path.cwd() / FILE  # what is taken for a path is absolute then
    values, found = checked(parser(), table, here)
    found = [problem.replace(str(here), named, 1) for problem in found]
    actions = settable(parser())
    paths = [name for name in table if name in actions and _is_path(values.get(actions[name].dest))]
    found += [f"{named}: {name}: found the path {table[name]}, expected a name: the zip has no other files" for name in paths]
    models = (("base_model", lambda choice: base_problems(choice, Path("weights"))), ("encoder", encoder_problems))
    for dest, check in models:
        if dest in values and not _is_path(values[dest]):
            found += [f"{named}: {problem.removeprefix('--')}" for problem in check(values[dest])]
    return found


def _is_path(value: object) -> bool:
    return isinstance(value, str | Path) and Path(value).is_absolute()


def _toml_value(text: str) -> Any:
    """A number, true or false where it is one in TOML, else the text itself."""
    try:
        found = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return found["value"] if len(found) == 1 else text
