"""python -m evaluation.benchmarks.adapter_scale: what is an adapter worth at each scale, and what does it cost on general text?

For each split the adapter of a run is trained once. At each scale that the forgetting check tries, and at 0 (the bare base),
the loss on general text is measured and the test rows are answered: a customer gets the draft where it passed the check and is
nearer to the ticket than the stored reply, else the stored reply. The second table says what choices of the scale would have
gained. One JSON line per split and scale goes to stdout, the tables to stderr; the splits can be shared out with --first-split
and --jsonl, and --report prints the tables of all.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from evaluation.benchmarks.reply_gate.drafts import drafts
from evaluation.benchmarks.reply_gate.rules import customer_gains
from evaluation.command import print_table, run_command
from evaluation.generation import FAILURES, adapter_of_a_run, generated_replies, load_for_generation, parse_generation
from evaluation.measured_lines import Measured, line_problems, with_earlier_lines
from evaluation.splits import Split
from finetune.base_model import BaseModel
from finetune.forgetting import general_text, increase, losses_at
from finetune.gates import MAX_LOSS_INCREASE, SCALES
from retrieval.compose import with_composed_replies
from retrieval.encoder import Encoder
from retrieval.retrieve import retrieve
from retrieval.tickets import InputProblems

MODULE = "evaluation.benchmarks.adapter_scale"
BARE = 0.0
CHOICES: Mapping[str, tuple[float, ...]] = {
    "forgetting check of 1, .5 (before)": (1.0, 0.5),
    "forgetting check, as a run chooses": SCALES,
}


def measure(split: Split, base: BaseModel, encoder: Encoder) -> Iterator[Measured]:
    """One split: a line for each scale of its adapter."""
    ideals = [label.ideal_reply for label in split.labels]
    with adapter_of_a_run(split, base, seed=split.seed) as run_of:
        model, text, exemplars = run_of.model, general_text(run_of.setup.writer), run_of.setup.config.exemplars
        found = with_composed_replies(retrieve(run_of.classifier, split.tickets, split.vectors), split.vectors, encoder)
        before = losses_at(model, text, BARE)
        for scale in (*SCALES, BARE):
            rises = increase(before, losses_at(model, text, scale))
            replies = generated_replies(found, model, base, split.train_set, label="test rows", exemplars=exemplars)
            test = drafts(found, replies, vectors=split.vectors, train_set=split.train_set, ideals=ideals, encoder=encoder)
            sentences, paraphrases = (round(float(np.mean(each)), 4) for each in rises)
            yield {"split": split.name, "scale": scale, "sentences": sentences, "paraphrases": paraphrases, "test": test}


def scale_table(measured: Sequence[Measured]) -> list[dict[str, str]]:
    """A line for each split and scale."""
    return [
        {
            "split": line["split"],
            "scale": f"{line['scale']:g}",
            "loss on sentences": f"{line['sentences']:+.3f}",
            "on paraphrases": f"{line['paraphrases']:+.3f}",
            "drafts passed": f"{sum(draft['passed'] for draft in line['test'])} of {len(line['test'])}",
            "gain": f"{_gain(line):+.3f}",
        }
        for line in measured
    ]


def choice_table(measured: Sequence[Measured]) -> list[dict[str, str]]:
    """What each choice of the scale gains on the splits where all scales were measured."""
    splits: dict[str, dict[float, Measured]] = {}
    for line in measured:
        splits.setdefault(line["split"], {})[line["scale"]] = line
    whole = [lines for lines in splits.values() if set(lines) == {*SCALES, BARE}]
    always = {f"always {scale:g}": [lines[scale] for lines in whole] for scale in (*SCALES, BARE)}
    checked = {name: [_chosen(lines, scales) for lines in whole] for name, scales in CHOICES.items()}
    return [_choice_line(name, chosen) for name, chosen in {**always, **checked}.items() if chosen]


def _chosen(lines: Mapping[float, Measured], scales: Sequence[float]) -> Measured:
    """The line of the first of these scales that the forgetting check lets pass."""
    return next((lines[scale] for scale in scales if _rise(lines[scale]) <= MAX_LOSS_INCREASE), lines[BARE])


def _choice_line(name: str, chosen: Sequence[Measured]) -> dict[str, str]:
    gains = [_gain(line) for line in chosen]
    error = np.std(gains, ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.nan
    return {
        "scale": name,
        "splits": str(len(chosen)),
        "mean scale": f"{np.mean([line['scale'] for line in chosen]):.2f}",
        "loss on general text": f"{np.mean([_rise(line) for line in chosen]):+.3f}",
        "gain (± standard error over splits)": f"{np.mean(gains):+.3f} ± {error:.3f}",
    }


def _rise(line: Measured) -> float:
    return float(max(line["sentences"], line["paraphrases"]))


def _gain(line: Measured) -> float:
    """In reply quality over the stored replies, of what a customer would get."""
    return float(np.mean(customer_gains(line["test"])))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the comparison."""
    options = parse_generation(MODULE, __doc__, arguments)
    return run_command(lambda: run(options), failures=FAILURES)


def run(options: argparse.Namespace) -> int:
    """Reads, measures, prints."""
    if problems := line_problems(options, key="paraphrases"):
        raise InputProblems(problems)
    lines = with_earlier_lines(() if options.report else measure_all(options), options.jsonl)
    for rows in (scale_table(lines), choice_table(lines)):
        if rows:
            print_table(rows, stderr=True)
    return 0


def measure_all(options: argparse.Namespace) -> Iterator[Measured]:
    """Every split."""
    splits, base, encoder = load_for_generation(options)
    for split in splits:
        yield from measure(split, base, encoder)


if __name__ == "__main__":
    sys.exit(main())
