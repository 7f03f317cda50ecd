"""Tiny stand-ins: a hash encoder, a two-layer random Llama with a byte tokenizer, a train set of a few rows."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from finetune.base_model import BaseModel
from retrieval.encoder import Vectors
from retrieval.model_files import ModelFiles
from retrieval.taxonomy import Taxonomy
from retrieval.tickets import LabelledTicket
from retrieval.train_set import TrainSet, embed_train_set

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DIMENSION = 64


class HashEncoder:
    """A bag of hashed words: texts that share words are near each other, on every machine and in every process."""

    name = "hash"
    files = ModelFiles("hash", Path(__file__).parent, "folder", None, "sha256:0")  # a folder that is there
    warnings = ()

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.asked += texts
        rows = np.array([self._row(text) for text in texts], dtype=np.float32).reshape(len(texts), DIMENSION)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)

    def _row(self, text: str) -> np.ndarray:
        row = np.full(DIMENSION, 1e-3)
        for word in text.lower().replace("?", " ").replace(".", " ").split():
            row[int(hashlib.sha256(word.encode()).hexdigest(), 16) % DIMENSION] += 1.0
        return row


def row(number: int, text: str, intent: str, reply: str) -> LabelledTicket:
    return LabelledTicket(f"t{number}", text, intent, reply)


ROWS = (
    row(1, "do guests need a seat", "billing.seat", "Guests need no seat on any plan."),
    row(2, "how much is one more seat", "billing.seat", "One more seat is $12 a month."),
    row(3, "rotate my api token", "api.token", "Press Rotate under Settings → API; the old token works for 24 hours."),
    row(4, "my token leaked", "api.token", "Press Revoke under Settings → API at once."),
    row(5, "export all data", "data.export", "Open Settings → Data and press Export; it takes 6 hours."),
    row(6, "link of the export is dead", "data.export", "An export link works for 72 hours; press Export again."),
)


def train_set(rows: Sequence[LabelledTicket] = ROWS) -> TrainSet:
    return embed_train_set(rows, HashEncoder())


def with_rowless(rows: Sequence[LabelledTicket] = ROWS, *, rowless: str = "security.audit") -> TrainSet:
    """The train set of a taxonomy with an intent that no row has."""
    names = [*sorted({row.intent for row in rows}), rowless]
    taxonomy = Taxonomy(dict.fromkeys(names, ""), {name: name for name in names})
    return embed_train_set(rows, HashEncoder(), taxonomy)


def tokenizer(template: str | None = CHATML) -> PreTrainedTokenizerFast:
    """Byte-level tokens, the control tokens of ChatML, and an added token that is not special."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(alphabet)}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    found = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|im_end|>")
    found.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    found.add_tokens(["<think>"])
    found.chat_template = template
    return found


def base(template: str | None = CHATML, *, max_length: int = 1024) -> BaseModel:
    """Two layers of random Llama over bytes."""
    words = tokenizer(template)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    return BaseModel("tiny", "tiny", "folder", None, "sha256:0", max_length, model.num_parameters(), model, words)


def save_base(folder: Path) -> Path:
    """A checkpoint of the tiny base on disk, as a user's folder."""
    tiny = base()
    tiny.model.save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    return folder
