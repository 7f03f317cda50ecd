"""python -m evaluation.benchmarks.stages: what the parts of a run cost, and how near they come to the processor's matrix rate.

The encoder, a training step (with and without a gradient through the prompt), completion losses and writing are measured on the
rows of a train file, with the code of a run and a fresh adapter; only the writing stands here, for a reply of a run may end
early. The precisions of the base take turns, so that a machine that becomes slower is as slow for all of them. Operations are
those that torch counts: matrix products and attention.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import GenerationConfig

from evaluation.benchmarks.gpu import timed
from evaluation.command import count, new_parser, print_table, run_command
from evaluation.generation import FAILURES
from finetune.base_model import DTYPES, BaseModel, load_candidate
from finetune.base_selection import Precision, base_problems, candidates
from finetune.lora import attach
from finetune.prompt import Example, prompt_writer
from finetune.training import BATCH, completion_losses, row_losses
from finetune.training_data import config_for, judging_examples
from retrieval.console import say
from retrieval.cross_validation import out_of_fold_log_probabilities
from retrieval.encoder import SentenceEncoder, encoder_problems, load_encoder
from retrieval.intent_classifier import IntentClassifier, fit_classifier
from retrieval.known_models import SMOLLM
from retrieval.runtime import configure, deterministic_kernels
from retrieval.tickets import InputProblems, read_train
from retrieval.train_set import embed_train_set

NEW_TOKENS = 32  # that each written reply has
REPLIES = 16  # that are written together
MATRIX = 2048  # rows and columns of the product that gives the matrix rate
NO_GRADIENT, GRADIENT = "training step, prompt without a gradient", "training step, gradient through the prompt"

Work = Callable[[], object]


def matrix_rate(precision: Precision) -> float:
    """Operations each second of a large matrix product; the median of ten after three."""
    one = torch.randn(MATRIX, MATRIX, dtype=DTYPES[precision])
    return 2 * MATRIX**3 / median([timed(lambda: one @ one)[1] for _ in range(13)][3:])


def parts_of(base: BaseModel, classifier: IntentClassifier) -> dict[str, Work]:
    """The work of each part, by name; the base gets a fresh adapter."""
    writer, log_p = prompt_writer(base.tokenizer, base.max_length), out_of_fold_log_probabilities(classifier)
    examples = tuple(judging_examples(classifier, log_p, writer, config_for(base)).values())
    model = attach(base, seed=0)
    prompts = [example.ids[: -example.supervised] for example in examples[:REPLIES]]
    return {
        NO_GRADIENT: partial(step, model, examples[:BATCH], prompt_gradient=False),
        GRADIENT: partial(step, model, examples[:BATCH], prompt_gradient=True),
        f"completion losses of {len(examples)} rows": lambda: completion_losses(model, examples),
        f"{len(prompts)} replies of 1 token": lambda: write(model, prompts, 1),
        f"{len(prompts)} replies of {NEW_TOKENS} tokens": lambda: write(model, prompts, NEW_TOKENS),
    }


def step(model: torch.nn.Module, batch: Sequence[Example], *, prompt_gradient: bool) -> None:
    """Forward and backward of a batch; the optimiser's own step is small."""
    model.train()
    row_losses(model, batch, prompt_gradient=prompt_gradient).sum().backward()  # type: ignore[no-untyped-call]
    model.zero_grad()
    model.eval()


def write(model: torch.nn.Module, prompts: Sequence[Sequence[int]], tokens: int) -> torch.Tensor:
    """(p, width + tokens) ids: exactly so many tokens behind every prompt, whichever of them would end a reply."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts])  # (p, width)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    settings = GenerationConfig(do_sample=False, max_new_tokens=tokens, min_new_tokens=tokens, pad_token_id=0)
    with torch.inference_mode():
        return model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)  # type: ignore[operator, no-any-return]


def measure(parts: Mapping[Precision, Mapping[str, Work]], *, rounds: int) -> dict[tuple[Precision, str], list[float]]:
    """Seconds of each part in each round, the precisions in turn; a first round, not counted, loads what is loaded once."""
    found: dict[tuple[Precision, str], list[float]] = {}
    for number in range(rounds + 1):
        say(f"round {number} of {rounds}")
        for name in next(iter(parts.values())):
            for precision, works in parts.items():
                seconds = timed(works[name])[1]
                found.setdefault((precision, name), []).append(seconds)
    return {key: seconds[1:] for key, seconds in found.items()}


def operations(work: Work) -> int:
    """Operations of matrix products and attention, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def table_line(precision: Precision, name: str, seconds: Sequence[float], operations: int, rate: float) -> dict[str, str]:
    """A line of the table."""
    middle = median(seconds)
    return {
        "base in": precision,
        "part": name,
        "seconds": f"{middle:.2f}",
        "from, to": f"{min(seconds):.2f}, {max(seconds):.2f}",
        "10^12 operations": f"{operations / 1e12:.2f}",
        "10^9 a second": f"{operations / middle / 1e9:.0f}",
        "of matrix rate": f"{operations / middle / rate:.0%}",
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints."""
    parser = new_parser("evaluation.benchmarks.stages", __doc__)
    add = parser.add_argument
    add("--train", type=Path, default=Path("data/train.jsonl"), metavar="FILE", help="train rows (default: the sample)")
    add("--base-model", default=SMOLLM.name, metavar="BASE", help=f"as for run.py (default: {SMOLLM.name})")
    add("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"], help="of the base (default: both)")
    add("--encoder", default="auto", metavar="ENCODER", help="as for run.py (default: auto)")
    add("--rounds", type=count, default=3, metavar="N", help="default: 3")
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options), failures=FAILURES)


def run(options: argparse.Namespace) -> int:
    """Reads, measures, prints."""
    rows, problems = read_train(options.train)
    problems += [*base_problems(options.base_model, Path()), *encoder_problems(options.encoder)]
    problems += ["--base-model none: found no base, expected one to measure"] if options.base_model == "none" else []
    if problems:
        raise InputProblems(problems)
    threads = configure()
    deterministic_kernels()
    encoder = load_encoder(options.encoder)
    classifier = fit_classifier(embed_train_set(rows, encoder), with_names=True)
    parts: dict[Precision, dict[str, Work]] = {
        precision: parts_of(load_candidate(replace(candidates(options.base_model, None)[0], precision=precision)), classifier)
        for precision in options.precision
    }
    lines = [_encoder_line(encoder, [row.text for row in rows], options.rounds)]
    seconds = measure(parts, rounds=options.rounds)
    for (precision, name), found in seconds.items():
        lines.append(table_line(precision, name, found, operations(parts[precision][name]), matrix_rate(precision)))
    print_table(lines)
    print(f"{threads} threads; " + ", ".join(f"{p}: {matrix_rate(p) / 1e9:.0f} 10^9 operations a second" for p in parts))
    return 0


def _encoder_line(encoder: SentenceEncoder, texts: Sequence[str], rounds: int) -> dict[str, str]:
    name = f"embed {len(texts)} tickets (encoder)"
    found = measure({"fp32": {name: lambda: encoder.encode(texts)}}, rounds=rounds)["fp32", name]
    return table_line("fp32", name, found, operations(lambda: encoder.encode(texts)), matrix_rate("fp32"))


if __name__ == "__main__":
    sys.exit(main())
