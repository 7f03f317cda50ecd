"""Options of run.py that a file sets: `defaults.toml` beside it, with the names of the options without dashes as keys.

    base-model = "qwen2.5-coder-1.5b"
    time-budget-s = 1200
    quiet = true

A flag wins over the file. Relative paths in it are relative to the file, wherever the command is started. The parser alone says
which options there are and what they take, so a new one can be set here without a word in this module.
"""

import argparse
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.known_models import KNOWN
from retrieval.tickets import printable, quoted

FILE = "defaults.toml"
FLAG, BUILT_IN = "flag", "built in"  # the other two origins of a setting

NewParser = Callable[[], argparse.ArgumentParser]


@dataclass(frozen=True, slots=True)
class Parsed:
    """The options of a command line and of the file, by destination."""

    options: dict[str, Any]
    origins: dict[str, str]  # of each: FLAG, FILE or BUILT_IN


class _BadValue(Exception):
    """A value cannot be used; the message is `found ..., expected ...`."""


def parse_with_defaults(new_parser: NewParser, arguments: Sequence[str] | None, file: Path) -> Parsed:
    """Parses a command line with the defaults of a file, if it is there.

    A mistake in the command line or in the file ends the process with status 2, as argparse does: all problems of the file at
    once, a sentence each.
    """
    parser = new_parser()
    table, problems = read_table(file)
    values, more = checked(parser, table, file)
    for name, action in settable(parser).items():
        if name in table:  # with a bad value, too: that is what is to be said about it
            action.required = False
        if action.dest in values:
            action.default = values[action.dest]
    options = vars(parser.parse_args(arguments))
    if problems := [*problems, *more]:
        parser.exit(2, "\n".join([*problems, f"{len(problems)} problem(s) found; nothing was written", ""]))
    return Parsed(options, _origins(options, values, _flagged(new_parser(), arguments)))


def settable(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """The options that a file may set, by their names without dashes; --help and --version set nothing."""
    actions = [action for action in parser._actions if action.default is not argparse.SUPPRESS]
    return {word[2:]: action for action in actions for word in action.option_strings if word.startswith("--")}


def read_table(file: Path) -> tuple[dict[str, Any], list[str]]:
    """The keys and values of a file, and what is wrong with it; no file is an empty one."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8")), []
    except FileNotFoundError:
        return {}, []
    except OSError as error:
        return {}, [f"{file}: cannot be read ({error.strerror}), expected a file, or none"]
    except (ValueError, RecursionError) as error:
        return {}, [f'{file}: found no TOML ({printable(str(error))}), expected lines like base-model = "none"']


def checked(parser: argparse.ArgumentParser, table: Mapping[str, Any], file: Path) -> tuple[dict[str, Any], list[str]]:
    """The good values of a file by destination, as the options would have them; a sentence for every key that is not good."""
    actions, problems = settable(parser), _exclusions(parser, table, file)
    values: dict[str, Any] = {}
    for key, value in table.items():
        try:
            if key not in actions:
                raise _BadValue(f"found no such option, expected one of {', '.join(sorted(actions))}")
            if actions[key].nargs != 0:
                values[actions[key].dest] = _value(actions[key], value, file.parent)
            elif _switched_on(value):
                values[actions[key].dest] = actions[key].const
        except _BadValue as error:
            problems.append(f"{file}: {printable(key)}: {error}")
    return values, problems


def name_the_file(problems: Sequence[str], origins: Mapping[str, str]) -> list[str]:
    """Sentences about options: what the file set is called by its key there, not by a flag that nobody typed."""
    names = [name.replace("_", "-") for name, origin in origins.items() if origin == FILE]
    flags = [f"--{name}{end}" for name in names for end in (" ", ":")]
    return [f"{FILE}: {problem[2:]}" if problem.startswith(tuple(flags)) else problem for problem in problems]


def name_or_path(text: str) -> str:
    """The type of an option that takes a name or a path: as it is. In the file such a path is relative to the file, too."""
    return text


def _exclusions(parser: argparse.ArgumentParser, table: Mapping[str, Any], file: Path) -> list[str]:
    """Switches and values that exclude each other."""
    actions, found = settable(parser), []
    for group in parser._mutually_exclusive_groups:
        keys = [key for key, value in table.items() if value is not False and actions.get(key) in group._group_actions]
        if len(keys) > 1:
            found.append(f"{file}: {' and '.join(keys)}: found both, expected one of them")
    return found


def _switched_on(value: object) -> bool:
    if not isinstance(value, bool):
        raise _BadValue(f"found {_kind(value)}, expected true or false")
    return value


def _value(action: argparse.Action, value: object, folder: Path) -> Any:
    """What the option would be set to; an option of several words takes a list."""
    if action.nargs in (None, "?"):
        return _one_value(action, value, folder)
    if not isinstance(value, list):
        raise _BadValue(f"found {_kind(value)}, expected a list")
    return [_one_value(action, item, folder) for item in value]


def _one_value(action: argparse.Action, value: object, folder: Path) -> Any:
    """A string or a number goes through the option's own check, as its text would; the result tells which of them is meant."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _BadValue(f"found {_kind(value)}, expected a string or a number")
    if not str(value).isprintable():
        raise _BadValue(f"found {quoted(printable(str(value)))} with control characters, expected a string without")
    found = _converted(action, str(value))
    if isinstance(found, int | float) and isinstance(value, str):
        raise _BadValue(f"found the string {quoted(value)}, expected a number, without quotation marks")
    if not isinstance(found, int | float) and not isinstance(value, str):
        raise _BadValue(f'found the number {value}, expected a string: "{value}"')
    if isinstance(found, Path):
        return folder / found
    return _beside(found, folder) if action.type is name_or_path else found


def _converted(action: argparse.Action, text: str) -> Any:
    try:
        found = action.type(text) if callable(action.type) else text
    except argparse.ArgumentTypeError as error:
        raise _BadValue(str(error)) from error
    except (TypeError, ValueError) as error:
        raise _BadValue(f"found {quoted(text)}, expected {action.metavar or 'another value'}") from error
    if action.choices is not None and found not in action.choices:
        raise _BadValue(f"found {quoted(text)}, expected one of {', '.join(map(str, action.choices))}")
    return found


def _beside(value: str, folder: Path) -> str:
    """A path relative to the folder; the name of a known model wins over a path, as it does for a flag."""
    if value in ("auto", "none", *KNOWN):
        return value
    is_path = value.startswith(("./", "../")) or (value != "" and (folder / value).exists())
    return str(folder / value) if is_path else value


def _kind(value: object) -> str:
    """A TOML value in words."""
    kinds: dict[type, str] = {bool: "true or false", int: "a number", float: "a number", str: "a string", list: "a list"}
    return kinds.get(type(value), "a table" if isinstance(value, dict) else "a date or a time")


def _flagged(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> set[str]:
    """The destinations that the command line itself sets."""
    for action in parser._actions:
        action.default, action.required = argparse.SUPPRESS, False
    return set(vars(parser.parse_args(arguments)))


def _origins(options: Mapping[str, Any], values: Mapping[str, Any], flagged: set[str]) -> dict[str, str]:
    return {name: FLAG if name in flagged else FILE if name in values else BUILT_IN for name in options}
