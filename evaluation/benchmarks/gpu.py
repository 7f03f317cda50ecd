"""python -m evaluation.benchmarks.gpu: what fine-tuning and answering cost on this machine's GPU.

Builds a checkpoint of the 7B shape with random weights (`shapes/7b.json`, nothing is downloaded), loads it in bf16 and in NF4
with the loader of a run, trains the adapter and writes replies with the code of a run, twice with one seed, and does the same
with SmolLM2-135M-Instruct and its real weights. Random weights never end a reply, so its writing times are the worst there are.
Without a GPU a tiny shape takes the same way, to show that the command works; its figures mean nothing.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TypeVar

import torch
from transformers import AutoConfig, AutoModelForCausalLM, set_seed

from evaluation.command import new_parser, print_table, run_command
from evaluation.generation import FAILURES
from finetune.base_model import BaseModel, load_candidate
from finetune.base_selection import SMALL, BaseCandidate, Precision
from finetune.lora import temporary_adapter
from finetune.memory import release
from finetune.prompt import Example, prompt_writer
from finetune.reply_writer import WrittenReplies, max_reply_tokens, write_replies
from finetune.training import train
from finetune.training_data import config_for, make_training_data
from retrieval.console import say
from retrieval.cross_validation import out_of_fold_log_probabilities
from retrieval.encoder import load_encoder
from retrieval.intent_classifier import IntentClassifier, fit_classifier
from retrieval.retrieve import Retrieval, retrieve
from retrieval.runtime import configure, deterministic_kernels
from retrieval.tickets import InputProblems, Ticket, read_train, read_val
from retrieval.train_set import embed_train_set

T = TypeVar("T")
GPU = torch.cuda.is_available()
SHAPES = Path(__file__).parent / "shapes"
SIZES = {"7b": (50, 30, 320), "tiny": (4, 6, 8)}  # tickets, train rows, most tokens of a reply
SAME = "same twice"


@dataclass(frozen=True, slots=True)
class Task:
    """What is trained on and what is answered."""

    classifier: IntentClassifier
    retrievals: tuple[Retrieval, ...]
    max_new_tokens: int
    seed: int


def make_task(options: argparse.Namespace) -> Task:
    """Reads and retrieves; the tickets are repeated until there are enough."""
    rows, problems = read_train(options.train)
    tickets, val_problems = read_val(options.val)
    if problems or val_problems:
        raise InputProblems([*problems, *val_problems])
    (count, size, max_new_tokens), encoder = SIZES[options.shape], load_encoder()
    classifier = fit_classifier(embed_train_set(rows[:size], encoder), with_names=True)
    found = retrieve(classifier, tickets, encoder.encode([ticket.text for ticket in tickets]))
    repeated = (replace(one, ticket=Ticket(f"{i}", one.ticket.text)) for i in range(count) for one in [found[i % len(found)]])
    return Task(classifier, tuple(repeated), max_new_tokens, options.seed)


def random_checkpoint(shape: str, folder: Path, *, seed: int) -> Path:
    """A checkpoint of this shape with random weights and the tokenizer of SmolLM2-135M-Instruct."""
    settings = json.loads((SHAPES / f"{shape}.json").read_text(encoding="utf-8"))
    set_seed(seed)
    with torch.device("cuda" if GPU else "cpu"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**settings), dtype=torch.bfloat16)
    small = load_candidate(SMALL)
    model.generation_config.eos_token_id = small.tokenizer.eos_token_id
    model.save_pretrained(folder)
    small.tokenizer.save_pretrained(folder)
    return folder


def measure(name: str, candidate: BaseCandidate, task: Task, *, rate: float) -> dict[str, str]:
    """Loads, trains and writes, twice: a line of the table; `rate` is the device's, in operations each second."""
    release()
    if GPU:
        torch.cuda.reset_peak_memory_stats()
    base, load_s = timed(lambda: load_candidate(candidate))
    writer, log_p = prompt_writer(base.tokenizer, base.max_length), out_of_fold_log_probabilities(task.classifier)
    longest = max_reply_tokens(writer, task.classifier.train_set.rows)
    task = replace(task, max_new_tokens=min(task.max_new_tokens, longest))
    epochs = make_training_data(task.classifier, log_p, writer, config_for(base), seed=task.seed).epochs
    tokens = sum(len(example.ids) for epoch in epochs for example in epoch)
    say(f"{name}: loaded in {load_s:.0f} s; train and answer twice")
    written, train_seconds, write_seconds = zip(*(train_and_answer(base, epochs, task) for _ in range(2)), strict=True)
    train_s, write_s = min(train_seconds), min(write_seconds)  # the first one loads kernels
    torch.use_deterministic_algorithms(False)
    _, loose_s, _ = train_and_answer(base, epochs, replace(task, retrievals=()))
    deterministic_kernels()
    shown, options = config_for(base).exemplars, {"max_new_tokens": task.max_new_tokens}
    prompts = (
        writer.prompt(r.ticket.id, r.ticket.text, r.exemplars[:shown], intent=r.intent, **options) for r in task.retrievals
    )
    new_tokens = sum(reply.tokens for reply in written[0].replies.values()) - sum(len(prompt.ids) for prompt in prompts)
    texts = [[(reply.text, reply.draft) for reply in found.replies.values()] for found in written]
    return {
        "base": name,
        "load s": f"{load_s:.1f}",
        "train s": f"{train_s:.1f}",  # one adapter; a run of the command trains three, two of them on half of the rows
        "train tokens/s": f"{tokens / train_s:.0f}",
        # Forward and backward; a frozen weight gets no gradient of its own.
        "of matrix rate": f"{4 * linear_weights(base) * tokens / train_s / rate:.1%}",
        "not deterministic s": f"{loose_s:.1f}",
        "write s": f"{write_s:.1f}",
        "new tokens/s": f"{new_tokens / write_s:.0f}",
        "peak GiB": f"{torch.cuda.max_memory_allocated() / 2**30 if GPU else 0.0:.1f}",
        SAME: "yes" if texts[0] == texts[1] else "NO",
    }


