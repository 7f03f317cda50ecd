"""A results file against the JSON schema beside this module, and against the tickets that it should answer."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from evaluation.command import MissingPackage
from retrieval.tickets import printable

SCHEMA = Path(__file__).parent / "result.schema.json"
SHOWN = 200  # characters of what a schema complains about


def schema_problems(path: Path, ids: Sequence[str]) -> list[str]:
    """What is wrong with a results file, a sentence each.

    Args:
        path: of the file.
        ids: of the tickets that were to be answered, in their order.

    Raises:
        MissingPackage: jsonschema is not installed.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except OSError as error:
        return [f"{path.name}: cannot be read ({error.strerror}), expected a result"]
    except (ValueError, RecursionError) as error:
        return [f"{path.name}: found no JSON ({printable(str(error))}), expected a result"]
    if problems := _violations(found):
        return [f"{path.name}: {problem}" for problem in problems]
    answered = [row["id"] for row in found["predictions"]]
    if answered != list(ids):
        missing = [key for key in ids if key not in answered]
        lack = f"none for {', '.join(missing)}" if missing else "for others, or in another order"
        what = f"{len(answered)} predictions, {lack}"
        return [f"{path.name}: found {what}, expected one for each of {len(ids)} tickets, in their order"]
    return []


def _violations(found: Any) -> list[str]:
    try:
        from jsonschema import Draft202012Validator
    except ModuleNotFoundError as error:
        raise MissingPackage("validating a result", "jsonschema") from error

    errors = Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).iter_errors(found)
    return sorted(f"{error.json_path}: {printable(error.message)[:SHOWN]}" for error in errors)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
