"""The short table at the end of a run."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from rich.table import Table
from rich.text import Text

from retrieval.console import show
from retrieval.results import Answer
from retrieval.tickets import printable
from retrieval.train_set import TrainSet

UNSURE = 0.5


def print_summary(
    answers: Sequence[Answer], train_set: TrainSet, *, facts: Sequence[tuple[str, str]], warnings: Sequence[str]
) -> None:
    """Prints what a user wants to know first; the rest stands in run.json and predictions.jsonl.

    Args:
        answers: of all tickets.
        train_set: the train rows.
        facts: further lines (base, training, gates, where things are), name and value.
        warnings: a sentence each.
    """
    learnt = f"{len(train_set.rows)} rows, {len(train_set.intents)} intents"
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in [("train", learnt), *_answer_lines(answers), *facts]:
        table.add_row(Text(name, style="bold"), Text(printable(value)))
    for warning in warnings:
        table.add_row(Text("warning", style="bold yellow"), Text(printable(warning)))
    show("")
    show(table)


def _answer_lines(answers: Sequence[Answer]) -> list[tuple[str, str]]:
    confidence = [answer.retrieved.confidence for answer in answers]
    unsure = sum(value < UNSURE for value in confidence)
    strange = sum(answer.retrieved.out_of_scope for answer in answers)
    sources = Counter(answer.reply.source for answer in answers)
    return [
        ("answered", f"{len(answers)} tickets with {len({answer.retrieved.intent for answer in answers})} intents"),
        ("confidence", f"mean {fmean(confidence):.2f}, lowest {min(confidence):.2f}, {unsure} below {UNSURE}"),
        ("out_of_scope", f"{strange} tickets resemble no intent"),
        ("replies", ", ".join(f"{sources[kind]} {kind}" for kind in ("generated", "copied", "replaced"))),
    ]