def train_and_answer(base: BaseModel, epochs: Sequence[Sequence[Example]], task: Task) -> tuple[WrittenReplies, float, float]:
    """The replies of a freshly trained adapter, the seconds of the training and of the writing."""
    config, writer = config_for(base), prompt_writer(base.tokenizer, base.max_length)
    longest, shown = task.max_new_tokens, config.exemplars
    with temporary_adapter(base, seed=task.seed) as model:
        _, train_s = timed(lambda: train(model, epochs, learning_rate=config.learning_rate, seed=task.seed))
        write = partial(write_replies, task.retrievals, model, base, writer, max_new_tokens=longest, exemplars=shown)
        written, write_s = timed(write)
    return written, train_s, write_s


def linear_weights(base: BaseModel) -> int:
    """Weights of the layers' matrices; the vocabulary's two are left out: one is a lookup, one sees supervised tokens alone."""
    vocabulary = (base.model.get_input_embeddings(), base.model.get_output_embeddings())
    sizes: dict[int, int] = {id(module.weight): module.weight.numel() for module in vocabulary}  # the two may be one
    return base.parameters - sum(sizes.values())


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What the work gives, and its seconds, the device's queue drained."""
    began = time.monotonic()
    found = work()
    if GPU:
        torch.cuda.synchronize()
    return found, time.monotonic() - began


def matrix_rate() -> float:
    """Operations each second of a large matrix product: bf16 on a GPU, fp32 on a CPU; median of ten after three."""
    size, device, dtype = (8192, "cuda", torch.bfloat16) if GPU else (1024, "cpu", torch.float32)
    one = torch.randn(size, size, device=device, dtype=dtype)
    return 2 * size**3 / median([timed(lambda: one @ one)[1] for _ in range(13)][3:])


def bench(options: argparse.Namespace, *, rate: float) -> list[dict[str, str]]:
    """All bases in turn, a line of the table each."""
    task = make_task(options)
    precisions: tuple[Precision, ...] = ("bf16", "nf4") if GPU else ("fp32",)
    if GPU and find_spec("bitsandbytes") is None:
        say("nf4 is left out: bitsandbytes is not installed (pip install -r requirements-gpu.txt)")
        precisions = ("bf16",)
    with tempfile.TemporaryDirectory() as name:
        folder = str(random_checkpoint(options.shape, Path(name), seed=options.seed))
        bases = {f"{options.shape} in {precision}": BaseCandidate(folder, None, precision) for precision in precisions}
        bases |= {SMALL.label: SMALL} if GPU else {}
        return [measure(label, candidate, task, rate=rate) for label, candidate in bases.items()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; status 1 if two runs with one seed differed."""
    parser = new_parser("evaluation.benchmarks.gpu", __doc__)
    add = parser.add_argument
    add("--train", type=Path, default=Path("data/train.jsonl"), metavar="FILE", help="rows to learn from (default: the sample)")
    add("--val", type=Path, default=Path("data/val.jsonl"), metavar="FILE", help="tickets, repeated until there are enough")
    add("--shape", choices=SIZES, default="7b" if GPU else "tiny", help="default: 7b on a GPU, tiny without one")
    add("--seed", type=int, default=0, help="of weights, adapters and training data (default: 0)")
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options), failures=FAILURES)


def run(options: argparse.Namespace) -> int:
    """Measures all bases and prints the table."""
    configure()
    deterministic_kernels()
    rate = matrix_rate()
    lines = bench(options, rate=rate)
    print_table(lines)
    device = torch.cuda.get_device_name() if GPU else "no GPU: a tiny shape, figures without meaning"
    print(f"{device}; matrix rate {rate / 1e12:.2f} TFLOP/s; torch {torch.__version__}")
    return 0 if all(line[SAME] == "yes" for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
