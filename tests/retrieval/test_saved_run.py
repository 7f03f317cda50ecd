"""Only a run that is whole, unchanged and of this version is loaded again; every other folder is one sentence."""

import json
from dataclasses import replace
from math import inf
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

import run
from retrieval import __version__, saved_run
from retrieval.encoder import encoder_record
from retrieval.errors import ModelUnavailable
from retrieval.run_files import FORMAT, MAKING, NEXT
from retrieval.saved_run import find_run, load_encoder_of
from tests.fakes import HashEncoder
from tests.test_run import GOOD, arguments, write

OTHERS = [GOOD | {"id": "b", "ticket": "rotate my api token", "intent": "api.token", "ideal_reply": "Press Rotate."}]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights folder of a finished run without a language model."""
    folder = tmp_path_factory.mktemp("run")
    write(folder / "train.jsonl", GOOD, *OTHERS)
    write(folder / "val.jsonl", {"id": "v", "ticket": "guest seats?"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("retrieval.encoder.load_encoder", lambda *_, **__: HashEncoder())
        assert run.main(arguments(folder)) == 0
    return folder / "weights"


@pytest.fixture
def weights(finished: Path, tmp_path: Path) -> Path:
    return Path(copytree(finished, tmp_path / "weights"))


def change_record(weights: Path, **changes: Any) -> None:
    record = json.loads((weights / "run.json").read_text()) | changes
    (weights / "run.json").write_text(json.dumps(record))


def problem(weights: Path) -> str:
    found, problems = find_run(weights)
    assert found is None
    (sentence,) = problems
    assert "\n" not in sentence
    return sentence


def test_the_run_is_found_with_its_encoder_and_nothing_in_the_folder_changes(weights: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (weights, *weights.iterdir())}
    found, problems = find_run(weights)
    assert problems == []
    assert found is not None
    assert (found.encoder_name, found.encoder_digest, found.lm_weight) == ("hash", "sha256:0", 0.0)
    assert found.encoder == encoder_record(HashEncoder.files)["choice"]
    assert {path: path.stat().st_mtime_ns for path in (weights, *weights.iterdir())} == before


FILES = ("train_rows.jsonl", "train_vectors.safetensors", "tickets.faiss", "classifier.safetensors", "predictions.jsonl")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_or_changed_is_named(weights: Path, name: str) -> None:
    content = (weights / name).read_bytes()
    (weights / name).write_bytes(content + b" ")
    expected = "expected the files as the run left them: train again"
    assert problem(weights) == f"{weights}: found {name} changed, {expected}"
    (weights / name).unlink()
    assert problem(weights) == f"{weights}: found {name} missing, {expected}"


def test_all_files_that_are_missing_or_changed_stand_in_one_sentence(weights: Path) -> None:
    (weights / "tickets.faiss").unlink()
    (weights / "predictions.jsonl").write_text("{}")
    assert "found tickets.faiss missing, predictions.jsonl changed, expected" in problem(weights)


def test_a_file_that_answering_needs_and_the_record_does_not_list_is_refused(weights: Path) -> None:
    record = json.loads((weights / "run.json").read_text())
    del record["sha256"]["tickets.faiss"]
    change_record(weights, sha256=record["sha256"])
    assert "found tickets.faiss changed" in problem(weights)


def test_a_card_that_its_user_changed_is_no_reason_to_refuse(weights: Path) -> None:
    record = json.loads((weights / "run.json").read_text())
    change_record(weights, sha256=record["sha256"] | {"README.md": "1", ".gitignore": "2"})
    (weights / "README.md").write_text("card, with a licence")
    assert find_run(weights)[1] == []


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"versions": {"thirty-tickets": "0.9"}}, f"the run of version 0.9, format {FORMAT}"),
        ({"versions": None}, f"the run of version None, format {FORMAT}"),
        ({"format": FORMAT + 1}, f"the run of version {__version__}, format {FORMAT + 1}"),
        ({"format": None}, f"the run of version {__version__}, format None"),
    ],
)
def test_a_run_of_another_version_is_refused(weights: Path, changes: dict[str, Any], found: str) -> None:
    change_record(weights, **changes)
    expected = f"expected version {__version__}, format {FORMAT}: train again with this version"
    assert problem(weights) == f"{weights}: found {found}, {expected}"


@pytest.mark.parametrize("name", ["../train.jsonl", "/etc/passwd", "deeper/tickets.faiss", "model.bin", "run.json/../x"])
def test_a_name_in_the_record_that_no_run_writes_is_refused(weights: Path, name: str) -> None:
    record = json.loads((weights / "run.json").read_text())
    change_record(weights, sha256=record["sha256"] | {name: "0"})
    assert f"found {name} among the files of the run" in problem(weights)


@pytest.mark.parametrize("text", [None, "{", "[]", '{"program": "another"}', "[" * 100_000])
def test_a_folder_without_a_record_of_a_run_is_refused(weights: Path, text: str | None) -> None:
    if text is None:
        (weights / "run.json").unlink()
    else:
        (weights / "run.json").write_text(text)
    assert "run.json: found no record of thirty-tickets, expected the folder of a finished run" in problem(weights)


@pytest.mark.parametrize("changes", [{"encoder": []}, {"encoder": {}}, {"lm_scores": {"weight": "much"}}, {"lm_scores": 3}])
def test_a_record_of_another_shape_is_refused(weights: Path, changes: dict[str, Any]) -> None:
    change_record(weights, **changes)
    assert problem(weights).endswith("run.json: found something else, expected the record of a finished run")


@pytest.mark.parametrize("listed", [1, None, "tickets.faiss", ["tickets.faiss"]])
def test_a_record_whose_files_are_no_object_is_refused(weights: Path, listed: object) -> None:
    change_record(weights, sha256=listed)
    assert "changed, expected the files as the run left them" in problem(weights)


@pytest.mark.parametrize("name", ["none", "train.jsonl"])
def test_a_folder_that_is_missing_or_a_file_is_refused(weights: Path, name: str) -> None:
    write(weights.parent / "train.jsonl", GOOD)
    assert "expected the folder of a finished run" in problem(weights.parent / name)


def test_a_run_that_was_cut_off_on_its_way_up_is_whole_again_for_whoever_reads(weights: Path) -> None:
    made = weights / f"{MAKING}x"
    made.mkdir()
    for name in (*FILES[1:], "run.json"):  # the first has been moved
        (weights / name).rename(made / name)
    made.rename(weights / NEXT)
    assert find_run(weights)[1] == []
    assert {path.name for path in weights.iterdir()} == {*FILES, "run.json"}


def test_an_encoder_with_other_weights_or_one_that_is_gone_is_refused(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Another(HashEncoder):
        files = replace(HashEncoder.files, digest="sha256:1")

        def __init__(self, choice: str, *, deadline: float = inf) -> None:
            super().__init__()

    monkeypatch.setattr(saved_run, "load_encoder", Another)
    found, _ = find_run(weights)
    assert found is not None
    with pytest.raises(ModelUnavailable, match=r"has the digest sha256:1, expected the one of the run in .*: hash, sha256:0"):
        load_encoder_of(found)
    with pytest.raises(ModelUnavailable, match=r"the encoder of the run in .* is gone: --encoder /gone"):
        load_encoder_of(replace(found, encoder="/gone"))
