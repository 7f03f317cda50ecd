import sys
from pathlib import Path

import pytest

from evaluation.benchmarks import gpu
from evaluation.benchmarks.gpu import SAME, linear_weights, main, matrix_rate
from finetune.base_selection import SMALL, BaseCandidate
from tests.evaluation.samples import use_hash_encoder
from tests.fakes import base
from tests.test_run import GOOD, write


def test_the_vocabulary_is_not_counted_among_the_linear_weights() -> None:
    tiny = base()
    vocabulary = tiny.model.get_input_embeddings().weight.numel()
    assert linear_weights(tiny) == tiny.parameters - 2 * vocabulary, "input and output apart"
    tiny.model.lm_head.weight = tiny.model.model.embed_tokens.weight
    assert linear_weights(tiny) == tiny.parameters - vocabulary, "one matrix for both counts once"


def test_the_whole_way_with_a_tiny_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The random checkpoint is loaded, trained and asked twice; the small base, which lends its tokenizer, is a fake."""
    use_hash_encoder(monkeypatch, gpu.__name__)
    monkeypatch.setattr(gpu, "SHAPES", tmp_path)
    monkeypatch.setattr(gpu, "GPU", False)
    monkeypatch.setitem(gpu.SIZES, "tiny", (2, 3, 4))
    load = gpu.load_candidate

    def without_the_small_one(candidate: BaseCandidate) -> object:
        return base() if candidate == SMALL else load(candidate)

    monkeypatch.setattr(gpu, "load_candidate", without_the_small_one)
    small = (Path(__file__).parents[3] / "evaluation/benchmarks/shapes/tiny.json").read_text()
    (tmp_path / "tiny.json").write_text(small.replace("49152", str(len(base().tokenizer))))
    rows = [GOOD | {"id": f"t{i}", "ticket": f"question {i}", "intent": f"a.{i % 3}"} for i in range(6)]
    files = ["--train", str(write(tmp_path / "t.jsonl", *rows)), "--val", str(write(tmp_path / "v.jsonl", GOOD))]
    status = main([*files, "--shape", "tiny"])
    said = capsys.readouterr()
    assert status == 0, said.err
    assert SAME in said.out
    assert "NO" not in said.out.split("TFLOP")[0].replace("no GPU", "")
    assert matrix_rate() > 0


def test_bad_rows_are_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.modules[gpu.__name__], "matrix_rate", lambda: 1.0)
    files = ["--train", str(write(tmp_path / "t.jsonl", {"id": "x"})), "--val", str(write(tmp_path / "v.jsonl", GOOD))]
    assert main([*files, "--shape", "tiny"]) == 2
    assert "t.jsonl:1:" in capsys.readouterr().err
