"""What a run costs on this machine's GPU: `python -m evaluation.gpu_bench`.

Builds a checkpoint of the 7B shape with random weights (`shapes/7b.json`, nothing is downloaded), loads it in bf16 and in NF4
with the loader of a run, trains the adapter and answers with the code of a run, twice with one seed, and does the same with the
embedded base and its real weights. Random weights never end a reply, so the answering times are the worst there are. Without a
GPU a tiny shape takes the same way, to show that the command works; its figures mean nothing, and NF4 is left out, for
bitsandbytes cannot train on a CPU.

The share of the matrix rate sets the training's arithmetic (4 operations for each weight of a linear layer and token, forward
and backward; a frozen weight gets no gradient of its own) against what the device reaches on one large matrix product.

What it does not know: whether replies are good (`score`), and other machines.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TypeVar

import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoConfig, AutoModelForCausalLM, set_seed

from finetune.base_model import BaseModel, load_candidate
from finetune.base_selection import EMBEDDED, BaseCandidate, Precision
from finetune.lora import learning_rate, temporary_adapter, tune
from finetune.memory import release
from finetune.prompt import Example, prompt_writer
from finetune.reply_writer import max_reply_tokens, write_replies
from finetune.training_data import config_for, make_training_data
from retrieval.console import say
from retrieval.cross_validation import out_of_fold_scores
from retrieval.encoder import Encoder, ModelUnavailable, SentenceEncoder
from retrieval.intent_classifier import IntentClassifier, fit_classifier
from retrieval.replies import Question, asked
from retrieval.retrieve import retrieve
from retrieval.runtime import configure, deterministic_kernels
from retrieval.tickets import InputProblems, read_train, read_val
from retrieval.train_set import embed_train_set

T = TypeVar("T")

SHAPES = Path(__file__).parent / "shapes"
TICKETS, ROWS, ROOM = 50, 30, 320  # of the 7B shape and the embedded base
TINY_TICKETS, TINY_ROWS, TINY_ROOM = 4, 6, 8


@dataclass(frozen=True, slots=True)
class Task:
    """What is trained on and what is answered."""

    classifier: IntentClassifier
    questions: tuple[Question, ...]
    max_new_tokens: int
    seed: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What one base cost.

    Attributes:
        name: shape and precision.
        load_s: from the disk to the device.
        train_s: one LoRA run over the train rows; a run of the command does three (two halves, then all).
        train_tokens_s: tokens that went through the model, forward and backward, each second.
        share: of the device's matrix rate that training reaches, 0 to 1.
        loose_s: the same training without deterministic kernels.
        answer_s: all tickets.
        answer_tokens_s: tokens written each second.
        peak_gib: most memory that tensors held on the GPU, 0 without one.
        same: whether the second run with the same seed gave the same replies.
    """

    name: str
    load_s: float
    train_s: float
    train_tokens_s: float
    share: float
    loose_s: float
    answer_s: float
    answer_tokens_s: float
    peak_gib: float
    same: bool


def make_task(train: Path, val: Path, encoder: Encoder, *, tiny: bool, seed: int) -> Task:
    """Reads and looks up; the val tickets are repeated until there are enough.

    Raises:
        InputProblems: a file is bad.
    """
    rows, problems = read_train(train)
    tickets, more = read_val(val)
    if problems or more:
        raise InputProblems([*problems, *more])
    count, size, max_new_tokens = (TINY_TICKETS, TINY_ROWS, TINY_ROOM) if tiny else (TICKETS, ROWS, ROOM)
    classifier = fit_classifier(embed_train_set(rows[:size], encoder), with_names=True)
    found = retrieve(classifier, tickets, encoder.encode([ticket.text for ticket in tickets]))
    repeated = [found[i % len(found)] for i in range(count)]
    questions = [Question(f"{i}", q.ticket, q.intent, q.exemplars) for i, q in enumerate(map(asked, repeated))]
    return Task(classifier, tuple(questions), max_new_tokens, seed)


def random_checkpoint(shape: str, folder: Path, *, seed: int) -> Path:
    """A checkpoint of this shape with random weights and the embedded base's tokenizer."""
    settings = json.loads((SHAPES / f"{shape}.json").read_text(encoding="utf-8"))
    set_seed(seed)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**settings), dtype=torch.bfloat16)
    embedded = load_candidate(BaseCandidate(EMBEDDED, None, "fp32"))
    model.generation_config.eos_token_id = embedded.tokenizer.eos_token_id
    model.save_pretrained(folder)
    embedded.tokenizer.save_pretrained(folder)
    return folder


