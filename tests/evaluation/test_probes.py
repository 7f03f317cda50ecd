from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import pytest

from evaluation import probes
from evaluation.ablation.comparison import Figure
from evaluation.ablation.outputs import Output
from evaluation.ablation.systems import System
from evaluation.probes import (
    ADAPTER,
    BARE,
    QUALITY,
    RETRIEVAL,
    difference_line,
    differences,
    main,
    print_outputs,
    system_line,
    verdict,
)
from evaluation.score.grading import GRADING_ENCODER, RowScore, score_rows
from evaluation.score.labels import Label
from evaluation.score.results import ResultRow
from retrieval.prediction import Reply
from tests.evaluation.samples import write_far_drafts
from tests.fakes import ROWS, HashEncoder, base
from tests.test_run import write

LABELS = [
    {"id": "p1", "intent": "billing.seat", "ideal_reply": "Guests need no seat on any plan.", "must_mention": [["no seat"]]},
    {"id": "p2", "intent": "api.token", "ideal_reply": "Press Revoke.", "must_mention": [["Revoke"], ["at once"]]},
]


class FallbackEncoder(HashEncoder):
    """What takes the place of an encoder that was wanted; keeps the texts that each of them was given."""

    warnings = ("another one was wanted",)
    given: ClassVar[dict[str, list[str]]] = {}

    def __init__(self, choice: str) -> None:
        super().__init__()
        self.name = f"hash for {choice}"
        self.given[choice] = self.asked


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The options that name a train set of six rows, and two probes of it."""
    monkeypatch.setattr(probes, "load_encoder", FallbackEncoder)
    rows = [{"ticket": row.text} | asdict(row) for row in ROWS]
    write(tmp_path / "train.jsonl", *rows)
    tickets = [
        {"id": "p1", "ticket": "do guests need no seat on any plan"},
        {"id": "p2", "ticket": "press revoke, my token leaked"},
    ]
    write(tmp_path / "probes.jsonl", *tickets)
    write(tmp_path / "labels.jsonl", *({"kind": "probe"} | label for label in LABELS))
    return [text for name in ("train", "probes", "labels") for text in (f"--{name}", str(tmp_path / f"{name}.jsonl"))]


@pytest.fixture
def prompts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Every prompt that is answered by a tiny base: the kind of model that gets it, and its text."""
    from finetune import reply_writer

    seen: list[tuple[str, str]] = []
    plain = reply_writer.generate

    def spied(model: Any, tiny: Any, found: Any, **options: Any) -> Any:
        seen.extend((type(model).__name__, tiny.tokenizer.decode(prompt.ids)) for prompt in found)
        return plain(model, tiny, found, **options | {"max_new_tokens": 4})

    monkeypatch.setattr(reply_writer, "generate", spied)
    monkeypatch.setattr(probes, "load_base", lambda source: base())
    return seen


def cells(said: str, name: str) -> str:
    """The rest of the table's line that begins with this name, with single spaces."""
    (line,) = [line.strip() for line in said.splitlines() if line.strip().startswith(f"{name}  ")]
    return " ".join(line.removeprefix(name).split())


def output_of(rows: list[RowScore], system: System = ADAPTER) -> Output:
    replies = tuple(Reply(row.reply, "generated") for row in rows)
    return Output(system, tuple(row.predicted_intent for row in rows), replies)


def graded(replies: list[str], *, intent: str = "i") -> list[RowScore]:
    labels = {f"{i}": Label(f"{i}", ("i",), "a b c d", (("a",), ("b",)), ("z",)) for i in range(len(replies))}
    predictions = {key: ResultRow(intent, reply) for key, reply in zip(labels, replies, strict=True)}
    return score_rows(predictions, labels, HashEncoder())


