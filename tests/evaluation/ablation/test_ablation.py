import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.ablation.__main__ import CachingEncoder, main
from evaluation.ablation.comparison import compare, figure, measure, table_line
from evaluation.ablation.outputs import (
    Output,
    adapter,
    as_drafted,
    classifier_of,
    generates,
    lm_scorer,
    prompt_key,
    retrieved,
    run_systems,
)
from evaluation.ablation.systems import FULL, GENERATION, RETRIEVAL, System
from finetune import noisy_channel
from finetune.base_model import BaseModel
from finetune.training_data import TrainingConfig, config_for
from retrieval.gate import Gate
from retrieval.prediction import Reply
from retrieval.retrieve import retrieve
from tests.evaluation.samples import FAR, tiny_split, use_hash_encoder, write_far_drafts
from tests.fakes import ROWS, HashEncoder, base
from tests.finetune.helpers import score_every_ticket
from tests.test_run import GOOD, write

BY_NAME = {system.name: system for system in (*RETRIEVAL, *GENERATION)}
ALWAYS = BY_NAME["reply gate off: always generate"]
BARE = BY_NAME["without LoRA: base with exemplars"]
Prompts = list[tuple[str, str]]


@pytest.fixture(scope="module")
def tiny() -> BaseModel:
    return base()


@pytest.fixture
def prompts(monkeypatch: pytest.MonkeyPatch) -> Prompts:
    """Every prompt that is answered: the kind of model that gets it, and its text."""
    from finetune import reply_writer

    seen: Prompts = []
    plain = reply_writer.generate

    def spied(model: Any, tiny: Any, found: Any, **options: Any) -> Any:
        seen.extend((type(model).__name__, tiny.tokenizer.decode(prompt.ids)) for prompt in found)
        return plain(model, tiny, found, **options | {"max_new_tokens": 4})

    monkeypatch.setattr(reply_writer, "generate", spied)
    return seen


@pytest.mark.parametrize(
    ("scorer", "name"),
    [("ticket_vote", "ticket vote"), ("regression", "regression"), ("reply_vote", "reply vote"), ("bm25", "BM25")],
)
def test_a_scorer_that_is_off_has_no_effect(scorer: str, name: str) -> None:
    system = BY_NAME[f"without {name}"]
    split = tiny_split()
    scores = classifier_of(split, system, seed=0).score(split.vectors, [ticket.text for ticket in split.tickets])
    negated = replace(scores.scorers, **{scorer: -getattr(scores.scorers, scorer)})
    assert negated.log_probabilities(system.weights).tolist() == scores.log_probabilities.tolist()
    full = BY_NAME[FULL].weights
    assert negated.log_probabilities(full).tolist() != scores.scorers.log_probabilities(full).tolist()


def test_names_that_are_off_are_ignored_and_a_gate_that_is_off_lets_them_in() -> None:
    split = tiny_split([replace(found, intent=f"class_{i % 3}") for i, found in enumerate(ROWS)])
    assert classifier_of(split, BY_NAME["label-name gate off: names always"], seed=0).with_names
    assert not classifier_of(split, BY_NAME[FULL], seed=0).with_names, "names that mean nothing do not pass the gate"
    assert not classifier_of(tiny_split(), BY_NAME["without label names"], seed=0).with_names


def test_the_ticket_vote_alone_is_that() -> None:
    alone = BY_NAME["ticket vote alone"]
    assert (alone.weights.regression, alone.weights.reply_vote, alone.weights.bm25, alone.names) == (0, 0, 0, "never")
    assert alone.weights.ticket_vote > 0


def test_half_of_the_rows_are_half_and_cover_every_intent() -> None:
    kept = classifier_of(tiny_split(), BY_NAME["half of the rows, the most representative"], seed=0).train_set
    assert len(kept.rows) == len(ROWS) // 2
    assert {found.intent for found in kept.rows} == {found.intent for found in ROWS}


def test_prompts_hold_exemplars_unless_they_are_off(tiny: BaseModel, prompts: Prompts) -> None:
    """And the base itself writes without LoRA."""
    (found,), gate = run_systems(tiny_split(), [BARE], tiny, HashEncoder(), seed=0)
    assert {text.count("\nreply: ") for _, text in prompts} == {config_for(tiny).exemplars}, "as many as in a run"
    assert {kind for kind, _ in prompts} == {"LlamaForCausalLM"}
    assert gate is None, "the reply gate belongs to the full system"
    prompts.clear()
    (found,), _ = run_systems(tiny_split(), [replace(BARE, exemplars=False)], tiny, HashEncoder(), seed=0)
    assert not any("Stored replies:" in text for _, text in prompts)
    assert all(reply.text for reply in found.replies), "what fails the check is still replaced by a stored reply"


