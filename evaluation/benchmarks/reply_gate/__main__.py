"""python -m evaluation.benchmarks.reply_gate: does the reply gate decide well, and is the nearer reply the better one?

For each split the adapter of a run is trained, both folds are measured, whatever the first one says (none where a run would
measure none: a large base on a CPU without bf16, or too few rows), and the test rows are answered: each draft beside the stored
reply, with the quality of both and how near to the ticket they are. The tables say what each rule would have given: drafts
always or never, on the word of the gate as a run decides (it copies untested where the evidence could not matter and stops
after a first fold that is poor or clear), on other standards; every draft that passes the check, or those nearer to the ticket
than the stored reply. One JSON line per split goes to stdout, the tables to stderr; the splits can be shared out with
--first-split and --jsonl, and --report prints the tables of all.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence

import numpy as np

from evaluation.benchmarks.reply_gate.drafts import Draft, drafts
from evaluation.benchmarks.reply_gate.rules import nearness_lines, split_lines, table
from evaluation.command import print_table, run_command
from evaluation.generation import FAILURES, adapter_of_a_run, generated_replies, load_for_generation, parse_generation
from evaluation.measured_lines import Measured, line_problems, with_earlier_lines
from evaluation.splits import Split
from finetune.base_model import BaseModel
from finetune.evidence import NO_EVIDENCE, Evidence, Setup, fold_rows, gather_evidence
from finetune.forgetting import choose_scale, general_text
from finetune.judging import not_worth_testing
from finetune.memory import memory_plans
from retrieval.compose import with_composed_replies
from retrieval.console import say
from retrieval.encoder import Encoder
from retrieval.retrieve import retrieve
from retrieval.tickets import InputProblems

MODULE = "evaluation.benchmarks.reply_gate"


def measure(split: Split, base: BaseModel, encoder: Encoder, *, seed: int) -> Measured:
    """One split: the scale, and the drafts of both folds and of the test rows beside the stored replies."""
    began = time.monotonic()
    with adapter_of_a_run(split, base, seed=seed) as run_of:
        setup, model, exemplars = run_of.setup, run_of.model, run_of.setup.config.exemplars
        scale, gate = choose_scale(model, general_text(setup.writer), seed=seed)
        plans = memory_plans(base.model.device, base.model.dtype)
        untested = not_worth_testing(setup)
        evidence = NO_EVIDENCE
        if not untested:
            evidence = gather_evidence(setup, model, encoder, scale=scale, plans=plans, deadline=np.inf)
        found = with_composed_replies(retrieve(run_of.classifier, split.tickets, split.vectors), split.vectors, encoder)
        generated = generated_replies(found, model, base, split.train_set, label="test rows", exemplars=exemplars)
    return {
        "split": split.name,
        "steps": run_of.training.steps,
        "scale": scale,
        "loss_increase": gate.value,  # on general text at that scale, nats per token
        "untested": untested,  # why a run would have measured nothing, a clause
        "folds": [] if untested else fold_drafts(setup, evidence, encoder),
        "test": drafts(
            found,
            generated,
            vectors=split.vectors,
            train_set=split.train_set,
            ideals=[label.ideal_reply for label in split.labels],
            encoder=encoder,
        ),
        "seconds": round(time.monotonic() - began, 1),
    }


def fold_drafts(setup: Setup, evidence: Evidence, encoder: Encoder) -> list[list[Draft]]:
    """The drafts of each fold."""
    train_set = setup.classifier.train_set
    position = {row.id: i for i, row in enumerate(train_set.rows)}
    found = []
    for fold in fold_rows(setup.classifier):
        judged = [one for one in evidence.retrievals if position[one.ticket.id] in fold]
        rows = [position[one.ticket.id] for one in judged]
        replies, ideals = [evidence.replies[one.ticket.id] for one in judged], [train_set.rows[i].ideal_reply for i in rows]
        found.append(
            drafts(judged, replies, vectors=train_set.ticket_vectors[rows], train_set=train_set, ideals=ideals, encoder=encoder)
        )
    return found


def measure_all(splits: Sequence[Split], base: BaseModel, encoder: Encoder) -> Iterator[Measured]:
    """Every split, with its number as the seed."""
    for split in splits:
        yield (found := measure(split, base, encoder, seed=split.seed))
        say("{split}: scale {scale}, {seconds:.0f} s".format(**found))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the comparison."""
    options = parse_generation(MODULE, __doc__, arguments)
    return run_command(lambda: run(options), failures=FAILURES)


def run(options: argparse.Namespace) -> int:
    """Reads, measures, prints."""
    if problems := line_problems(options, key="test"):
        raise InputProblems(problems)
    measured = () if options.report else measure_all(*load_for_generation(options))
    lines = with_earlier_lines(measured, options.jsonl)
    for rows in (split_lines(lines), nearness_lines(lines), table(lines)):
        print_table(rows, stderr=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
