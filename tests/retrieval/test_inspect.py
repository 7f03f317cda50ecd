import io
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from math import inf
from pathlib import Path
from shutil import copytree
from typing import Any

import faiss
import numpy as np
import pytest

import run
from retrieval import inspect, inspect_input, saved_run
from retrieval.files import sha256
from tests.fakes import DIMENSION, HashEncoder

ROOT = Path(__file__).parent.parent.parent
ROWS = [
    {"id": "a", "ticket": "do guests need a seat", "intent": "billing.seat", "ideal_reply": "Guests need no seat."},
    {"id": "b", "ticket": "rotate my api token", "intent": "api.token", "ideal_reply": "Press Rotate."},
    {"id": "c", "ticket": "[b]guest[/b] cannot log in", "intent": "access.login", "ideal_reply": "Invite them again."},
]
VAL = [{"id": "v", "ticket": "guest seats?"}, {"id": "w", "ticket": "token <b>[red]leaked[/red]"}]


class FakeEncoder(HashEncoder):
    """Stands where an encoder would be loaded; remembers which was wanted."""

    wanted: str = "none"

    def __init__(self, choice: str, *, deadline: float = inf) -> None:
        super().__init__()
        FakeEncoder.wanted = choice


@pytest.fixture(scope="module", autouse=True)
def fake_encoder() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("retrieval.encoder.load_encoder", FakeEncoder)
        patch.setattr(inspect, "load_encoder", FakeEncoder)
        patch.setattr(saved_run, "load_encoder", FakeEncoder)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run without a language model."""
    folder = tmp_path_factory.mktemp("run")
    for name, rows in (("train", ROWS), ("val", VAL)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    paths = {"train": "train.jsonl", "val": "val.jsonl", "weights": "weights", "output": "results.json"}
    options = [text for name, path in paths.items() for text in (f"--{name}", str(folder / path))]
    assert run.main([*options, "--base-model", "none"]) == 0
    return folder


def listed_again(weights: Path) -> None:
    """Puts the present content of every file into the record, as if the run had left it so."""
    record = json.loads((weights / "run.json").read_text())
    record["sha256"] = {name: sha256(weights / name) for name in record["sha256"]}
    (weights / "run.json").write_text(json.dumps(record))


def shown(capsys: pytest.CaptureFixture[str], *options: object) -> list[dict[str, Any]]:
    assert inspect.main([*map(str, options), "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_run_that_is_replaced_after_its_check_is_not_mixed_with_the_new_one(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = Path(copytree(finished / "weights", tmp_path / "w"))

    def meanwhile(*_: object, **__: object) -> FakeEncoder:
        record = json.loads((weights / "run.json").read_text())
        (weights / "run.json").write_text(json.dumps(record | {"wall_clock_s": 1e6}))
        return FakeEncoder("all-mpnet-base-v2")

    monkeypatch.setattr(inspect, "load_encoder_of", meanwhile)
    assert inspect.main(["--weights", str(weights), "--ticket", "x"]) == 1
    assert f"the run in {weights} was replaced meanwhile: ask again" in capsys.readouterr().err


def test_a_finished_run_is_explained_as_the_run_explained_itself(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (finished / "weights" / "predictions.jsonl").read_text().splitlines()
    own = {"prediction", "source", "findings", "draft"}
    recorded = [{key: value for key, value in json.loads(line).items() if key not in own} for line in lines]
    assert shown(capsys, "--weights", finished / "weights", "--val", finished / "val.jsonl") == recorded
    assert shown(capsys, "--train", finished / "train.jsonl", "--val", finished / "val.jsonl") == recorded


def recorded_line(weights: Path, ticket_id: str) -> dict[str, Any]:
    lines = map(json.loads, (weights / "predictions.jsonl").read_text().splitlines())
    return next(line for line in lines if line["id"] == ticket_id)


def with_line(weights: Path, target: Path, ticket_id: str, **changes: object) -> Path:
    """A copy of the folder in which the run decided otherwise about a ticket."""
    copy = Path(copytree(weights, target))
    line = json.dumps(recorded_line(copy, ticket_id) | changes)
    (copy / "predictions.jsonl").write_text(line + "\n")
    listed_again(copy)
    return copy


def test_what_a_run_decided_about_a_row_is_shown_from_its_record_and_loads_no_model(finished: Path) -> None:
    weights = finished / "weights"
    slow = "[name for name in ('torch', 'sklearn', 'sentence_transformers') if name in sys.modules]"
    options = ["--weights", str(weights), "--id", "v", "--json"]
    code = f"import sys\nfrom retrieval import inspect\nprint([inspect.main({options!r}), *{slow}])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    line, last = done.stdout.splitlines()
    assert json.loads(line) == recorded_line(weights, "v")
    assert last == "[0]"


def test_the_tables_from_the_record_are_those_of_the_ticket_asked_anew_and_the_reply(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = str(finished / "weights")
    assert inspect.main(["--weights", weights, "--val", str(finished / "val.jsonl"), "--id", "v", "--prompt"]) == 0
    anew = capsys.readouterr().out.splitlines()
    assert inspect.main(["--weights", weights, "--id", "v", "--prompt"]) == 0
    recorded = capsys.readouterr().out.splitlines()
    line = recorded_line(finished / "weights", "v")
    assert [text for text in recorded if text not in anew] == [f"reply, {line['source']}: {line['prediction']}"]
    assert [text for text in anew if text not in recorded] == []


def test_the_record_shows_lm_scores_and_the_draft_that_was_not_given(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = recorded_line(finished / "weights", "v")
    scored = [entry | {"lm_score": -12.345} if i == 0 else entry for i, entry in enumerate(line["intents"])]
    changes = {"intents": scored, "source": "replaced", "findings": ["found 9 days"], "draft": "It takes 9 days."}
    weights = with_line(finished / "weights", tmp_path / "w", "v", **changes)
    assert inspect.main(["--weights", str(weights), "--id", "v"]) == 0
    tables = capsys.readouterr().out
    for piece in ("LM score, nats", "-12.35", "draft that was not given (found 9 days): It takes 9 days."):
        assert piece in tables
    assert inspect.main(["--weights", str(finished / "weights"), "--id", "v"]) == 0
    assert "LM score" not in capsys.readouterr().out


def test_a_composed_reply_is_shown_once(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reply = "Guests need no seat. Press Rotate."
    weights = with_line(finished / "weights", tmp_path / "w", "v", source="composed", prediction=reply, tied="b")
    assert inspect.main(["--weights", str(weights), "--id", "v"]) == 0
    tables = capsys.readouterr().out
    assert "composed of the first exemplar and b\n" in tables
    assert f"reply, composed: {reply}" in tables
    assert tables.count(reply) == 1


def test_a_row_that_the_run_did_not_answer_is_named(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect.main(["--weights", str(finished / "weights"), "--id", "nobody"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("--id nobody: found no such row in ")
    assert "expected one of the 2 that the run answered" in said


def test_an_empty_draft_is_shown_with_what_the_check_found(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"source": "replaced", "findings": ["it is empty"], "draft": ""}
    weights = with_line(finished / "weights", tmp_path / "w", "v", **changes)
    assert inspect.main(["--weights", str(weights), "--id", "v"]) == 0
    assert "draft that was not given (it is empty): \n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [
        {"exemplars": ["gone"]},
        {"exemplars": []},
        {"intents": []},
        {"intents": [{"intent": "x"}]},
        {"intents": [{"intent": "x", "probability": 1.0, "bm25": 1.0}]},
        {"neighbours": 3},
        {"findings": 3},
        {"findings": [3]},
        {"findings": "abc"},
        {"draft": None},
        {"source": "dreamt"},
    ],
)
def test_a_record_that_no_run_wrote_is_a_sentence(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, object]
) -> None:
    weights = with_line(finished / "weights", tmp_path / "w", "v", **change)
    assert inspect.main(["--weights", str(weights), "--id", "v"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.endswith("predictions.jsonl: found something else for v, expected a line as a run writes it")


def test_options_that_the_record_has_no_use_for_are_refused(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    needless = ["--map", "m.svg", "--encoder", "all-MiniLM-L6-v2", "--columns", "ticket=body"]
    assert inspect.main(["--weights", str(finished / "weights"), "--id", "v", *needless]) == 2
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == ["--map", "--encoder", "--columns"]


def test_an_empty_id_is_a_sentence(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect.main(["--weights", str(finished / "weights"), "--id", " "]) == 2
    assert capsys.readouterr().err == "--id: found an empty text, expected the id of a row\n"


def test_all_that_is_wrong_with_a_record_is_said_at_once(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = with_line(finished / "weights", tmp_path / "w", "v", ticket="")
    (weights / "train_rows.jsonl").write_text('{"id": "a"}\n')
    listed_again(weights)
    assert inspect.main(["--weights", str(weights), "--id", "v"]) == 2
    said = capsys.readouterr().err
    assert "predictions.jsonl" in said
    assert "train_rows.jsonl" in said


def test_one_row_of_val_and_the_words_of_its_prompt(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = shown(capsys, "--train", finished / "train.jsonl", "--val", finished / "val.jsonl", "--id", "v", "--prompt")
    assert found["id"] == "v"
    assert found["prompt"]["user"].endswith("Ticket:\nguest seats?")
    assert found["prompt"]["assistant"] == f"intent: {found['predicted_intent']}\nreply:"
    replies = {row["id"]: row["ideal_reply"] for row in ROWS}
    stored = [found["prompt"]["user"].index(replies[name]) for name in found["exemplars"]]
    assert stored == sorted(stored, reverse=True), "best last"


def test_the_prompt_of_a_finished_run_has_as_many_exemplars_as_that_runs(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = inspect_input.checked_run(finished / "weights")
    monkeypatch.setattr(inspect_input, "checked_run", lambda folder: replace(run, exemplars=1))
    (found,) = shown(capsys, "--weights", finished / "weights", "--val", finished / "val.jsonl", "--id", "v", "--prompt")
    assert len(found["exemplars"]) > 1
    assert found["prompt"]["user"].count("\nreply: ") == 1


def test_csv_files_are_read_with_the_names_of_their_columns(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{row['id']};{row['ticket']};{row['intent']};{row['ideal_reply']}\n" for row in ROWS]
    (tmp_path / "t.csv").write_text("".join(["id;body;label;ideal_reply\n", *rows]))
    (tmp_path / "v.csv").write_text("".join(["body\tid\n", *(f"{row['ticket']}\t{row['id']}\n" for row in VAL)]))
    files = ["--train", tmp_path / "t.csv", "--val", tmp_path / "v.csv"]
    expected = shown(capsys, "--train", finished / "train.jsonl", "--val", finished / "val.jsonl")
    assert shown(capsys, *files, "--columns", "ticket=body,intent=label") == expected
    assert inspect.main([*map(str, files), "--columns", "text=body"]) == 2
    said = capsys.readouterr().err
    assert all(piece in said for piece in ('--columns: found the field "text"', "t.csv:1: found no column", "v.csv:1:"))


def test_the_tables_show_what_a_ticket_says_and_do_not_obey_it(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ticket = "\x1b[2J token [red]leaked[/red] :smile:"
    assert inspect.main(["--weights", str(finished / "weights"), "--ticket", ticket, "--prompt"]) == 0
    tables = capsys.readouterr().out
    assert "\x1b[2J" not in tables
    for piece in ("[red]leaked[/red] :smile:", "[b]guest[/b]", "api.token", "ticket_vote x 7", "--- assistant begins"):
        assert piece in tables


def test_each_neighbour_is_shown_with_its_share_in_the_vote(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--weights", finished / "weights", "--ticket", "guest token"]
    (found,) = shown(capsys, *options)
    assert inspect.main([*map(str, options)]) == 0
    tables = capsys.readouterr().out
    heads = "".join(tables.splitlines()[2:5]).replace("┃", " ").split()
    assert {"cosine", "vote", "share", "shared", "words"} <= {*heads}
    lines = {near["id"]: next(x for x in tables.splitlines() if x.split()[1:2] == [near["id"]]) for near in found["neighbours"]}
    for near in found["neighbours"]:
        cells = [cell.strip() for cell in lines[near["id"]].split("│")]
        assert cells[4:6] == [f"{near['cosine']:.3f}", f"{near['vote_share']:.3f}"]
    assert {*lines} == {"a", "b", "c"}


def test_the_stored_faiss_index_decides_who_the_neighbours_are(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = Path(copytree(finished / "weights", tmp_path / "w"))
    options = ["--weights", weights, "--ticket", "rotate my api token"]
    assert shown(capsys, *options)[0]["neighbours"][0]["id"] == "b"
    vectors = faiss.read_index(str(weights / "tickets.faiss")).reconstruct_n(0, 3)
    swapped = faiss.IndexFlatIP(vectors.shape[1])
    swapped.add(np.ascontiguousarray(vectors[[1, 0, 2]]))
    faiss.write_index(swapped, str(weights / "tickets.faiss"))
    listed_again(weights)
    assert shown(capsys, *options)[0]["neighbours"][0]["id"] == "a"


@pytest.mark.parametrize("damage", ["cut", "other rows"])
def test_an_index_that_does_not_belong_to_the_run_is_one_sentence_with_status_1(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    path = Path(copytree(finished / "weights", tmp_path / "w")) / "tickets.faiss"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        fewer = faiss.IndexFlatIP(faiss.read_index(str(path)).d)
        fewer.add(np.eye(2, fewer.d, dtype=np.float32))
        faiss.write_index(fewer, str(path))
    listed_again(path.parent)
    assert inspect.main(["--weights", str(path.parent), "--ticket", "x"]) == 1
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith(f"error: the FAISS index {path} ")


@pytest.mark.parametrize("change", ["rows", "vectors", "record"])
def test_a_folder_that_was_changed_by_hand_is_a_sentence(
    finished: Path, tmp_path: Path, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = Path(copytree(finished / "weights", tmp_path / "w"))
    if change == "rows":
        (weights / "train_rows.jsonl").write_text((weights / "train_rows.jsonl").read_text().splitlines()[0])
    elif change == "vectors":
        (weights / "train_vectors.safetensors").write_bytes(b"nonsense")
    else:
        (weights / "run.json").write_text('{"program": "thirty-tickets", "unfinished": true}')
    assert inspect.main(["--weights", str(weights), "--ticket", "x"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_encoder_of_the_run_is_used_unless_another_is_named(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = Path(copytree(finished / "weights", tmp_path / "w"))
    record = json.loads((weights / "run.json").read_text())
    record["encoder"]["choice"] = "some/encoder"  # a name on a hub
    (weights / "run.json").write_text(json.dumps(record))
    shown(capsys, "--weights", weights, "--ticket", "x")
    assert FakeEncoder.wanted == "some/encoder"
    shown(capsys, "--weights", weights, "--ticket", "x", "--encoder", "another/one")
    assert FakeEncoder.wanted == "another/one"


def test_an_encoder_with_other_weights_than_the_run_s_is_a_sentence(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FakeEncoder, "files", replace(HashEncoder.files, name="another/one", digest="sha256:1"))
    assert inspect.main(["--weights", str(finished / "weights"), "--ticket", "x", "--encoder", "another/one"]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert "the encoder hash has the digest sha256:1, expected the one of the run" in said
    assert said.endswith("hash, sha256:0")


def test_typed_tickets_are_answered_one_by_one_until_an_empty_line(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("rotate the token\nguest seats\n\nnever read\n"))
    found = shown(capsys, "--weights", finished / "weights")
    assert [row["ticket"] for row in found] == ["rotate the token", "guest seats"]


def test_a_map_is_drawn(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown(capsys, "--weights", finished / "weights", "--val", finished / "val.jsonl", "--map", tmp_path / "m.svg")
    assert all(f">{row['id']}<" in (tmp_path / "m.svg").read_text().replace("<!-- ", ">").replace(" -->", "<") for row in VAL)


def test_without_matplotlib_the_status_is_1(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    options = ["--weights", str(finished / "weights"), "--ticket", "x", "--map", str(tmp_path / "m.png")]
    assert inspect.main(options) == 1
    assert "pip install -r requirements-dev.txt" in capsys.readouterr().err


def test_all_problems_are_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--train", tmp_path / "none", "--ticket", " ", "--id", "x", "--map", "m.gif", "--encoder", "./none"]
    assert inspect.main([*map(str, options)]) == 2
    problems = capsys.readouterr().err
    pieces = (
        "none: cannot be read",
        "--ticket: found an empty text",
        "--id: found --ticket",
        "--map m.gif",
        "--encoder",
    )
    assert [piece for piece in pieces if piece not in problems] == []


def test_an_unknown_id_is_named(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--weights", finished / "weights", "--val", finished / "val.jsonl", "--id", "nobody"]
    assert inspect.main([*map(str, options)]) == 2
    assert "--id nobody: found no such row" in capsys.readouterr().err


def test_no_language_model_is_loaded(finished: Path) -> None:
    options = ["--weights", str(finished / "weights"), "--ticket", "guest", "--prompt", "--json"]
    code = f"""