def test_only_the_system_that_says_so_gives_drafts_that_are_farther_from_the_ticket(
    tiny: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_far_drafts(monkeypatch)
    every = replace(BARE, name="every", nearer=False)
    outputs, _ = run_systems(tiny_split(), [BARE, every], tiny, HashEncoder(), seed=0)
    for output, source in zip(outputs, ("copied", "generated"), strict=True):
        assert [reply.source for reply in output.replies] == [source] * 2
        assert [reply.text == FAR for reply in output.replies] == [source == "generated"] * 2
    assert [system.name for system in GENERATION if not system.nearer] == ["every draft that passes, nearer or not"]


def test_the_prompts_without_exemplars_are_those_of_the_systems_that_say_so() -> None:
    off = {system.name for system in GENERATION if not system.exemplars}
    assert off == {"without exemplars in the prompt", "LoRA without exemplars anywhere"}
    assert [system.name for system in GENERATION if not system.grounded] == ["without the grounding check"]


def spy_on_training(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, float]]:
    """The epochs and the learning rate of every training that `evaluation.generation` starts; nothing is trained."""
    from evaluation import generation

    seen: list[tuple[Any, float]] = []

    def spied(model: Any, epochs: Any, *, learning_rate: float, **options: Any) -> None:
        seen.append((epochs, learning_rate))

    monkeypatch.setattr(generation, "train", spied)
    return seen


def test_training_without_exemplars_has_none_in_its_examples(tiny: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = spy_on_training(monkeypatch)
    with adapter(tiny_split(), "no exemplars", tiny, HashEncoder(), seed=0) as (model, _):
        assert type(model).__name__ == "PeftModelForCausalLM"
    ((epochs, learning_rate),) = trained
    texts = [tiny.tokenizer.decode(example.ids) for epoch in epochs for example in epoch]
    assert len(texts) == TrainingConfig().epochs * len(ROWS)
    assert not any("Stored replies:" in text for text in texts)
    assert learning_rate == TrainingConfig().learning_rate


def test_the_full_system_is_the_run_and_every_adapter_is_off_again_afterwards(tiny: BaseModel, prompts: Prompts) -> None:
    before = {name: weight.tolist() for name, weight in tiny.model.state_dict().items()}
    found, gate = run_systems(tiny_split(), [BY_NAME[FULL], ALWAYS], tiny, HashEncoder(), seed=0)
    assert gate is not None
    assert not gate.passed, "six rows are too few for its evidence"
    assert {kind for kind, _ in prompts[-2:]} == {"PeftModelForCausalLM"}
    sources = [{reply.source for reply in output.replies} for output in found]
    assert sources[0] == {"copied"}
    assert sources[1] <= {"generated", "replaced"}
    assert {name: weight.tolist() for name, weight in tiny.model.state_dict().items()} == before


def test_a_draft_is_written_once_for_all_systems_that_ask_for_it(tiny: BaseModel, prompts: Prompts) -> None:
    run_systems(tiny_split(), [BARE, replace(BARE, name="again")], tiny, HashEncoder(), seed=0)
    assert len(prompts) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda found: replace(found, exemplars=found.exemplars[:1]),
        lambda found: replace(found, intents=found.intents[1:]),
        lambda found: replace(found, ticket=replace(found.ticket, id="other")),
    ],
)
def test_another_prompt_is_another_draft(change: Callable[[Any], Any]) -> None:
    split = tiny_split()
    found = retrieve(classifier_of(split, ALWAYS, seed=0), split.tickets, split.vectors)[0]
    assert prompt_key(ALWAYS, found) == prompt_key(replace(ALWAYS, name="again"), found)
    assert prompt_key(ALWAYS, found) != prompt_key(ALWAYS, change(found))
    assert prompt_key(ALWAYS, found) != prompt_key(replace(ALWAYS, exemplars=False), found)


def test_without_the_grounding_check_the_draft_is_the_reply() -> None:
    replaced = Reply("stored", "replaced", ("it never ended",), "draft")
    assert as_drafted(replaced).text == "draft"
    assert as_drafted(Reply("stored", "copied")).text == "stored"


@pytest.mark.parametrize(("replies", "passed", "written"), [
    ("gate", True, True), ("gate", False, False), ("generated", False, True), ("copied", True, False),
])  # fmt: skip
def test_the_reply_gate_decides_only_where_it_is_on(replies: Any, passed: bool, written: bool) -> None:
    gate = Gate("replies", passed, "", "", "", None, 0, None, "")
    assert generates(System("x", replies=replies), gate) is written


def test_no_text_is_embedded_twice() -> None:
    plain, caching = HashEncoder(), CachingEncoder(HashEncoder())
    for texts in (["a b", "c", "a b"], ["c", "d"], []):
        assert caching.encode(texts).tolist() == plain.encode(texts).tolist()
    counting = HashEncoder()
    caching = CachingEncoder(counting)
    caching.encode(["x", "y", "x"])
    caching.encode(["y", "z"])
    assert counting.asked == ["x", "y", "z"]


