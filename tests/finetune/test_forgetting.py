import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from peft import PeftModel

from finetune.artifacts import save_adapter
from finetune.forgetting import choose_scale, general_text
from finetune.gates import SCALES, lm_scores_gate, scale_gate
from finetune.gradients import completion_losses
from finetune.lora import attach, set_scale, tune
from finetune.prompt import prompt_writer
from tests.fakes import ROWS, base


def increases(at_one: float, at_half: float, *, paraphrases: float = 0.0) -> dict[float, tuple[list[float], list[float]]]:
    return {1.0: ([at_one] * 4, [paraphrases] * 3), 0.5: ([at_half] * 4, [paraphrases] * 3)}


@pytest.mark.parametrize(
    ("measured", "scale"),
    [
        (increases(0.05, 0.0), 1.0),
        (increases(0.06, 0.02), 0.5),
        (increases(0.2, 0.06), 0.0),
        (increases(0.0, 0.0, paraphrases=0.06), 0.0),
    ],
)
def test_the_first_scale_within_the_bound_is_kept_and_both_kinds_of_text_count(
    measured: dict[float, tuple[list[float], list[float]]], scale: float
) -> None:
    chosen, gate = scale_gate(measured, seed=0)
    assert (chosen, gate.passed) == (scale, scale > 0)
    assert gate.figures["sentences at 1"] == pytest.approx(measured[1.0][0][0])


def test_a_loss_that_is_not_finite_is_too_much_and_the_record_is_still_json() -> None:
    chosen, gate = scale_gate({1.0: ([float("nan")], [0.0]), 0.5: ([float("inf")], [0.0])}, seed=0)
    assert chosen == 0.0
    json.dumps([gate.evidence, gate.interval, dict(gate.figures)], allow_nan=False)


def test_an_adapter_that_ruins_the_base_is_scaled_down_and_a_fresh_one_is_not() -> None:
    tiny = base()
    writer = prompt_writer(tiny.tokenizer, tiny.max_length)
    texts = general_text(writer)
    tiny.model.requires_grad_(True)
    tune(tiny.model, [texts.sentences] * 10, rate=1e-2, seed=0)  # something to forget
    tiny.model.requires_grad_(False)
    tuned = attach(tiny, seed=0)
    assert choose_scale(tuned, texts, seed=0)[0] == 1.0
    plain = completion_losses(tuned, texts.sentences)
    example = writer.example(replace(ROWS[0], ideal_reply="~" * 99), ())
    tune(tuned, [[example]] * 30, rate=5e-2, seed=0)
    chosen, gate = choose_scale(tuned, texts, seed=0)
    assert (chosen, gate.decision) == (0.0, "scale 0")
    assert completion_losses(tuned, texts.sentences) == plain, "at scale 0 the base speaks"


@pytest.mark.parametrize("scale", [*SCALES, 0.0])
def test_a_saved_scale_is_there_again_after_loading(tmp_path: Path, scale: float) -> None:
    tiny = base()
    examples = [prompt_writer(tiny.tokenizer, tiny.max_length).example(row, ()) for row in ROWS]
    tuned = attach(tiny, seed=0)
    tune(tuned, [examples], rate=1e-2, seed=0)
    full = completion_losses(tuned, examples)
    set_scale(tuned, scale)
    expected = completion_losses(tuned, examples)
    save_adapter(tuned, tiny, tmp_path, scale=scale)
    assert completion_losses(PeftModel.from_pretrained(base().model, tmp_path), examples) == expected
    assert (expected == full) == (scale == 1.0)


def evidence(says_right: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """20 rows, 3 intents; the classifier wavers, the model knows (or is sure of the wrong one); the third is not asked
    about."""
    truth = np.arange(20) % 2
    log_p = np.log(np.tile([0.45, 0.45, 0.1], (20, 1)))
    said = np.full((20, 3), np.nan)
    said[:, :2] = -4.0
    said[np.arange(20), truth if says_right else 1 - truth] = -0.1
    return log_p, said, truth, np.arange(20) // 10


def test_a_view_that_knows_better_joins_with_a_weight() -> None:
    weight, gate = lm_scores_gate(*evidence(says_right=True))
    assert (weight, gate.passed, gate.n) == (2.0, True, 20)
    assert gate.evidence is not None
    assert gate.evidence > 0.5


def test_a_view_that_misleads_stays_out() -> None:
    weight, gate = lm_scores_gate(*evidence(says_right=False))
    assert (weight, gate.passed, gate.decision) == (0.0, False, "not asked")


def test_a_view_that_helps_one_half_and_harms_the_other_stays_out() -> None:
    log_p, good, truth, half = evidence(says_right=True)
    _, bad, _, _ = evidence(says_right=False)
    weight, _ = lm_scores_gate(log_p, np.where(half[:, None] == 0, good, bad), truth, half)
    assert weight == 0.0