import sys
import numpy as np
from retrieval import inspect, inspect_input, saved_run
class Encoder:
    name, warnings, files = "hash", (), type("Files", (), {{"digest": "sha256:0"}})
    def __init__(self, choice, *, deadline): pass
    def encode(self, texts): return np.full((len(texts), {DIMENSION}), {DIMENSION}**-0.5, dtype=np.float32)
saved_run.load_encoder = Encoder
print([inspect.main({options!r}), *(name for name in sys.modules if name.startswith(("finetune", "peft")))])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[0]"


def test_the_help_and_bad_input_need_no_slow_library() -> None:
    slow = "print([name for name in ('torch', 'sklearn', 'sentence_transformers') if name in sys.modules])"
    for arguments in (["--help"], ["--weights", "no/run", "--ticket", "seat?"]):
        code = f"import sys\nfrom retrieval import inspect\ntry: inspect.main({arguments})\nfinally: {slow}"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.stdout.splitlines()[-1] == "[]"


def test_a_run_with_lm_scores_is_shown_without_them_and_a_note_says_so(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "weights"
    copytree(finished / "weights", weights)
    assert inspect.main(["--weights", str(finished / "weights"), "--ticket", "seat?"]) == 0
    assert "LM intent scores" not in capsys.readouterr().err
    record = json.loads((weights / "run.json").read_text()) | {"lm_scores": {"weight": 0.3, "near_rows": 6}}
    (weights / "run.json").write_text(json.dumps(record))
    assert inspect.main(["--weights", str(weights), "--ticket", "seat?"]) == 0
    assert "note: the run added LM intent scores for unsure tickets" in capsys.readouterr().err


@pytest.fixture(scope="module")
def with_taxonomy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run with a taxonomy, one of whose intents no row has."""
    folder = tmp_path_factory.mktemp("taxonomy")
    tickets = [*VAL, {"id": "x", "ticket": "security audit trail"}]
    for name, rows in (("train", ROWS), ("val", tickets)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    known = {
        "billing.seat": {"description": "do guests need a seat", "synonyms": ["seat"]},
        "api.token": "rotate the api token",
        "access.login": "guest cannot log in",
        "security.audit": "security audit trail of events",
    }
    (folder / "taxonomy.json").write_text(json.dumps(known))
    paths = {"train": "train.jsonl", "val": "val.jsonl", "taxonomy": "taxonomy.json", "weights": "weights", "output": "r.json"}
    options = [text for name, path in paths.items() for text in (f"--{name}", str(folder / path))]
    assert run.main([*options, "--base-model", "none"]) == 0
    return folder


def test_the_taxonomy_of_a_run_is_used_and_a_row_less_intent_is_said_to_be_one(
    with_taxonomy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (with_taxonomy / "weights" / "predictions.jsonl").read_text().splitlines()
    own = {"prediction", "source", "findings", "draft"}
    recorded = [{key: value for key, value in json.loads(line).items() if key not in own} for line in lines]
    assert recorded[2]["predicted_intent"] == "security.audit"
    val = ["--val", with_taxonomy / "val.jsonl"]
    assert shown(capsys, "--weights", with_taxonomy / "weights", *val) == recorded
    train = ["--train", with_taxonomy / "train.jsonl", "--taxonomy", with_taxonomy / "taxonomy.json"]
    assert shown(capsys, *train, *val) == recorded
    (found,) = shown(capsys, "--weights", with_taxonomy / "weights", *val, "--id", "x", "--prompt")
    assert "security.audit: security audit trail of events\n" in found["prompt"]["user"]
    (recorded_one,) = shown(capsys, "--weights", with_taxonomy / "weights", "--id", "x", "--prompt")
    assert recorded_one["prompt"] == found["prompt"]
    assert inspect.main(["--weights", str(with_taxonomy / "weights"), "--ticket", "security audit trail"]) == 0
    assert "no train row has this intent" in capsys.readouterr().out


def test_a_taxonomy_beside_a_finished_run_is_refused(with_taxonomy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--weights", with_taxonomy / "weights", "--taxonomy", with_taxonomy / "taxonomy.json", "--ticket", "x"]
    assert inspect.main([*map(str, options)]) == 2
    assert "found --weights, whose run has its own; expected --train" in capsys.readouterr().err
