import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from evaluation.benchmarks import stages
from evaluation.benchmarks.stages import main, measure, operations, table_line, write
from finetune.base_selection import BaseCandidate
from tests.evaluation.samples import use_hash_encoder
from tests.fakes import base
from tests.test_run import GOOD
from tests.test_run import write as write_rows


def test_the_precisions_take_turns_and_the_first_round_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    clock = iter(float(second) for second in range(100))
    monkeypatch.setattr("evaluation.benchmarks.gpu.time", SimpleNamespace(monotonic=lambda: next(clock)))
    parts: Any = {p: {name: lambda p=p, name=name: done.append(f"{p} {name}") for name in ("a", "b")} for p in ("fp32", "bf16")}
    found = measure(parts, rounds=2)
    assert done == ["fp32 a", "bf16 a", "fp32 b", "bf16 b"] * 3
    assert found == {(p, name): [1.0, 1.0] for p in ("fp32", "bf16") for name in ("a", "b")}


def test_operations_are_two_for_each_weight_and_row() -> None:
    assert operations(lambda: torch.ones(3, 4) @ torch.ones(4, 5)) == 2 * 3 * 4 * 5


def test_a_line_has_the_median_and_its_share_of_the_matrix_rate() -> None:
    line = table_line("bf16", "a step", [1.0, 4.0, 2.0], operations=int(3e12), rate=6e12)
    assert (line["seconds"], line["10^9 a second"], line["of matrix rate"]) == ("2.00", "1500", "25%")


@pytest.mark.parametrize("tokens", [1, 3])
def test_so_many_tokens_are_written_behind_prompts_of_any_length(tokens: int) -> None:
    tiny = base()
    tiny.model.generation_config.eos_token_id = list(range(len(tiny.tokenizer) - 1))
    found = write(tiny.model, [(1, 2, 3), (4, 5)], tokens)
    assert found[:, :3].tolist() == [[1, 2, 3], [0, 4, 5]]
    assert found.shape == (2, 3 + tokens)


def test_every_part_of_both_precisions_is_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_hash_encoder(monkeypatch, stages.__name__)
    loaded: list[BaseCandidate] = []

    def load(candidate: BaseCandidate) -> Any:
        loaded.append(candidate)
        return base()

    monkeypatch.setattr(stages, "load_candidate", load)
    monkeypatch.setattr(stages, "MATRIX", 8)
    monkeypatch.setattr(stages, "NEW_TOKENS", 2)
    rows = [GOOD | {"id": f"t{i}", "ticket": f"question {i}", "intent": f"a.{i % 2}"} for i in range(4)]
    status = main(["--train", str(write_rows(tmp_path / "t.jsonl", *rows)), "--rounds", "1"])
    said = capsys.readouterr()
    assert status == 0, said.err
    assert [candidate.precision for candidate in loaded] == ["fp32", "bf16"]
    for part in (
        "embed 4 tickets",
        "prompt without a gradient",
        "gradient through the",
        "losses of 4 rows",
        "of 1 token",
        "of 2 tokens",
    ):
        assert said.out.count(part) == (1 if part.startswith("embed") else 2), part


def test_bad_input_is_a_sentence_for_each_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.modules[stages.__name__], "load_encoder", lambda _: pytest.fail("loaded"))
    bad = str(write_rows(tmp_path / "t.jsonl", {"id": "x"}))
    assert main(["--train", bad, "--base-model", "none", "--encoder", "nowhere"]) == 2
    said = capsys.readouterr().err
    assert "t.jsonl:1:" in said
    assert "--base-model none" in said
    assert "--encoder nowhere" in said
