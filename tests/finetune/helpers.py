"""What several tests of the language model share: training examples, a train set of four short rows, memory that runs out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from math import nan
from typing import Any, NoReturn

import pytest
import torch
from peft.tuners.lora import LoraLayer

from finetune import forgetting, noisy_channel, training
from finetune.base_model import BaseModel
from finetune.fit import NO_DEADLINES, Deadlines, FineTuned, fine_tune
from finetune.lora import FINAL
from finetune.noisy_channel import Given
from finetune.prompt import Example, PromptWriter, prompt_writer
from finetune.training_data import TrainingConfig
from retrieval.gate import Gate
from retrieval.intent_classifier import IntentClassifier, fit_classifier
from retrieval.tickets import LabelledTicket
from tests.fakes import ROWS, HashEncoder, base, train_set

REPLIES = ("No.", "$12.", "Yes.", "Now.")
FEW = tuple(replace(row, ideal_reply=reply) for row, reply in zip(ROWS[:4], REPLIES, strict=True))
ONE_EPOCH = TrainingConfig(epochs=1, learning_rate=1e-2)
OUT_OF_MEMORY = "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"


def no_memory(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError(OUT_OF_MEMORY)


def base_in(dtype: torch.dtype) -> BaseModel:
    """The tiny base with its weights in another type."""
    tiny = base()
    return replace(tiny, model=tiny.model.to(dtype))


def writer_for(tiny: BaseModel) -> PromptWriter:
    return prompt_writer(tiny.tokenizer, tiny.max_length)


def examples(tiny: BaseModel, *, exemplars: bool = False) -> list[Example]:
    """An example of each row; with `exemplars`, of different lengths."""
    return [writer_for(tiny).example(row, ROWS[: i % 3] if exemplars else ()) for i, row in enumerate(ROWS)]


def score_every_ticket(patch: pytest.MonkeyPatch, given: tuple[Given, ...] = ("name",), *, weight: float = 0.1) -> None:
    """Sure tickets are scored too, and by every base; where names mean nothing, given replies."""
    patch.setattr(noisy_channel, "UNSURE", dict.fromkeys(noisy_channel.UNSURE, 2.0))
    measured = {key: (given if key[1] else ("reply",), weight) for key in noisy_channel.MEASURED}
    patch.setattr(noisy_channel, "MEASURED", measured)


def classifier_for(rows: Sequence[LabelledTicket] = FEW, *, with_names: bool = True) -> IntentClassifier:
    return fit_classifier(train_set(rows), with_names=with_names)


def fine_tune_few(
    tiny: BaseModel | None = None,
    *,
    rows: Sequence[LabelledTicket] = FEW,
    config: TrainingConfig = ONE_EPOCH,
    deadlines: Deadlines = NO_DEADLINES,
    every_fold: bool = True,
    given: tuple[Given, ...] = ("reply",),
    with_names: bool = True,
) -> FineTuned:
    """Fine-tunes the tiny base on four rows and asks it about six of the general texts: half a second.

    With `every_fold` both folds are measured, however few their rows are and whatever the first one says.
    """
    with pytest.MonkeyPatch.context() as patch:
        if every_fold:
            patch.setattr("finetune.judging.MIN_REPLIES", 0)
            patch.setattr("finetune.judging.first_fold_stop", lambda *_, **__: "")
        patch.setattr(forgetting, "SENTENCES", forgetting.SENTENCES[:4])
        patch.setattr(forgetting, "PARAPHRASES", forgetting.PARAPHRASES[:2])
        score_every_ticket(patch, given)
        return fine_tune(
            classifier_for(rows, with_names=with_names),
            tiny or base(),
            HashEncoder(),
            config=config,
            seed=0,
            deadlines=deadlines,
        )


@cache
def undisturbed() -> FineTuned:
    """What `fine_tune_few` gives when all is well."""
    return fine_tune_few()


def gate_of(tuned: FineTuned, name: str) -> Gate:
    return next(gate for gate in tuned.gates if gate.name == name)


def adapter_of(tuned: FineTuned) -> dict[str, torch.Tensor]:
    """The weights of every adapter on the model."""
    assert tuned.model is not None
    return {name: weight for name, weight in tuned.model.state_dict().items() if ".lora_" in name}


def assert_final_adapter_alone(tuned: FineTuned, *, same_as: FineTuned | None = None) -> None:
    """Only the final adapter is on the model, active and at its scale; with `same_as`, it has the weights of that one."""
    assert tuned.model is not None
    assert (tuned.model.active_adapter, set(tuned.model.peft_config)) == (FINAL, {FINAL})
    layers = [module for module in tuned.model.modules() if isinstance(module, LoraLayer)]
    assert {name for layer in layers for name in layer.lora_A} == {FINAL}
    assert all(layer.active_adapters == [FINAL] and layer.scaling[FINAL] == 2 * tuned.scale for layer in layers)
    if same_as:
        found, expected = adapter_of(tuned), adapter_of(same_as)
        assert set(found) == set(expected)
        assert all(torch.equal(weight, expected[name]) for name, weight in found.items())


Loss = Callable[[Any, Any], torch.Tensor]


def change_loss(patch: pytest.MonkeyPatch, changed: Callable[[Loss, Any, Any], torch.Tensor]) -> None:
    """Lets `changed` stand for the function that every loss comes from; it gets that function, a model and a batch.

    While an adapter is trained gradients are enabled, and `model.active_adapter` says which one.
    """
    real = training.row_losses
    patch.setattr(training, "row_losses", lambda model, batch, **options: changed(partial(real, **options), model, batch))


def nan_in(adapter: str, *, call: int) -> Any:
    """A loss that is NaN in one forward pass of an adapter's training."""
    calls: list[int] = []

    def loss(real: Loss, model: Any, batch: Any) -> torch.Tensor:
        calls.extend([1] * (torch.is_grad_enabled() and model.active_adapter == adapter))
        here = len(calls) == call and torch.is_grad_enabled() and model.active_adapter == adapter
        return real(model, batch) * (nan if here else 1.0)

    return loss