def test_retrieval_alone_is_one_line_and_needs_no_base(
    files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(probes, "load_base", lambda source: pytest.fail("a base was loaded"))
    assert main([*files, "--base-model", "none"]) == 0
    said = capsys.readouterr()
    assert cells(said.out, "retrieval alone").startswith("2 of 2 0.")
    assert cells(said.out, "retrieval alone").endswith(" 3 of 3 0 2 copied")
    assert "adapter" not in said.out
    assert "encoder hash for auto; another one was wanted" in said.err
    assert "my token leaked" in FallbackEncoder.given["auto"], "it retrieves"
    assert LABELS[1]["ideal_reply"] in FallbackEncoder.given[GRADING_ENCODER], "another one may grade"
    assert LABELS[1]["ideal_reply"] not in FallbackEncoder.given["auto"]


def test_base_and_adapter_both_generate_with_exemplars_and_stand_beside_retrieval(
    files: list[str], prompts: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(files) == 0
    said = capsys.readouterr()
    bare, tuned = prompts[:2], prompts[-2:]
    assert {kind for kind, _ in bare} == {"LlamaForCausalLM"}
    assert {kind for kind, _ in tuned} == {"PeftModelForCausalLM"}
    assert [text for _, text in bare] == [text for _, text in tuned], "the same prompts"
    assert all("Stored replies:" in text for _, text in bare)
    assert cells(said.out, "retrieval alone").endswith("2 copied")
    for name in ("bare base", "adapter"):
        assert "copied" not in cells(said.out, name), "the reply gate has no say"
        assert "2 replaced" in cells(said.out, name), "four random tokens do not pass the check"
    assert cells(said.out, "adapter minus bare base").startswith("+0.0 (+0.0 .. +0.0) +0.000 (+0.000 .. +0.000) +0.0 (")
    assert "2 probes show no difference" in said.out
    assert "the reply gate, which these systems leave aside, says copy" in said.err


def test_drafts_are_given_however_far_from_the_probe_they_are(
    files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_far_drafts(monkeypatch)
    monkeypatch.setattr(probes, "load_base", lambda source: base())
    assert main(files) == 0
    said = capsys.readouterr().out
    for name in ("bare base", "adapter"):
        assert cells(said, name).endswith("2 generated")


def test_differences_are_adapter_minus_bare_base_in_the_columns_of_the_table() -> None:
    bare, adapter = graded(["a b c d", "b", "b"], intent="other"), graded(["a b c d", "a b", "z"])
    found = differences(adapter, bare, seed=0)
    line = difference_line(found, 3)
    assert list(line) == list(system_line(output_of(adapter), adapter))
    assert line["intents"] == "+3.0 (+3.0 .. +3.0)"
    assert line["required facts"].startswith("+0.0 (-")
    assert line["wrong facts"].startswith("+1.0 (+0.0 .. +")
    quality = [ours.quality - theirs.quality for ours, theirs in zip(adapter, bare, strict=True)]
    assert found[QUALITY].difference == pytest.approx(sum(quality) / 3)
    assert line[QUALITY].startswith(f"{sum(quality) / 3:+.3f} (")


def test_the_adapter_is_compared_with_the_bare_base_and_not_with_retrieval(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {RETRIEVAL: graded(["a b c d", "a b c d"]), BARE: graded(["a", "b"]), ADAPTER: graded(["z a b", "z a"])}
    print_outputs([output_of(own, system) for system, own in rows.items()], [*rows.values()], seed=0)
    said = capsys.readouterr().out
    assert "4 of 4 0 2 generated" in cells(said, "retrieval alone")
    assert "2 of 4 0 2 generated" in cells(said, "bare base")
    assert "3 of 4 2 2 generated" in cells(said, "adapter")
    assert " +1.0 (+0.0 .. +2.0) +2.0 (+2.0 .. +2.0)" in cells(said, "adapter minus bare base")
    assert "worse" in said


@pytest.mark.parametrize(("low", "high", "said"), [
    (-0.2, -0.1, "worse"), (0.1, 0.2, "better"), (-0.1, 0.2, "no difference"), (-0.1, 0.0, "no difference"),
    (0.0, 0.1, "no difference"),
])  # fmt: skip
def test_only_an_interval_without_zero_says_that_tuning_did_something(low: float, high: float, said: str) -> None:
    assert said in verdict(Figure(0.5, (low + high) / 2, low, high), 20)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda files: [*files, "--seed", "-1"], "--seed: found -1, expected a whole number from 0"),
        (lambda files: [*files, "--seed", str(2**32)], "--seed: found 4294967296"),
        (lambda files: [*files, "--base-model", "./x"], "--base-model ./x: found"),
        (lambda files: [*files, "--encoder", "./x"], "--encoder ./x: found no such folder"),
        (lambda files: [*files, "--probes", "none.jsonl"], "none.jsonl: cannot be read"),
        (lambda files: [*files, "--labels", files[1]], "train.jsonl: found no label for p1, p2, expected one for every row"),
    ],
)
def test_bad_input_is_a_sentence(
    files: list[str], change: Callable[[list[str]], list[str]], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(change(files)) == 2
    assert said in capsys.readouterr().err