def measure(name: str, candidate: BaseCandidate, task: Task, *, rate: float) -> Figures:
    """Loads, trains and answers, twice; `rate` is the device's, in operations each second."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    base, load_s = timed(lambda: load_candidate(candidate))
    writer = prompt_writer(base.tokenizer, base.max_length)
    config = config_for(large=base.large)
    epochs = make_training_data(
        task.classifier.train_set, out_of_fold_scores(task.classifier), writer, config, seed=task.seed
    ).epochs
    tokens = sum(len(example.ids) for epoch in epochs for example in epoch)
    max_new_tokens = min(task.max_new_tokens, max_reply_tokens(writer, task.classifier.train_set.rows))
    replies, train_s, answer_s = [], [], []
    for turn in ("first", "second"):
        say(f"{name}: {turn} run")
        with temporary_adapter(base, seed=task.seed) as tuned:
            train_s.append(timed(lambda: _train(tuned, epochs, base, task.seed))[1])
            written, seconds = timed(lambda: write_replies(task.questions, tuned, base, writer, max_new_tokens=max_new_tokens))
            replies.append({row_id: (reply.text, reply.draft) for row_id, reply in written.replies.items()})
            answer_s.append(seconds)
    prompt_tokens = sum(
        len(writer.prompt(q.row_id, q.ticket, q.exemplars, intent=q.intent, max_new_tokens=max_new_tokens).ids)
        for q in task.questions
    )
    spoken = sum(reply.tokens for reply in written.replies.values()) - prompt_tokens
    return Figures(
        name=name,
        load_s=load_s,
        train_s=median(train_s),
        train_tokens_s=tokens / median(train_s),
        share=4 * _linear_weights(base) * tokens / median(train_s) / rate,
        loose_s=_loosely(lambda: _one_training(base, epochs, task.seed)),
        answer_s=median(answer_s),
        answer_tokens_s=spoken / median(answer_s),
        peak_gib=torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0,
        same=replies[0] == replies[1],
    )


def _train(tuned: torch.nn.Module, epochs: Sequence[Sequence[Example]], base: BaseModel, seed: int) -> None:
    tune(tuned, epochs, rate=learning_rate(base), seed=seed)


def _one_training(base: BaseModel, epochs: Sequence[Sequence[Example]], seed: int) -> None:
    with temporary_adapter(base, seed=seed) as tuned:
        _train(tuned, epochs, base, seed)


def _loosely(work: Callable[[], None]) -> float:
    """Seconds without deterministic kernels."""
    torch.use_deterministic_algorithms(False)
    try:
        return timed(work)[1]
    finally:
        deterministic_kernels()


def _linear_weights(base: BaseModel) -> int:
    """Weights of the layers' matrices; the vocabulary's two are left out: one is a retrieved, one sees supervised tokens
    alone."""
    held = (base.model.get_input_embeddings(), base.model.get_output_embeddings())
    apart: dict[int, int] = {id(module.weight): module.weight.numel() for module in held}
    return base.parameters - sum(apart.values())


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What the work gives, and its seconds, the device's queue drained."""
    began = time.monotonic()
    found = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return found, time.monotonic() - began


def matrix_rate() -> float:
    """Operations each second of a large matrix product: bf16 on a GPU, fp32 on a CPU; median of ten."""
    gpu = torch.cuda.is_available()
    size, device, dtype = (8192, "cuda", torch.bfloat16) if gpu else (1024, "cpu", torch.float32)
    one = torch.randn(size, size, device=device, dtype=dtype)
    for _ in range(3):
        one @ one
    if gpu:
        torch.cuda.synchronize()
    return 2 * size**3 / median(timed(lambda: one @ one)[1] for _ in range(10))


def show(figures: Sequence[Figures], rate: float) -> None:
    """Prints the table."""
    heads = (
        "base",
        "load s",
        "train s",
        "tokens/s",
        "of matrix rate",
        "not deterministic s",
        "answer s",
        "tokens/s",
        "peak GiB",
        "same twice",
    )
    table = Table(*heads)
    for f in figures:
        training = (f"{f.load_s:.1f}", f"{f.train_s:.1f}", f"{f.train_tokens_s:.0f}", f"{f.share:.1%}", f"{f.loose_s:.1f}")
        answering = (f"{f.answer_s:.1f}", f"{f.answer_tokens_s:.0f}", f"{f.peak_gib:.1f}", "yes" if f.same else "NO")
        table.add_row(f.name, *training, *answering)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU: a tiny shape, figures without meaning"
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    console.print(f"{device}; matrix rate {rate / 1e12:.2f} TFLOP/s; torch {torch.__version__}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; status 1 if two runs with one seed differed."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.gpu_bench", description="What a run costs on this machine's GPU."
    )
    add = parser.add_argument
    add("--train", type=Path, default=Path("data/train.jsonl"), metavar="FILE", help="rows to learn from (default: the sample)")
    add("--val", type=Path, default=Path("data/val.jsonl"), metavar="FILE", help=f"tickets, repeated up to {TICKETS}")
    add("--shape", choices=("7b", "tiny"), default=None, help="default: 7b on a GPU, tiny without one")
    add("--seed", type=int, default=0, help="of weights, adapters and data (default: 0)")
    options = parser.parse_args(arguments)
    configure()
    deterministic_kernels()
    try:
        shape = options.shape or ("7b" if torch.cuda.is_available() else "tiny")
        task = make_task(options.train, options.val, SentenceEncoder(None), tiny=shape == "tiny", seed=options.seed)
        figures, rate = bench(shape, task)
    except InputProblems as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return 2
    except ModelUnavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    show(figures, rate)
    return 0 if all(f.same for f in figures) else 1


def bench(shape: str, task: Task) -> tuple[list[Figures], float]:
    """All bases in turn, and the device's matrix rate.

    Raises:
        ModelUnavailable: the embedded base, whose tokenizer all use, is not installed.
    """
    rate = matrix_rate()
    precisions: tuple[Precision, ...] = ("bf16", "nf4") if torch.cuda.is_available() else ("fp32",)
    if "nf4" in precisions and find_spec("bitsandbytes") is None:
        say("nf4 is left out: bitsandbytes is not installed (pip install -r requirements-gpu.txt)")
        precisions = precisions[:1]
    found: list[Figures] = []
    with tempfile.TemporaryDirectory() as name:
        folder = random_checkpoint(shape, Path(name), seed=task.seed)
        for precision in precisions:
            release()
            found.append(measure(f"{shape} in {precision}", BaseCandidate(str(folder), None, precision), task, rate=rate))
    release()
    if torch.cuda.is_available():
        found.append(measure("embedded in fp32", BaseCandidate(EMBEDDED, None, "fp32"), task, rate=rate))
    return found, rate


if __name__ == "__main__":
    sys.exit(main())
