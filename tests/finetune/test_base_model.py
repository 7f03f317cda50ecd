"""Loading a base: the precision, the memory it needs, what is refused."""

import importlib.util
from math import inf
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from finetune import base_model
from finetune.base_model import load_candidate, parameter_count
from finetune.base_selection import SMALL, BaseCandidate
from finetune.lora import attach
from finetune.training import train
from retrieval.checkpoint_files import CHECKPOINT
from retrieval.errors import ModelUnavailable
from retrieval.known_models import SMOLLM
from retrieval.model_cache import cache_folder
from retrieval.model_files import ModelFiles
from tests.fakes import base, save_base, tokenizer
from tests.finetune.helpers import examples, no_memory


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_base(tmp_path / "base")


def candidate(folder: Path, precision: Any = "fp32") -> BaseCandidate:
    return BaseCandidate(str(folder), None, precision)


def test_a_folder_is_loaded_as_it_is_and_says_what_it_is(folder: Path) -> None:
    found, expected = load_candidate(candidate(folder)), base().model.state_dict()
    assert all(torch.equal(weight, expected[name]) for name, weight in found.model.state_dict().items())
    assert not any(weight.requires_grad for weight in found.model.parameters())
    assert found.digest.startswith("sha256:")
    assert (found.source, found.revision, found.commit) == ("folder", None, None)
    assert (found.path, found.parameters, found.precision, found.large) == (
        str(folder.resolve()),
        found.model.num_parameters(),
        "fp32",
        False,
    )
    assert found.max_length == 1024, "of 2048, because the model is on a CPU"


def test_a_base_of_a_hub_keeps_its_id_and_the_commit_that_was_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    files = ModelFiles("org/name", folder, "hub", "c" * 40, f"commit:{'c' * 40}")
    monkeypatch.setattr(base_model, "find_on_hub", lambda *given, deadline: asked.append((*given, deadline)) or files)
    found = load_candidate(BaseCandidate("org/name", "main", "fp32"), deadline=7.0)
    assert asked == [("org/name", "main", CHECKPOINT, 7.0)]
    assert (found.name, found.path, found.commit) == ("org/name", "org/name", "c" * 40)
    assert (found.source, found.revision, found.digest) == ("hub", "c" * 40, f"commit:{'c' * 40}")


def test_of_the_checkpoints_own_generation_settings_only_the_end_tokens_count(folder: Path) -> None:
    settings = folder / "generation_config.json"
    settings.write_text('{"do_sample": true, "temperature": 0.7, "repetition_penalty": 1.1, "eos_token_id": [1, 2]}')
    found = load_candidate(candidate(folder)).model.generation_config
    assert found.eos_token_id == [1, 2]
    assert not any((found.do_sample, found.temperature, found.repetition_penalty))


def refusal(found: BaseCandidate, *, deadline: float = inf) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        load_candidate(found, deadline=deadline)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_base_that_cannot_fit_is_refused_before_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Any] = []
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *given, **options: reads.append(given))
    monkeypatch.setattr(base_model, "parameter_count", lambda folder: 7 * 2**30)
    monkeypatch.setattr(base_model, "free_gib", lambda: 3.25)
    for precision, needed in (("fp32", "28.0"), ("bf16", "14.0"), ("nf4", "4.9")):
        found = refusal(candidate(folder, precision))
        assert f"needs {needed} GiB of memory in {precision}, found 3.2 GiB free" in found
    assert reads == []


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, "bf16"), (False, "fp32")])
def test_on_a_cpu_a_base_is_in_bf16_where_the_processor_multiplies_it(
    has_bf16: bool, expected: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_model, "has_bf16", lambda: has_bf16)
    found = load_candidate(candidate(folder, None))
    assert found.precision == expected
    assert found.model.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[expected]


@pytest.mark.parametrize(("rows", "keep"), [(2, 2), (1, 1)])
def test_the_head_gets_rows_side_by_side_where_logits_of_a_part_of_the_tokens_are_asked_for(
    folder: Path, rows: int, keep: int
) -> None:
    model, seen = load_candidate(candidate(folder, "fp32")).model, list[tuple[int, ...]]()
    model.get_output_embeddings().register_forward_hook(lambda _, given, __: seen.append(given[0].stride()))
    assert model(torch.tensor([[1, 2, 3], [4, 5, 6]][:rows]), logits_to_keep=keep).logits.shape[:2] == (rows, keep)
    width = model.config.hidden_size
    assert seen == [(keep * width, width, 1)]


