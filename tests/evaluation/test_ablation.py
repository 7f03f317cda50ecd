from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluation.labels import Label
from evaluation.outcomes import compare, figure
from evaluation.remembering import RememberingEncoder
from evaluation.splits import Split, draw, prepare
from evaluation.switched import Answered, adapter_of, answer_all, as_drafted, classifier_of, writes
from evaluation.systems import FULL, RETRIEVAL, WRITING, System, config_of
from finetune.training_data import TrainingConfig
from retrieval.gate import Gate
from retrieval.replies import Question, Reply
from retrieval.tickets import Ticket
from tests.fakes import ROWS, HashEncoder, base, row

BY_NAME = {system.name.strip(): system for system in (*RETRIEVAL, *WRITING)}
ALWAYS = BY_NAME["reply gate off: always generate"]


def tiny_desk(rows: Sequence[Any] = ROWS) -> Split:
    tickets = [Ticket("v1", "do guests need seats"), Ticket("v2", "the token leaked")]
    labels = [
        Label("v1", ("billing.seat",), ROWS[0].ideal_reply, (), ()),
        Label("v2", ("api.token",), ROWS[3].ideal_reply, (), ()),
    ]
    return prepare("tiny", rows, tickets, labels, HashEncoder())


@pytest.fixture
def prompts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Every prompt that is written: the kind of model that gets it, and its text."""
    from finetune import reply_writer

    seen: list[tuple[str, str]] = []
    plain = reply_writer.generate

    def spied(model: Any, tiny: Any, found: Any, **options: Any) -> Any:
        seen.extend((type(model).__name__, tiny.tokenizer.decode(prompt.ids)) for prompt in found)
        return plain(model, tiny, found, **options | {"max_new_tokens": 4})

    monkeypatch.setattr(reply_writer, "generate", spied)
    return seen


@pytest.mark.parametrize("scorer", ["neighbours", "regression", "replies", "lexical"])
def test_a_view_that_is_off_has_no_say(scorer: str) -> None:
    name = {"neighbours": "neighbour score", "regression": "regression", "replies": "reply scorer", "lexical": "BM25"}[scorer]
    weights = BY_NAME[f"without {name}"].weights
    assert getattr(weights, scorer) == 0
    intent_scores = classifier_of(tiny_desk(), BY_NAME[f"without {name}"], seed=0).score(
        tiny_desk().vectors, ["do guests need seats", "the token leaked"]
    )
    turned = replace(intent_scores.scorers, **{scorer: -getattr(intent_scores.scorers, scorer)})
    assert turned.combined(weights).tolist() == intent_scores.log_probabilities.tolist()
    assert turned.combined(BY_NAME[FULL].weights).tolist() != intent_scores.scorers.combined(BY_NAME[FULL].weights).tolist()


def test_names_that_are_off_are_ignored_and_a_gate_that_is_off_lets_them_in() -> None:
    train_set = tiny_desk([replace(found, intent=f"class_{i % 3}") for i, found in enumerate(ROWS)])
    assert classifier_of(train_set, BY_NAME["names gate off: names always"], seed=0).with_names
    assert not classifier_of(train_set, BY_NAME[FULL], seed=0).with_names, "names that mean nothing do not pass the gate"
    assert not classifier_of(tiny_desk(), BY_NAME["without intent names"], seed=0).with_names


def test_the_neighbour_vote_alone_is_that() -> None:
    alone = BY_NAME["neighbour score alone"]
    assert (alone.weights.regression, alone.weights.replies, alone.weights.lexical, alone.names) == (0, 0, 0, "never")
    assert alone.weights.neighbours > 0


def test_half_of_the_rows_are_half_and_cover_every_intent() -> None:
    kept = classifier_of(tiny_desk(), BY_NAME["half of the rows, the most representative"], seed=0).train_set
    assert len(kept.rows) == len(ROWS) // 2
    assert {found.intent for found in kept.rows} == {found.intent for found in ROWS}


@pytest.mark.parametrize("name", [ALWAYS.name, "without exemplars in training", "without LoRA: base with exemplars"])
def test_prompts_hold_exemplars_unless_they_are_off(name: str, prompts: list[tuple[str, str]]) -> None:
    tiny = base()
    answer_all(tiny_desk(), [replace(BY_NAME[name], shown=4)], tiny, HashEncoder(), seed=0)
    assert all("Stored replies:" in text for _, text in prompts)
    prompts.clear()
    (found,), _ = answer_all(tiny_desk(), [replace(BY_NAME[name], shown=0)], tiny, HashEncoder(), seed=0)
    last = prompts[-2:]
    assert not any("Stored replies:" in text for _, text in last)
    assert all(reply.text for reply in found.replies), "what fails the check is still replaced by a stored reply"


def test_the_prompts_without_exemplars_are_those_of_the_systems_that_say_so() -> None:
    off = {system.name.strip() for system in WRITING if system.shown == 0}
    assert off == {"without exemplars in the prompt", "LoRA without exemplars anywhere"}


def test_training_without_exemplars_has_none_in_its_lessons(monkeypatch: pytest.MonkeyPatch) -> None:
    from evaluation import switched

    seen: list[str] = []
    plain = switched.tune

    def spied(model: Any, epochs: Any, **options: Any) -> Any:
        seen.extend(tiny.tokenizer.decode(example.ids) for epoch in epochs for example in epoch)
        return plain(model, epochs, **options)

    tiny = base()
    monkeypatch.setattr(switched, "tune", spied)
    with adapter_of(tiny_desk(), "no exemplars", tiny, HashEncoder(), seed=0) as (model, _):
        assert type(model).__name__ == "PeftModelForCausalLM"
    assert len(seen) == 2 * len(ROWS)
    assert not any("Stored replies:" in text for text in seen)
    assert config_of("full", TrainingConfig()) == TrainingConfig()


def test_without_lora_the_base_itself_writes(prompts: list[tuple[str, str]]) -> None:
    answer_all(tiny_desk(), [BY_NAME["without LoRA: base with exemplars"]], base(), HashEncoder(), seed=0)
    assert {kind for kind, _ in prompts} == {"LlamaForCausalLM"}


def test_every_adapter_is_off_again_afterwards() -> None:
    tiny = base()
    before = {name: weight.tolist() for name, weight in tiny.model.state_dict().items()}
    answer_all(tiny_desk(), [BY_NAME[FULL], BY_NAME["without exemplars in training"]], tiny, HashEncoder(), seed=0)
    assert {name: weight.tolist() for name, weight in tiny.model.state_dict().items()} == before


def test_a_draft_is_written_once_for_all_systems_that_ask_for_it(prompts: list[tuple[str, str]]) -> None:
    systems = [
        BY_NAME["without LoRA: base with exemplars"],
        replace(BY_NAME["without LoRA: base with exemplars"], name="again"),
    ]
    answer_all(tiny_desk(), systems, base(), HashEncoder(), seed=0)
    assert len(prompts) == 2


def test_without_grounding_the_draft_is_the_reply() -> None:
    replaced = Reply("stored", "replaced", ("it never ended",), "draft")
    assert as_drafted(replaced).text == "draft"
    assert as_drafted(Reply("stored", "copied")).text == "stored"
    assert [system.name.strip() for system in WRITING if not system.grounded] == ["without grounding"]


@pytest.mark.parametrize(("replies", "passed", "written"), [
    ("gate", True, True), ("gate", False, False), ("generated", False, True), ("copied", True, False),
])  # fmt: skip
def test_the_reply_gate_decides_only_where_it_is_on(replies: Any, passed: bool, written: bool) -> None:
    gate = Gate("replies", passed, "", None, 0, None, "")
    assert writes(System("x", replies=replies), gate) is written


def test_no_text_is_embedded_twice() -> None:
    plain, asked = HashEncoder(), RememberingEncoder(HashEncoder())
    for texts in (["a b", "c", "a b"], ["c", "d"], []):
        assert asked.encode(texts).tolist() == plain.encode(texts).tolist()
    counting = HashEncoder()
    remembering = RememberingEncoder(counting)
    remembering.encode(["x", "y", "x"])
    remembering.encode(["y", "z"])
    assert counting.asked == ["x", "y", "z"]


def test_without_a_base_everything_is_copied() -> None:
    found, gate = answer_all(tiny_desk(), RETRIEVAL, None, HashEncoder(), seed=0)
    assert gate is None
    assert {reply.source for answered in found for reply in answered.replies} == {"copied"}


def test_differences_are_paired_with_the_reference_and_have_its_sign() -> None:
    train_set, full, worse = tiny_desk(), System(FULL), System("worse")
    good = tuple(Reply(label.ideal_reply, "copied") for label in train_set.labels)
    bad = tuple(Reply("Nothing of this.", "copied") for _ in train_set.labels)
    answered = [Answered(full, ("billing.seat", "api.token"), good), Answered(worse, ("billing.seat", "billing.seat"), bad)]
    first, second = compare([(train_set, answered)], HashEncoder(), seed=0)
    assert (first.intents.mean, first.intents.difference, first.quality.difference) == (1.0, 0.0, 0.0)
    assert (second.intents.mean, second.intents.difference) == (0.5, -0.5)
    assert second.quality.high < 0
    assert second.sources == {"copied": 2}


def test_the_interval_of_a_constant_difference_is_that_difference() -> None:
    found = figure([0.5, 0.7], [0.25, 0.45], seed=0)
    assert (found.difference, found.low, found.high) == (pytest.approx(0.25), pytest.approx(0.25), pytest.approx(0.25))


def test_a_split_keeps_test_rows_out_of_training_and_is_another_one_for_another_seed() -> None:
    rows = [row(i, f"ticket {i}", f"intent.{i % 5}", f"reply {i}") for i in range(40)]
    train, test = draw(rows, intents=4, per_intent=2, tests=10, seed=0)
    assert (len(train), len(test)) == (8, 10)
    assert not {found.id for found in train} & {found.id for found in test}
    assert {found.intent for found in test} <= {found.intent for found in train}
    assert draw(rows, intents=4, per_intent=2, tests=10, seed=0) == (train, test)
    assert draw(rows, intents=4, per_intent=2, tests=10, seed=1) != (train, test)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "expected one of them"),
        (["--train", "t"], "found only --train, expected --train, --val and --labels together"),
        (["--folds", "none.jsonl"], "none.jsonl: cannot be read"),
        (["--folds", "none.jsonl", "--splits", "0"], "--splits: found 0"),
        (["--folds", "none.jsonl", "--base-model", "./x"], "--base-model ./x"),
    ],
)
def test_bad_options_are_a_sentence(options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from evaluation import ablation

    assert ablation.main([*options, *([] if "--base-model" in options else ["--base-model", "none"])]) == 2
    assert said in capsys.readouterr().err


def test_a_question_without_exemplars_to_show_is_another_question_to_the_cache() -> None:
    question = Question("v", "t", "i", ROWS[:1])
    assert hash((0, question)) != hash((4, question))
