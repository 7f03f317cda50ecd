import argparse
import json
from pathlib import Path
from typing import Any

import pytest

import run
from retrieval import command_line
from retrieval.command_line import parse, parser
from retrieval.console import Verbosity
from retrieval.defaults_file import BUILT_IN, FILE, FLAG, Parsed, name_the_file, parse_with_defaults, settable
from tests.test_run import GOOD, arguments, write

FOUR = ["--train", "t", "--val", "v", "--weights", "w", "--output", "o"]
WITHOUT_FILE = dict.fromkeys(("train", "val", "weights", "output"), FLAG) | dict.fromkeys(
    ("base_model", "encoder", "seed", "time_budget_s", "columns", "taxonomy", "remote_model", "remote_budget_usd"), BUILT_IN
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / FILE


def refused(file: Path, text: str, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """The sentences about a file, without the count at their end."""
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        parse([*FOUR, *words], defaults=file)
    assert stop.value.code == 2
    *sentences, last = capsys.readouterr().err.splitlines()
    assert last == f"{len(sentences)} problem(s) found; nothing was written"
    return sentences


def test_without_the_file_the_settings_are_those_of_the_command_line(file: Path) -> None:
    settings, verbosity = parse([*FOUR, "--seed", "4"], defaults=file)
    assert (settings.base_model, settings.seed, settings.time_budget_s) == ("auto", 4, 1500.0)
    assert settings.origins == WITHOUT_FILE | {"seed": FLAG}
    assert verbosity == Verbosity.NORMAL


def test_the_file_beside_run_py_is_the_one_that_is_read() -> None:
    assert Path(run.__file__).parent / "defaults.toml" == command_line.DEFAULTS


def test_every_option_can_be_set_and_a_flag_wins(file: Path) -> None:
    file.write_text(
        'train = "a.jsonl"\nval = "/b.jsonl"\nweights = "w"\noutput = "r.json"\nbase-model = "none"\n'
        'encoder = "all-MiniLM-L6-v2"\nseed = 3\ntime-budget-s = 1200\nquiet = true\nverbose = false\n'
        'columns = "ticket=body"\ntaxonomy = "t.json"\nremote-model = "gpt-4.1"\nremote-budget-usd = 2\n'
    )
    settings, verbosity = parse(["--seed", "5", "--output", "here.json"], defaults=file)
    folder = file.parent
    assert (settings.train, settings.val, settings.weights) == (folder / "a.jsonl", Path("/b.jsonl"), folder / "w")
    assert (settings.output, settings.seed) == (Path("here.json"), 5)
    assert (settings.columns, settings.taxonomy) == ("ticket=body", folder / "t.json")
    assert (settings.remote_model, settings.remote_budget_usd) == ("gpt-4.1", 2.0)
    assert (settings.base_model, settings.encoder) == ("none", "all-MiniLM-L6-v2")
    assert (settings.time_budget_s, type(settings.time_budget_s)) == (1200.0, float)
    assert verbosity == Verbosity.QUIET
    assert settings.origins == dict.fromkeys(WITHOUT_FILE, FILE) | {"seed": FLAG, "output": FLAG}
    assert parse(["--verbose"], defaults=file)[1] == Verbosity.VERBOSE


def test_a_flag_that_repeats_the_built_in_value_is_a_flag_and_wins(file: Path) -> None:
    file.write_text("seed = 3\n")
    settings, _ = parse([*FOUR, "--seed", "0", "--encoder=auto"], defaults=file)
    assert (settings.seed, settings.origins["seed"], settings.origins["encoder"]) == (0, FLAG, FLAG)


def test_what_is_missing_in_both_is_missed_in_the_words_of_argparse(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text('train = "a.jsonl"\n')
    with pytest.raises(SystemExit) as stop:
        parse(["--val", "v", "--output", "o"], defaults=file)
    assert stop.value.code == 2
    assert "the following arguments are required: --weights\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("sed = 3", "sed: found no such option, expected one of base-model, columns, encoder, "),
        ("base_model = 'none'", "base_model: found no such option"),
        ("help = true", "help: found no such option"),
        ("[training]\nseed = 3", "training: found no such option"),
        ("seed = '3'", 'seed: found the string "3", expected a number, without quotation marks'),
        ("seed = true", "seed: found true or false, expected a string or a number"),
        ("seed = [3]", "seed: found a list, expected a string or a number"),
        ("seed = -1", "seed: found -1, expected a whole number from 0 to 4294967295"),
        ("seed = 3.5", "seed: found 3.5, expected a whole number from 0 to 4294967295"),
        ("seed = 1979-05-27", "seed: found a date or a time, expected a string or a number"),
        ("time-budget-s = inf", "time-budget-s: found inf, expected a number of seconds above 0"),
        ("time-budget-s = 'long'", "time-budget-s: found long, expected a number of seconds above 0"),
        ("base-model = 7", 'base-model: found the number 7, expected a string: "7"'),
        ("train = 7", 'train: found the number 7, expected a string: "7"'),
        ("train = {a = 1}", "train: found a table, expected a string or a number"),
        (r'train = "a\u0000b"', 'train: found "a b" with control characters, expected a string without'),
        ("quiet = 'yes'", "quiet: found a string, expected true or false"),
        ("quiet = true\nverbose = true", "quiet and verbose: found both, expected one of them"),
    ],
)
def test_a_wrong_key_type_or_value_is_a_sentence_with_file_and_key(
    file: Path, line: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (said,) = refused(file, line, capsys)
    assert said.startswith(f"{file}: {sentence}")


def test_all_problems_of_the_file_come_at_once_and_a_flag_does_not_hide_them(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(file, "seed = 'x'\ncolour = 1\nquiet = 0\n", capsys, "--seed", "3")
    assert [sentence.split(": ")[1] for sentence in said] == ["seed", "colour", "quiet"]


@pytest.mark.parametrize("text", ["seed = ", "seed = 1\nseed = 2", "base-model = none", "a = " + "[" * 5000])
def test_what_is_no_toml_is_one_sentence(file: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (said,) = refused(file, text, capsys)
    assert said.startswith(f"{file}: found no TOML (")


def test_a_file_that_cannot_be_read_is_one_sentence(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_bytes(b"seed = 1 # \xff")
    with pytest.raises(SystemExit):
        parse(FOUR, defaults=file)
    assert f"{file}: found no TOML ('utf-8' codec can't decode" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse(FOUR, defaults=tmp_path)
    assert f"{tmp_path}: cannot be read (Is a directory)" in capsys.readouterr().err


def test_the_help_is_shown_even_if_the_file_is_wrong(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("colour = 1")
    with pytest.raises(SystemExit) as stop:
        parse(["--help"], defaults=file)
    assert stop.value.code == 0
    assert "--base-model" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "there", "relative"),
    [
        ("./base", False, True),
        ("base", True, True),
        ("models/x.gguf", True, True),
        ("Qwen/Qwen2.5-7B-Instruct", False, False),
        ("smollm2-135m", True, False),
        ("none", True, False),
    ],
)
def test_a_model_s_path_is_relative_to_the_file_and_a_known_name_is_no_path(
    file: Path, value: str, there: bool, relative: bool
) -> None:
    if there:
        (file.parent / value).mkdir(parents=True)
    file.write_text(f'base-model = "{value}"\nencoder = "{value}"\n')
    settings, _ = parse(FOUR, defaults=file)
    assert settings.base_model == settings.encoder == (str(file.parent / value) if relative else value)


def other_parser() -> argparse.ArgumentParser:
    """Options of kinds that run.py does not have yet."""
    found = argparse.ArgumentParser(prog="other")
    found.add_argument("--version", action="version", version="1")
    found.add_argument("--parts", nargs="+", type=int)
    found.add_argument("--level", choices=["low", "high"], default="low")
    found.add_argument("--check", action="store_true")
    return found


def other(table: str, file: Path, *words: str) -> Parsed:
    file.write_text(table)
    return parse_with_defaults(other_parser, words, file)


def test_the_parser_alone_says_what_can_be_set(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(settable(other_parser())) == {"parts", "level", "check"}
    found = other("parts = [1, 2]\nlevel = 'high'\ncheck = true\n", file)
    assert found.options == {"parts": [1, 2], "level": "high", "check": True}
    assert set(found.origins.values()) == {FILE}
    assert other("parts = [1]", file, "--parts", "3", "4").options["parts"] == [3, 4]
    with pytest.raises(SystemExit):
        other("parts = ['x']\nlevel = 'middle'\n", file)
    said = capsys.readouterr().err
    assert 'parts: found "x", expected another value' in said
    assert 'level: found "middle", expected one of low, high' in said
    with pytest.raises(SystemExit):
        other("parts = 1", file)
    assert "parts: found a number, expected a list" in capsys.readouterr().err


def test_every_option_of_run_py_has_a_default_that_the_file_can_name() -> None:
    assert {"train", "val", "weights", "output", "quiet", "verbose"} < set(settable(parser()))
    assert "help" not in settable(parser())


def test_a_sentence_about_an_option_names_the_file_only_where_the_file_set_it() -> None:
    given = ["--base-model x: found no such path", "--columns: found no name"]
    others = ["--encoder y: found none", "--base-models: other", "t.jsonl:1: found"]
    found = name_the_file([*given, *others], {"base_model": FILE, "columns": FILE, "encoder": FLAG})
    assert found == ["defaults.toml: base-model x: found no such path", "defaults.toml: columns: found no name", *others]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's files, and a place for its defaults."""
    write(tmp_path / "train.jsonl", GOOD)
    write(tmp_path / "val.jsonl", {"id": "v", "ticket": "guest seats?"})
    monkeypatch.setattr(command_line, "DEFAULTS", tmp_path / FILE)
    return tmp_path


def record_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "weights" / "run.json").read_text())
    return found


def test_run_json_says_where_each_setting_came_from(folder: Path) -> None:
    (folder / FILE).write_text('val = "val.jsonl"\nencoder = "all-MiniLM-L6-v2"\nquiet = true\n')
    words = arguments(folder)
    del words[words.index("--val") : words.index("--val") + 2]
    assert run.main(words) == 0
    record = record_of(folder)
    assert record["settings"]["val"] == str(folder / "val.jsonl")
    origins = record["settings_from"]
    assert set(origins) == set(record["settings"])
    assert {name for name, origin in origins.items() if origin == FILE} == {"val", "encoder"}
    assert {name for name, origin in origins.items() if origin == BUILT_IN} == {
        *("seed", "columns", "taxonomy", "remote_model", "remote_budget_usd")
    }


def test_a_value_that_only_the_run_can_judge_is_a_sentence_with_file_and_key(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / FILE).write_text('encoder = "./nowhere"\n')
    assert run.main(arguments(folder, base_model="./missing")) == 2
    said = capsys.readouterr().err
    assert f"defaults.toml: encoder {folder / 'nowhere'}: found no such folder" in said
    assert "--base-model ./missing: found no such path" in said


def test_settings_made_by_hand_have_no_origins_to_record() -> None:
    settings = command_line.Settings(*[Path()] * 4, "none", "auto", 0, 1.0)
    assert settings.record()["settings_from"] == {}
