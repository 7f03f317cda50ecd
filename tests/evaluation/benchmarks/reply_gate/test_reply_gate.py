import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel

from evaluation import generation
from evaluation.benchmarks.reply_gate.__main__ import main, measure
from evaluation.benchmarks.reply_gate.rules import table
from finetune.generate import Generation, Generations
from retrieval.tickets import LabelledTicket
from tests.evaluation.samples import LABEL, tiny_split, use_hash_encoder
from tests.fakes import HashEncoder, base, row
from tests.test_run import GOOD, write

ROWS = tuple(row(i, f"seat {i}", "billing.seat", f"seat {i} word{i}") for i in range(12))


def use_drafts(patch: pytest.MonkeyPatch, good: set[str], *, far: Collection[str] = ()) -> None:
    """Every draft is the row's own ideal reply, but for the far rows; the check lets those of the good rows pass."""
    ideal = {one.id: one.ideal_reply for one in ROWS if one.id not in far}

    def written(_: Any, __: Any, prompts: Any, **___: Any) -> Generations:
        return Generations({p.row_id: Generation(ideal.get(p.row_id, "no word of it"), 9, 0.1, True) for p in prompts})

    patch.setattr("finetune.reply_writer.generate", written)
    bad = {text for row_id, text in ideal.items() if row_id not in good}
    patch.setattr("finetune.grounding.findings", lambda text, *_, **__: ("no",) if text in bad else ())


def measured(patch: pytest.MonkeyPatch, good: set[str], scale: float = 1.0) -> dict[str, Any]:
    use_drafts(patch, good)
    patch.setattr("finetune.forgetting.scale_gate", lambda *_, **__: (scale, reply_gate_record()))
    return measure(tiny_split(ROWS), base(), HashEncoder(), seed=0)


def reply_gate_record() -> Any:
    from finetune.gates import scale_gate

    return scale_gate({1.0: ([0.01], [0.01])}, seed=0)[1]


def all_ids(rows: tuple[LabelledTicket, ...] = ROWS) -> set[str]:
    return {one.id for one in rows}


def of_a_run(found: dict[str, Any]) -> str:
    return next(
        line["splits that generate"] for line in table([found]) if line["rule"] == "gate, the nearer one: as a run decides"
    )


def test_where_all_drafts_are_good_the_gate_generates(monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured(monkeypatch, all_ids())
    assert [[draft["passed"] for draft in fold] for fold in found["folds"]] == [[True] * 6] * 2
    assert all(draft["draft"] > draft["copy"] and draft["nearer"] > 0 for fold in found["folds"] for draft in fold)
    assert all(draft["draft"] == pytest.approx(1.0) for fold in found["folds"] for draft in fold), "the own ideal reply"
    assert found["untested"] == ""
    assert of_a_run(found) == "1 of 1"
    assert of_a_run(found | {"untested": "no AMX"}) == "0 of 1"


def test_both_folds_are_measured_where_a_run_would_stop_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured(monkeypatch, set())
    assert [[draft["passed"] for draft in fold] for fold in found["folds"]] == [[False] * 6] * 2
    assert (of_a_run(found), len(found["test"])) == ("0 of 1", 2)


def test_a_draft_that_the_stored_reply_was_preferred_to_has_passed_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured(monkeypatch, all_ids())
    for draft in found["test"]:  # "no word of it"
        assert draft["passed"]
        assert draft["nearer"] < 0


def test_so_it_is_in_the_folds_and_the_text_of_every_draft_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    use_drafts(monkeypatch, all_ids() - {ROWS[2].id}, far={ROWS[0].id, ROWS[1].id})
    found = measure(tiny_split(ROWS), base(), HashEncoder(), seed=0)
    by_text: dict[str, Any] = {draft["text"]: draft for fold in found["folds"] for draft in fold}
    assert by_text.keys() == {"no word of it", *(one.ideal_reply for one in ROWS[2:])}
    far, failed, good = (by_text[text] for text in ("no word of it", ROWS[2].ideal_reply, ROWS[3].ideal_reply))
    assert (far["passed"], far["nearer"] < 0, far["findings"]) == (True, True, [])
    assert (failed["passed"], failed["nearer"] > 0, failed["findings"]) == (False, True, ["no"])
    assert (good["passed"], good["nearer"] > 0, good["findings"]) == (True, True, [])


def test_at_scale_0_the_bare_base_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    assert of_a_run(measured(monkeypatch, all_ids(), scale=0.0)) == "1 of 1"


def test_nothing_is_left_on_the_base(monkeypatch: pytest.MonkeyPatch) -> None:
    use_drafts(monkeypatch, set())
    tiny = base()
    measure(tiny_split(ROWS), tiny, HashEncoder(), seed=0)
    assert not isinstance(tiny.model, PeftModel)
    assert not any("lora" in name for name, _ in tiny.model.named_modules())


def test_the_command_prints_a_json_line_for_each_split_and_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_hash_encoder(monkeypatch, generation.__name__)
    monkeypatch.setattr(generation, "load_base", lambda choice: base())
    use_drafts(monkeypatch, set())
    write(tmp_path / "train.jsonl", GOOD, GOOD | {"id": "b", "intent": "api.token"})
    write(tmp_path / "val.jsonl", {"id": "a", "ticket": "a seat?"})
    write(tmp_path / "val_labels.jsonl", LABEL)
    kept = tmp_path / "lines.jsonl"
    assert main(["--split", str(tmp_path), "--jsonl", str(kept)]) == 0
    captured = capsys.readouterr()
    (line,) = (json.loads(line) for line in captured.out.splitlines())
    assert line["untested"].startswith("0 rows have another row of their intent")
    assert "gate, the nearer one: as a run decides" in captured.err
    monkeypatch.setattr(generation, "load_base", lambda choice: pytest.fail("nothing is measured for a report"))
    assert main(["--report", "--jsonl", str(kept)]) == 0
    assert "0 of 1" in capsys.readouterr().err


def test_bad_options_are_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "found neither --split nor --folds" in capsys.readouterr().err
    assert main(["--report"]) == 2
    assert "--report: found no earlier lines" in capsys.readouterr().err
    (tmp_path / "other.jsonl").write_text('{"contestant": "run.py"}\n')
    assert main(["--report", "--jsonl", str(tmp_path / "other.jsonl")]) == 2
    assert "found a line without test, expected the lines of earlier runs of this command" in capsys.readouterr().err
