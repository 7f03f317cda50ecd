"""python -m evaluation.benchmarks.reply_gate: does the reply gate decide well, and does its short way decide the same?

For each split the adapter of a run is trained and both folds are measured, whatever the first one says. The table compares two
ways to decide: by both folds, and the short way of a run, which copies untested where the evidence could not matter and stops
after a first fold that is poor or clear. The test rows are then answered by generating and by copying, so the table also says
what each rule would have got, two looser standards among them. One JSON line per split goes to stdout, a table to stderr; the
splits can be shared out with --first-split and --jsonl, and --report prints the table of all.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from evaluation.command import new_parser, print_table, run_command
from evaluation.generation import FAILURES, add_generation_options, generated_replies, load_for_generation
from evaluation.measured_lines import Measured, add_lines_options, report_problems, with_earlier_lines
from evaluation.splits import Split
from finetune.base_model import BaseModel
from finetune.distributed import SINGLE_PROCESS
from finetune.evidence import Evidence, Setup, fold_rows, gather_evidence
from finetune.fit import (
    final_adapter,
    first_fold_verdict,
    judge_replies,
    make_setup,
    not_worth_testing,
    training_rows,
)
from finetune.forgetting import choose_scale, general_text
from finetune.gates import MIN_REPLIES
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
    """What both folds say, and what a run would say."""
    parts = [of_fold(setup, evidence, fold) for fold in range(len(fold_rows(setup.classifier)))]
    gains = [list(part.gains.values()) for part in parts]
    gate = judge_replies(evidence, seed=setup.seed)
    untested = not_worth_testing(setup)
    stopped = "" if untested else first_fold_verdict(parts[0], seed=setup.seed)
    seen = replace(parts[0], stopped=stopped) if stopped else evidence  # what a run would have measured
    return {
        "passed": [len(found) for found in gains],  # replies of each fold that passed the check
        "written": [len(part.replies) for part in parts],
        "gains": [[round(gain, 4) for gain in found] for found in gains],  # of each of them, generated minus copied
        "gain": gate.value,  # mean, generated minus copied
        "full": gate.passed,  # whether both folds say generate
        "short": not untested and judge_replies(seen, seed=setup.seed).passed,  # whether a run would
        "stopped": untested or stopped,  # why a run would not have measured both folds
    }


def of_fold(setup: Setup, evidence: Evidence, fold: int) -> Evidence:
    """What was measured on one fold."""
    rows = setup.classifier.train_set.rows
    ids = {rows[i].id for i in fold_rows(setup.classifier)[fold]}
    return replace(
        evidence,
        retrievals=tuple(found for found in evidence.retrievals if found.ticket.id in ids),
        replies={row_id: reply for row_id, reply in evidence.replies.items() if row_id in ids},
        gains={row_id: gain for row_id, gain in evidence.gains.items() if row_id in ids},
    )


def table(measured: Sequence[Measured]) -> list[dict[str, str]]:
    """What each rule gets on the test rows of all splits, against copying."""
    rules = {
        "never generate": [False] * len(measured),
        "always generate": [True] * len(measured),
        "gate, both folds": [found["full"] for found in measured],
        "gate, the short way of a run": [found["short"] for found in measured],
        "mean above 0, both folds": [_above_0(found["gains"], lambda gains: float(np.mean(gains))) for found in measured],
        "90 % quantile above 0, both folds": [
            _above_0(found["gains"], lambda gains: bootstrap_interval(gains, level=LEVEL, seed=0)[1]) for found in measured
        ],
    }
    return [_table_line(rule, generates, measured) for rule, generates in rules.items()]


def _above_0(gains: Sequence[Sequence[float]], statistic: Callable[[Sequence[float]], float]) -> bool:
    """A looser standard than the gate's: whether a statistic of the gains of both folds is above 0."""
    together = [gain for fold in gains for gain in fold]
    return len(together) >= MIN_REPLIES and statistic(together) > 0


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
    if problems := report_problems(options):
        raise InputProblems(problems)
    measured = () if options.report else measure_all(*load_for_generation(options))
    print_table(table(with_earlier_lines(measured, options.jsonl)), stderr=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