@pytest.mark.parametrize(
    ("has_bf16", "threads", "free", "expected"),
    [(True, 2, 8.0, True), (False, 2, 8.0, False), (True, 1, 8.0, False), (True, 2, 7.9, False)],
)
def test_a_cpu_runs_a_large_base_with_bf16_two_cores_and_the_memory(
    has_bf16: bool, threads: int, free: float, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_model, "has_bf16", lambda: has_bf16)
    monkeypatch.setattr(base_model, "free_gib", lambda: free)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert base_model.cpu_runs_large() == expected
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert not base_model.cpu_runs_large(), "both processes of a run on this machine would load it"


def test_parameters_are_counted_from_the_headers_of_the_weight_files(folder: Path) -> None:
    assert parameter_count(folder) == base().model.num_parameters()


def test_only_the_weight_files_that_are_read_are_counted(folder: Path) -> None:
    (folder / "consolidated.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    assert parameter_count(folder) == base().model.num_parameters()


def test_a_checkpoint_in_pickles_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(base().model.state_dict(), folder / "pytorch_model.bin")
    assert "cannot be loaded" in refusal(candidate(folder))


def test_a_checkpoint_that_lacks_weights_is_refused_and_not_filled_with_random_numbers(folder: Path) -> None:
    weights = {name: weight for name, weight in base().model.state_dict().items() if "layers.1.mlp.up" not in name}
    base().model.save_pretrained(folder, state_dict=weights)
    assert "lacks weights: model.layers.1.mlp.up_proj.weight" in refusal(candidate(folder))


def test_quantisation_without_its_package_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "needs the package bitsandbytes" in refusal(candidate(folder, "nf4"))


@pytest.fixture
def conversions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The precisions of all conversions, each of which writes the tiny base; the first fails where it is wanted."""
    done: list[str] = []

    def convert(path: Path, target: Path, precision: str) -> None:
        done.append(precision)
        save_base(target)
        if path.name == "cut.gguf" and len(done) == 1:
            raise ValueError("cut short")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(base_model, "_convert", convert)
    monkeypatch.setattr(base_model, "_gguf_parameter_count", lambda path: 9)
    return done


def test_a_known_base_is_found_once_and_its_conversion_remembers_where_it_came_from(
    tmp_path: Path, conversions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    files = ModelFiles("SmolLM2-135M-Instruct", tmp_path / "a.gguf", "wheels", "pins", f"sha256:{SMOLLM.sha256}")
    monkeypatch.setattr(base_model, "find_model", lambda name, deadline: asked.append((name, deadline)) or files)
    first, second = (load_candidate(SMALL, deadline=inf) for _ in range(2))
    assert asked == [("smollm2-135m", inf)]
    assert conversions == ["fp32"]
    assert (first.name, first.source, first.revision, first.digest) == (files.name, "wheels", "pins", files.digest)
    assert (second.name, second.source, second.revision, second.digest) == (files.name, "cache", "pins", files.digest)
    assert first.path == second.path == str(cache_folder() / f"converted-{SMOLLM.sha256[:32]}")
    assert first.commit is None


def test_a_known_base_that_cannot_be_had_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(name: str, *, deadline: float) -> ModelFiles:
        raise ModelUnavailable(f"{name} cannot be had")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(base_model, "find_model", refuse)
    assert refusal(SMALL) == "smollm2-135m cannot be had"


def test_a_gguf_file_is_converted_once_and_a_conversion_that_fails_leaves_nothing(
    tmp_path: Path, conversions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cut.gguf").write_bytes(b"GGUF")
    assert "cut short" in refusal(candidate(tmp_path / "cut.gguf"))
    assert [path.suffix for path in cache_folder().iterdir()] == [".lock"]
    first, second = (load_candidate(candidate(tmp_path / "cut.gguf")) for _ in range(2))
    assert len(conversions) == 2
    assert first.path == second.path == str(cache_folder() / f"converted-{first.digest[7:39]}")
    assert (first.name, first.source, second.source) == (str(tmp_path / "cut.gguf"), "file", "file")
    monkeypatch.setattr(base_model, "_gguf_parameter_count", lambda path: 1_540_000_000)
    monkeypatch.setattr(base_model, "free_gib", lambda: 80.0)  # of a GPU, which has no part in it
    monkeypatch.setattr(base_model, "free_machine_gib", lambda: 4.0)
    (tmp_path / "huge.gguf").write_bytes(b"GGUF of another size")
    expected = "needs 5.3 GiB of memory to be converted to bf16, found 4.0 GiB free"
    assert expected in refusal(candidate(tmp_path / "huge.gguf"))
    assert len(conversions) == 2, "it is refused before it is converted"


@pytest.mark.parametrize("harm", ["cut", "changed", "gone"])
def test_a_conversion_that_is_not_as_it_was_made_is_made_again(harm: str, tmp_path: Path, conversions: list[str]) -> None:
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    path = Path(load_candidate(candidate(tmp_path / "tiny.gguf")).path) / "model.safetensors"
    whole = path.read_bytes()
    path.unlink()
    if harm != "gone":
        path.write_bytes(whole[:1000] if harm == "cut" else whole[:-1] + bytes([whole[-1] ^ 1]))
    load_candidate(candidate(tmp_path / "tiny.gguf"))
    assert len(conversions) == 2
    assert path.read_bytes() == whole
    load_candidate(candidate(tmp_path / "tiny.gguf"))
    assert len(conversions) == 2, "and is taken from then on"


@pytest.mark.parametrize(("parameters", "expected"), [(999_999_999, "fp32"), (1_000_000_000, "bf16")])
def test_a_large_gguf_file_is_converted_to_half_the_size(
    parameters: int, expected: str, tmp_path: Path, conversions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_model, "_gguf_parameter_count", lambda path: parameters)
    monkeypatch.setattr(base_model, "free_machine_gib", lambda: 8.0)
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    load_candidate(candidate(tmp_path / "tiny.gguf"))
    assert conversions == [expected]


def test_a_conversion_waits_for_another_run_and_takes_what_it_made(
    tmp_path: Path, conversions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    load_candidate(candidate(tmp_path / "tiny.gguf"))
    found, waited = base_model._conversion, iter((None,))
    monkeypatch.setattr(base_model, "_conversion", lambda *given: next(waited, found(*given)))
    assert load_candidate(candidate(tmp_path / "tiny.gguf")).source == "file"
    assert len(conversions) == 1, "it looked again under the lock"
    (entry,) = cache_folder().glob("converted-*.lock")
    other = FileLock(entry)  # an object of its own excludes as another process does
    monkeypatch.setattr(base_model, "_conversion", lambda *given: None)
    with other:
        assert "another run is still making" in refusal(candidate(tmp_path / "tiny.gguf"), deadline=0.0)


@pytest.mark.parametrize("error", [no_memory, lambda *_, **__: (_ for _ in ()).throw(MemoryError())])
def test_memory_that_runs_out_while_loading_is_one_sentence(error: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", error)
    assert "cannot be loaded" in refusal(candidate(folder))


def test_a_base_in_nf4_is_smaller_trains_and_nears_the_full_one(tmp_path: Path) -> None:
    words = tokenizer()
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 1}  # quantisation works in blocks of 64
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=len(words), **sizes, **heads)).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    full, small = (load_candidate(candidate(tmp_path, precision)) for precision in ("fp32", "nf4"))
    assert small.model.get_memory_footprint() < 0.6 * full.model.get_memory_footprint()
    # On a CPU bitsandbytes repacks the weights once they are used to infer, and cannot train them any more: train first.
    run = train(attach(small, seed=0), [examples(small)] * 3, learning_rate=1e-2, seed=0)
    assert run.losses[-1] < run.losses[0]
    plain = train(attach(full, seed=0), [examples(full)], learning_rate=0.0, seed=0)
    assert run.losses[0] == pytest.approx(plain.losses[0], abs=0.1)
