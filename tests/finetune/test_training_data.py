from dataclasses import replace

import pytest

from finetune.prompt import Example, PromptWriter, prompt_writer
from finetune.training_data import (
    LARGE_BASE_CPU_ROWS,
    TrainingConfig,
    TrainingData,
    config_for,
    judging_examples,
    make_training_data,
)
from retrieval.cross_validation import out_of_fold_log_probabilities
from retrieval.train_set import representative_rows
from tests.fakes import ROWS, base, row, tokenizer
from tests.finetune.helpers import classifier_for

WRITER = prompt_writer(tokenizer(), 2048)
CLASSIFIER = classifier_for(ROWS)
LOG_P = out_of_fold_log_probabilities(CLASSIFIER)


def data_with(config: TrainingConfig, *, seed: int = 0) -> TrainingData:
    return make_training_data(CLASSIFIER, LOG_P, WRITER, config, seed=seed)


def prompt_of(example: Example, writer: PromptWriter = WRITER) -> str:
    return str(writer.tokenizer.decode(list(example.ids[: -example.supervised])))


def replies_in(example: Example) -> int:
    return sum(row.ideal_reply in prompt_of(example) for row in ROWS)


def own_replies_in(examples: tuple[Example, ...]) -> list[bool]:
    return [source.ideal_reply in prompt_of(example) for example, source in zip(examples, ROWS, strict=True)]


@pytest.mark.parametrize(("share", "present"), [(1.0, True), (0.0, False)])
def test_the_share_decides_whether_the_own_reply_stands_in_the_prompt(share: float, present: bool) -> None:
    for epoch in data_with(TrainingConfig(own_reply_share=share)).epochs:
        assert own_replies_in(epoch) == [present] * len(ROWS)


def test_a_share_of_a_half_draws_anew_in_each_epoch_and_the_same_for_the_same_seed() -> None:
    config = TrainingConfig(own_reply_share=0.5, epochs=6)
    drawn = [own_replies_in(epoch) for epoch in data_with(config).epochs]
    assert 0 < sum(map(sum, drawn)) < 6 * len(ROWS)
    assert len(set(map(tuple, drawn))) > 1
    assert data_with(config) == data_with(config)
    assert data_with(config) != data_with(config, seed=1)


@pytest.mark.parametrize("count", [0, 1, 2, 4])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_prompt_holds_as_many_exemplars_as_the_config_says(count: int, share: float) -> None:
    (epoch,) = data_with(TrainingConfig(own_reply_share=share, exemplars=count, epochs=1)).epochs
    assert [replies_in(example) for example in epoch] == [count] * len(ROWS)


def test_a_row_that_is_too_long_is_left_out_and_named() -> None:
    rows = (*ROWS, row(7, "q", "a.b", "z" * 3000))
    classifier = classifier_for(rows)
    log_p = out_of_fold_log_probabilities(classifier)
    data = make_training_data(classifier, log_p, WRITER, TrainingConfig(), seed=0)
    assert data.too_long == ("t7",)
    assert [len(epoch) for epoch in data.epochs] == [6, 6]
    assert sorted(judging_examples(classifier, log_p, WRITER, TrainingConfig())) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_row_is_always_judged_without_its_own_reply(share: float) -> None:
    judged = judging_examples(CLASSIFIER, LOG_P, WRITER, TrainingConfig(own_reply_share=share))
    (plain,) = data_with(TrainingConfig(own_reply_share=0.0, epochs=1)).epochs
    assert tuple(judged.values()) == plain
    assert own_replies_in(plain) == [False] * len(ROWS)


def test_every_base_learns_to_write_and_a_large_one_in_smaller_steps() -> None:
    small, large = base(), replace(base(), parameters=2_000_000_000)
    assert (config_for(small).learning_rate, config_for(small).own_reply_share) == (1e-3, 0.0)
    assert (config_for(large).learning_rate, config_for(large).own_reply_share) == (2e-4, 0.0)


def test_representative_rows_alone_are_learned_and_their_exemplars_come_from_all() -> None:
    data = data_with(TrainingConfig(rows=3, epochs=2))
    kept = [ROWS[i].id for i in representative_rows(CLASSIFIER.train_set, at_most=3)]
    assert [[example.row_id for example in epoch] for epoch in data.epochs] == [kept] * 2
    others = [row.ideal_reply for row in ROWS if row.id not in kept]
    assert any(reply in prompt_of(example) for reply in others for example in data.epochs[0])


def test_a_large_base_on_a_cpu_learns_from_fewer_rows() -> None:
    assert config_for(base()).rows is None
    assert config_for(replace(base(), parameters=7_000_000_000)).rows == LARGE_BASE_CPU_ROWS


def test_prompts_of_a_train_row_show_its_own_reference_number_and_no_others() -> None:
    orders = [
        row(20 + i, f"cancel order {n}", "order.cancel", f"Order {n} is cancelled, {i}.") for i, n in enumerate((11111, 22222))
    ]
    classifier = classifier_for((*ROWS, *orders))
    log_p = out_of_fold_log_probabilities(classifier)
    (epoch,) = make_training_data(classifier, log_p, WRITER, TrainingConfig(epochs=1), seed=0).epochs
    judged = judging_examples(classifier, log_p, WRITER, TrainingConfig())
    for examples in (epoch, judged):
        assert "Order 11111 is cancelled, 1." in prompt_of(examples[6])
        assert "22222" not in prompt_of(examples[6])
        assert "Order 22222 is cancelled, 0." in prompt_of(examples[7])
