"""Small stand-ins for the families of bases: their chat templates, control tokens and architectures, over bytes.

The templates say what the real ones say where it matters here: markers, the default system turn, refusals, dates, thinking;
tools are left out. Sizes are tiny, weights random.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerFast

from finetune.base_model import BaseModel

CHATML_TURNS = "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
QWEN_25 = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. "
    "You are a helpful assistant.<|im_end|>\n' }}{% endif %}{% for m in messages %}" + CHATML_TURNS + "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN_3 = (
    "{% for m in messages %}{% if m['role'] == 'assistant' and loop.last %}"
    "{{ '<|im_start|>assistant\n<think>\n\n</think>\n\n' + m['content'] + '<|im_end|>\n' }}{% else %}"
    + CHATML_TURNS
    + "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
LLAMA_32 = (
    "{{ bos_token }}{% if not date_string is defined %}{% if strftime_now is defined %}"
    "{% set date_string = strftime_now('%d %b %Y') %}{% else %}{% set date_string = '26 Jul 2024' %}{% endif %}{% endif %}"
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] | trim %}{% set messages = messages[1:] %}"
    "{% else %}{% set system = '' %}{% endif %}{{ '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: "
    "December 2023\nToday Date: ' + date_string + '\n\n' + system + '<|eot_id|>' }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% else %}{{ ' ' + m['content'] + eos_token }}"
    "{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' "
    "+ m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
SMOLLM_2 = (
    "{% for m in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI "
    "assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}" + CHATML_TURNS + "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Family:
    """A family of bases.

    Attributes:
        name: for the tests' names.
        template: chat template, None for a base that was never trained to chat.
        special: special tokens, in the order of their ids.
        eos: the tokenizer's end of text.
        turn_end: what ends an assistant's turn.
        header: what stands before an assistant's words.
        model_type: of transformers.
        bos: first token of a text, if it has one that the template writes.
        pad: padding, if there is one.
        added: tokens that are added and not special.
        ends: what generation_config of the checkpoint stops at, besides `eos`.
        settings: of the architecture, beyond the sizes.
    """

    name: str
    template: str | None
    special: tuple[str, ...]
    eos: str
    turn_end: str
    header: str
    model_type: str
    bos: str | None = None
    pad: str | None = None
    added: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


CHATML_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
FAMILIES = (
    Family("Qwen2.5", QWEN_25, CHATML_TOKENS, "<|im_end|>", "<|im_end|>", "<|im_start|>assistant\n", "qwen2",
           pad="<|endoftext|>", ends=("<|endoftext|>",)),
    Family("Qwen3", QWEN_3, CHATML_TOKENS, "<|im_end|>", "<|im_end|>", "<|im_start|>assistant\n<think>\n\n</think>\n\n",
           "qwen3", pad="<|endoftext|>", added=("<think>", "</think>"), ends=("<|endoftext|>",), settings={"head_dim": 16}),
    Family("Llama 3", LLAMA_32, ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
           "<|eom_id|>", "<|eot_id|>"), "<|eot_id|>", "<|eot_id|>", "<|start_header_id|>assistant<|end_header_id|>\n\n", "llama",
           bos="<|begin_of_text|>", ends=("<|end_of_text|>", "<|eom_id|>")),
    Family("Mistral", MISTRAL, ("<s>", "</s>", "[INST]", "[/INST]"), "</s>", "</s>", "[/INST]", "mistral", bos="<s>",
           settings={"sliding_window": None}),
    Family("Gemma", GEMMA, ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"), "<eos>", "<end_of_turn>",
           "<start_of_turn>model\n", "gemma2", bos="<bos>", pad="<pad>", ends=("<end_of_turn>",), settings={"head_dim": 16}),
    Family("SmolLM2", SMOLLM_2, CHATML_TOKENS, "<|im_end|>", "<|im_end|>", "<|im_start|>assistant\n", "llama",
           pad="<|im_end|>"),
    Family("base", None, ("<|endoftext|>",), "<|endoftext|>", "<|endoftext|>", "\n\n", "llama"),
)  # fmt: skip


def tokenizer_of(family: Family) -> PreTrainedTokenizerFast:
    """Bytes, and the family's control tokens."""
    vocabulary = {token: number for number, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    found = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=family.eos, bos_token=family.bos, pad_token=family.pad)
    found.add_special_tokens({"additional_special_tokens": list(family.special)})
    found.add_tokens(list(family.added))
    found.chat_template = family.template
    return found


def base_of(family: Family) -> BaseModel:
    """Two random layers of the family's architecture."""
    words = tokenizer_of(family)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = AutoConfig.for_model(
        family.model_type,
        **sizes,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        vocab_size=len(words),
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        bos_token_id=words.bos_token_id,
        **family.settings,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval().requires_grad_(False)
    ends = [words.eos_token_id, *words.convert_tokens_to_ids(list(family.ends))]
    model.generation_config = GenerationConfig(eos_token_id=ends)
    return BaseModel(family.name, family.name, "folder", None, "sha256:0", 1024, model.num_parameters(), model, words)
