import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file

from finetune.base_model import BaseModel
from finetune.gates import SCALES
from finetune.lora import (
    CONFIG,
    FINAL,
    LORA_ALPHA,
    attach,
    fold_adapter,
    load_adapter,
    save_adapter,
    set_scale,
    temporary_adapter,
)
from finetune.training import completion_losses, train
from retrieval.errors import ModelUnavailable
from retrieval.run_files import ADAPTER_FILES
from tests.fakes import base
from tests.finetune.helpers import base_in, examples, no_memory

WEIGHTS = "adapter_model.safetensors"


def trained(tiny: BaseModel, *, seed: int = 0, epochs: int = 1) -> PeftModel:
    model = attach(tiny, seed=seed)
    train(model, [examples(tiny)] * epochs, learning_rate=1e-2, seed=seed)
    return model


def losses(model: torch.nn.Module) -> list[float]:
    return completion_losses(model, examples(base()))


def adapters_of(model: torch.nn.Module) -> set[str]:
    """The names of all adapters that have a weight in the model, configured or not."""
    return {name for layer in model.modules() if isinstance(layer, LoraLayer) for name in layer.lora_A}


def test_trap_5_the_same_seed_gives_the_same_adapter_and_another_seed_another(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        tiny = base()
        torch.rand(ord(name))  # whatever was drawn before does not matter
        (tmp_path / name).mkdir()
        save_adapter(trained(tiny, seed=seed), tiny, tmp_path / name)
    same, again, other = ((tmp_path / name / WEIGHTS).read_bytes() for name in "abc")
    assert same == again
    assert same != other


def test_a_temporary_adapter_works_in_its_block_and_gives_the_base_back() -> None:
    tiny = base()
    before = losses(tiny.model)
    with temporary_adapter(tiny, seed=0) as model:
        train(model, [examples(tiny)], learning_rate=1e-2, seed=0)
        assert losses(model) != before
    assert losses(tiny.model) == before
    assert not adapters_of(tiny.model)


def test_a_fold_adapter_is_fresh_and_leaves_the_final_one_active_and_unchanged() -> None:
    tiny = base()
    plain = losses(tiny.model)
    model = trained(tiny)
    before = losses(model)
    with fold_adapter(model, "fold0", seed=0):
        assert model.active_adapter == "fold0"
        assert losses(model) == plain, "it has learned nothing"
        assert {name for name, weight in model.named_parameters() if weight.requires_grad} == {
            name for name, _ in model.named_parameters() if ".fold0." in name
        }
        train(model, [examples(tiny)], learning_rate=5e-2, seed=0)
        assert losses(model) not in (plain, before)
    assert (model.active_adapter, set(model.peft_config), adapters_of(model)) == (FINAL, {FINAL}, {FINAL})
    assert losses(model) == before
    assert not any("base_layer.base_layer" in name for name, _ in model.named_modules()), "the model is wrapped once"


def test_a_fold_adapter_goes_whatever_happens_in_its_block() -> None:
    model = attach(base(), seed=0)
    with pytest.raises(KeyError), fold_adapter(model, "fold0", seed=0):
        raise KeyError
    assert (model.active_adapter, adapters_of(model)) == (FINAL, {FINAL})


def test_a_fold_adapter_that_could_be_made_for_half_of_the_layers_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    model, real, made = attach(base(), seed=0), LoraLayer.update_layer, list[str]()

    def update(layer: LoraLayer, name: str, *given: object, **options: object) -> None:
        made.append(name)
        real(layer, name, *given, **options) if len(made) < 4 else no_memory()

    monkeypatch.setattr(LoraLayer, "update_layer", update)
    with pytest.raises(Exception, match="memory"), fold_adapter(model, "fold0", seed=0):
        pass
    assert (model.active_adapter, set(model.peft_config), adapters_of(model)) == (FINAL, {FINAL}, {FINAL})


def test_a_scale_of_0_is_the_base_and_1_the_adapter_and_the_scale_of_another_adapter_stays() -> None:
    tiny = base()
    plain = losses(tiny.model)
    model = trained(tiny)
    full = losses(model)
    set_scale(model, 0.0)
    assert losses(model) == plain
    with fold_adapter(model, "fold0", seed=0):
        set_scale(model, 1.0)
    assert losses(model) == plain
    set_scale(model, 1.0)
    assert losses(model) == full


@pytest.mark.parametrize("scale", [*SCALES, 0.0])
def test_a_saved_adapter_loads_with_peft_and_answers_as_before_at_its_scale(tmp_path: Path, scale: float) -> None:
    tiny = base()
    model = trained(tiny)
    full = losses(model)
    set_scale(model, scale)
    expected = losses(model)
    save_adapter(model, tiny, tmp_path, scale=scale)
    assert losses(PeftModel.from_pretrained(base().model, tmp_path)) == expected
    assert (expected == full) == (scale == 1.0)
    assert json.loads((tmp_path / CONFIG).read_text())["lora_alpha"] == 32 * scale
    assert all(torch.isfinite(weight).all() for weight in load_file(tmp_path / WEIGHTS).values())


def test_an_adapter_is_saved_under_names_that_a_run_may_replace_and_beside_the_files_of_others(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    tiny = base()
    model = attach(tiny, seed=0)
    with fold_adapter(model, "fold0", seed=0):
        save_adapter(model, tiny, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {*ADAPTER_FILES, "README.md"}
    assert (tmp_path / "README.md").read_text() == "mine"
    config = json.loads((tmp_path / CONFIG).read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == (tiny.path, tiny.commit)


class Backwards(set[str]):
    """A set in an order that another PYTHONHASHSEED might give it."""

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(super().__iter__(), reverse=True))


def test_trap_14_the_adapter_config_does_not_depend_on_the_order_of_sets_which_pythonhashseed_decides(tmp_path: Path) -> None:
    tiny = base()
    model = attach(tiny, seed=0)
    save_adapter(model, tiny, tmp_path)
    before = (tmp_path / CONFIG).read_text()
    model.peft_config[FINAL].target_modules = Backwards(model.peft_config[FINAL].target_modules)
    save_adapter(model, tiny, tmp_path)
    assert (tmp_path / CONFIG).read_text() == before
    assert json.loads(before)["target_modules"] == sorted(json.loads(before)["target_modules"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_adapters_have_the_type_of_the_base(dtype: torch.dtype) -> None:
    model = attach(base_in(dtype), seed=0)
    with fold_adapter(model, "fold0", seed=0):
        assert {weight.dtype for name, weight in model.named_parameters() if "lora_" in name} == {dtype}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.0])
def test_a_saved_adapter_is_loaded_bit_by_bit_at_its_scale_whatever_its_config_says(
    tmp_path: Path, scale: float, dtype: torch.dtype
) -> None:
    tiny = base_in(dtype)
    model = trained(tiny, epochs=3)
    set_scale(model, scale)
    save_adapter(model, tiny, tmp_path, scale=scale)
    (tmp_path / CONFIG).write_text('{"base_model_name_or_path": "/elsewhere", "lora_alpha": 7, "auto_mapping": {"x": "y"}}')
    loaded = load_adapter(base_in(dtype), tmp_path, scale=scale)
    assert losses(loaded) == losses(model)


def test_an_adapter_for_which_there_is_no_memory_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = base()
    save_adapter(trained(tiny), tiny, tmp_path)
    monkeypatch.setattr("finetune.lora.attach", no_memory)
    with pytest.raises(ModelUnavailable, match=r"the adapter .* cannot be loaded: .*can't allocate memory"):
        load_adapter(base(), tmp_path, scale=1.0)


@pytest.mark.parametrize("damage", ["another shape", "cut"])
def test_an_adapter_of_another_base_or_half_of_one_is_one_sentence(tmp_path: Path, damage: str) -> None:
    tiny = base()
    save_adapter(trained(tiny), tiny, tmp_path)
    weights = load_file(tmp_path / WEIGHTS)
    if damage == "cut":
        (tmp_path / WEIGHTS).write_bytes((tmp_path / WEIGHTS).read_bytes()[:200])
    else:
        save_file({name: weight[:, :8].contiguous() for name, weight in weights.items()}, tmp_path / WEIGHTS)
    with pytest.raises(
        ModelUnavailable, match=r"the adapter .*adapter_model\.safetensors (cannot be loaded|is that of another base)"
    ):
        load_adapter(base(), tmp_path, scale=1.0)


def test_every_scale_that_may_be_chosen_is_saved_as_it_is_for_other_programs_round_it() -> None:
    assert all((LORA_ALPHA * scale).is_integer() for scale in SCALES)