def test_differences_are_paired_with_the_reference_and_have_its_sign() -> None:
    split, full, worse = tiny_split(), System(FULL), System("worse")
    good = tuple(Reply(label.ideal_reply, "copied") for label in split.labels)
    bad = tuple(Reply("Nothing of this.", "copied") for _ in split.labels)
    outputs = [Output(full, ("billing.seat", "api.token"), good), Output(worse, ("billing.seat", "billing.seat"), bad)]
    line = measure(split, outputs, None, HashEncoder(), settings={})
    first, second = compare([line, line], seed=0)
    assert (first.intents.mean, first.intents.difference, first.quality.difference) == (1.0, 0.0, 0.0)
    assert (second.intents.mean, second.intents.difference) == (0.5, -0.5)
    assert second.quality.high < 0
    assert (second.sources, second.rows) == ({"copied": 4}, 4), "over both splits"
    assert table_line(first)["minus reference"] == ""
    assert table_line(second)["minus reference"].startswith("[bold]-"), "its interval leaves out zero"


def test_the_interval_is_the_percentiles_of_the_resampled_differences() -> None:
    found = figure([0.5, 0.7], [0.25, 0.45], seed=0)
    assert (found.difference, found.low, found.high) == (pytest.approx(0.25), pytest.approx(0.25), pytest.approx(0.25))
    values = np.random.default_rng(1).normal(size=50)
    draws = np.random.default_rng(7).integers(50, size=(2000, 50))
    found = figure(values.tolist(), [0.0] * 50, seed=7)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values[draws].mean(axis=1), [0.025, 0.975])))


def test_retrieval_alone_is_compared_printed_and_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_hash_encoder(monkeypatch, "evaluation.ablation.__main__")
    rows = [GOOD | {"id": f"{i}", "ticket": f"{text.text} {i}", "intent": text.intent} for i, text in enumerate(2 * ROWS)]
    options = ["--folds", str(write(tmp_path / "rows.jsonl", *rows)), "--splits", "1", "--base-model", "none"]
    options += ["--jsonl", str(lines := tmp_path / "lines.jsonl"), "--out", str(tmp_path / "out")]
    assert main(options) == 0
    assert "retrieval alone: replies copied" in (table := capsys.readouterr().out)
    assert [json.loads(line)["split"] for line in lines.read_text().splitlines()] == ["split 0"]
    assert main(["--report", *options[-4:]]) == 0
    assert capsys.readouterr().out == table, "nothing was measured again"
    assert main(options) == 2
    assert "found split 0 more than once" in capsys.readouterr().err
    assert main([*options, "--first-split", "1", "--seed", "1"]) == 2
    assert "found lines of other options or files" in capsys.readouterr().err
    assert main([*options, "--first-split", "1"]) == 0
    assert len(lines.read_text().splitlines()) == 2
    found = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert [line["name"] for line in found] == [system.name for system in RETRIEVAL]
    assert {source for line in found for source in line["sources"]} == {"copied"}
    assert (tmp_path / "out" / "ablation.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "expected one of them"),
        (["--train", "t"], "found only --train, expected --train, --val and --labels together"),
        (["--folds", "none.jsonl"], "none.jsonl: cannot be read"),
        (["--first-split", "2"], "--first-split 2: found no --folds, expected files to draw splits from"),
        (["--folds", "none.jsonl", "--base-model", "./x"], "--base-model ./x"),
    ],
)
def test_bad_options_are_a_sentence(
    options: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_hash_encoder(monkeypatch, "evaluation.ablation.__main__")
    assert main([*options, *([] if "--base-model" in options else ["--base-model", "none"])]) == 2
    assert said in capsys.readouterr().err


def test_a_question_is_scored_once_for_all_systems_and_without_lm_scores_none_is_used(
    tiny: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    score_every_ticket(monkeypatch)
    split, asked = tiny_split(), list[int]()
    compute = noisy_channel.NoisyChannel.score

    def counted(self: Any, questions: Any) -> Any:
        asked.append(len(questions))
        return compute(self, questions)

    monkeypatch.setattr(noisy_channel.NoisyChannel, "score", counted)
    classifier = classifier_of(split, BY_NAME[FULL], seed=0)
    scorer = lm_scorer(classifier, tiny, seed=0)
    assert scorer is not None
    with_scores = [retrieved(split, classifier, HashEncoder(), BY_NAME[FULL], scorer) for _ in range(2)]
    without = retrieved(split, classifier, HashEncoder(), BY_NAME["without LM intent scores"], scorer)
    assert asked == [len(ROWS), 2, 0], "the train rows, the two tickets, and nothing new"
    assert with_scores[0] == with_scores[1]
    assert any(score.lm_score is not None for score in with_scores[0][0].intents)
    assert all(score.lm_score is None for found in without for score in found.intents)
