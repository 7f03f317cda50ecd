"""python -m evaluation.benchmarks.reply_gate: does the reply gate decide well, and does its short way decide the same?

For each split the adapter of a run is trained and both folds are measured, whatever the first one says. The test rows are
answered by generating and by copying. The table says what each rule would have got: the gate as a run decides, which copies
untested where the evidence could not matter and stops after a first fold that is poor or clear; its standard on both folds; and
other standards. The rules are applied to the gains in the lines. One JSON line per split goes to stdout, a table to stderr; the
splits can be shared out with --first-split and --jsonl, and --report prints the table of all.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from evaluation.command import new_parser, print_table, run_command
from evaluation.generation import FAILURES, add_generation_options, generated_replies, load_for_generation
from evaluation.measured_lines import Measured, add_lines_options, line_problems, with_earlier_lines
from evaluation.splits import Split
from finetune.base_model import BaseModel
from finetune.distributed import SINGLE_PROCESS
from finetune.evidence import Evidence, Setup, fold_rows, gather_evidence
from finetune.fit import (
    final_adapter,
    first_fold_verdict,
    make_setup,
    not_worth_testing,
    training_rows,
)
from finetune.forgetting import choose_scale, general_text
from finetune.gates import MIN_GAIN, MIN_REPLIES, REPLY_LEVEL, first_fold_stop, reply_gate
from finetune.memory import memory_plans
from finetune.reply_quality import reply_qualities
from finetune.training_data import config_for, make_training_data
from retrieval.bootstrap import bootstrap_interval
from retrieval.compose import with_composed_replies
from retrieval.console import say
from retrieval.encoder import Encoder
from retrieval.gate import LEVEL
from retrieval.intent_classifier import fit_classifier
from retrieval.label_names import label_names_gate
from retrieval.prediction import copy_reply
from retrieval.retrieve import retrieve
from retrieval.tickets import InputProblems

MODULE = "evaluation.benchmarks.reply_gate"


def measure(split: Split, base: BaseModel, encoder: Encoder, *, seed: int) -> Measured:
    """One split: scale, evidence of both folds, both decisions, and the quality of generated and of stored replies."""
    began = time.monotonic()
    classifier = fit_classifier(split.train_set, with_names=label_names_gate(split.train_set, seed=0).passed)
    config = config_for(base)
    setup = make_setup(classifier, training_rows(classifier, base), base, config, seed=seed, processes=SINGLE_PROCESS)
    data = make_training_data(setup.classifier, setup.log_p, setup.writer, config, seed=seed)
    model, run = final_adapter(setup, data, np.inf)
    try:
        scale, gate = choose_scale(model, general_text(setup.writer), seed=seed)
        plans = memory_plans(base.model.device)
        evidence = gather_evidence(setup, model, encoder, scale=scale, plans=plans, deadline=np.inf)
        found = with_composed_replies(retrieve(classifier, split.tickets, split.vectors), split.vectors, encoder)
        generated = generated_replies(found, model, base, split.train_set, label="test rows", exemplars=config.exemplars)
    finally:
        model.unload()
    ideals = [label.ideal_reply for label in split.labels]
    qualities = (
        reply_qualities([reply.text for reply in each], ideals, encoder) for each in (generated, map(copy_reply, found))
    )
    always, never = ([round(float(q), 4) for q in quality] for quality in qualities)
    return {
        "split": split.name,
        "steps": run.steps,
        "scale": scale,
        "loss_increase": gate.value,  # on general text at that scale, nats per token
        **decisions(setup, evidence),
        "always": always,  # quality of each test row's reply when generated and checked
        "never": never,  # the same when copied
        "replaced": sum(reply.source == "replaced" for reply in generated),
        "seconds": round(time.monotonic() - began, 1),
    }


def decisions(setup: Setup, evidence: Evidence) -> Measured:
    """What the folds say, and what of it a run would have measured."""
    parts = [of_fold(setup, evidence, fold) for fold in range(len(fold_rows(setup.classifier)))]
    gains = [list(part.gains.values()) for part in parts]
    together = [gain for fold in gains for gain in fold]
    untested = not_worth_testing(setup)
    stopped = "" if untested else first_fold_verdict(parts[0], seed=setup.seed)
    return {
        "passed": [len(found) for found in gains],  # replies of each fold that passed the check
        "written": [len(part.replies) for part in parts],
        "gains": [[round(gain, 4) for gain in found] for found in gains],  # of each of them, generated minus copied
        "gain": float(np.mean(together)) if together else None,  # mean, generated minus copied
        "untested": untested,  # why a run would have measured nothing, a clause
        "stopped": stopped,  # why a run would not have measured the second fold
    }


def of_fold(setup: Setup, evidence: Evidence, fold: int) -> Evidence:
    """The replies of one fold, and what they gain."""
    rows = setup.classifier.train_set.rows
    ids = {rows[i].id for i in fold_rows(setup.classifier)[fold]}
    return replace(
        evidence,
        replies={row_id: reply for row_id, reply in evidence.replies.items() if row_id in ids},
        gains={row_id: gain for row_id, gain in evidence.gains.items() if row_id in ids},
    )


def table(measured: Sequence[Measured]) -> list[dict[str, str]]:
    """What each rule gets on the test rows of all splits, against copying."""
    low, high = partial(_quantile, level=REPLY_LEVEL, end=0), partial(_quantile, level=LEVEL, end=1)
    rules = {
        "never generate": [False] * len(measured),
        "always generate": [True] * len(measured),
        "gate, as a run decides": [_of_a_run(found) for found in measured],
        f"mean at least {MIN_GAIN}, both folds": [reply_gate(_together(found), seed=0).passed for found in measured],
        "mean above 0, both folds": [_above_0(found, lambda gains: float(np.mean(gains))) for found in measured],
        "6.3 % quantile above 0, both folds": [_above_0(found, low) for found in measured],
        "90 % quantile above 0, both folds": [_above_0(found, high) for found in measured],
    }
    return [_table_line(rule, generates, measured) for rule, generates in rules.items()]


def _together(found: Measured) -> list[float]:
    return [gain for fold in found["gains"] for gain in fold]


def _of_a_run(found: Measured) -> bool:
    """What the gate says after the first fold, or after both where the first does not end the measuring."""
    if found.get("untested") or not found["gains"]:
        return False
    first, written = found["gains"][0], found["written"][0]
    stopped = first_fold_stop(first, written, seed=0)
    return reply_gate(first if stopped else _together(found), stopped=stopped, seed=0).passed


def _above_0(found: Measured, statistic: Callable[[Sequence[float]], float]) -> bool:
    """Another standard: whether a statistic of the gains of both folds is above 0."""
    gains = _together(found)
    return len(gains) >= MIN_REPLIES and statistic(gains) > 0


def _quantile(gains: Sequence[float], *, level: float, end: int) -> float:
    return bootstrap_interval(gains, level=level, seed=0)[end]


def _table_line(rule: str, generates: Sequence[bool], measured: Sequence[Measured]) -> dict[str, str]:
    chosen = [found["always"] if yes else found["never"] for yes, found in zip(generates, measured, strict=True)]
    quality, copied = np.concatenate(chosen), np.concatenate([found["never"] for found in measured])
    means = [float(np.mean(one) - np.mean(found["never"])) for one, found in zip(chosen, measured, strict=True)]
    error = np.std(means, ddof=1) / np.sqrt(len(means)) if len(means) > 1 else np.nan
    return {
        "rule": rule,
        "splits that generate": f"{sum(generates)} of {len(measured)}",
        "quality": f"{quality.mean():.3f}",
        "minus copying (± standard error over splits)": f"{quality.mean() - copied.mean():+.3f} ± {error:.3f}",
    }


def measure_all(splits: Sequence[Split], base: BaseModel, encoder: Encoder) -> Iterator[Measured]:
    """Every split, with its number as the seed."""
    for split in splits:
        yield (found := measure(split, base, encoder, seed=split.seed))
        say("{split}: scale {scale}, {passed} of {written} replies passed, {seconds:.0f} s".format(**found))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the comparison."""
    parser = new_parser(MODULE, __doc__)
    add_generation_options(parser)
    add_lines_options(parser)
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options), failures=FAILURES)


def run(options: argparse.Namespace) -> int:
    """Reads, measures, prints."""
    if problems := line_problems(options, key="gains"):
        raise InputProblems(problems)
    measured = () if options.report else measure_all(*load_for_generation(options))
    print_table(table(with_earlier_lines(measured, options.jsonl)), stderr=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
