"""The short table at the end of a run."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from rich.table import Table
from rich.text import Text

from retrieval.desk import Desk
from retrieval.progress import show
from retrieval.results import Answer
from retrieval.tickets import printable

UNSURE = 0.5


def print_summary(answers: Sequence[Answer], desk: Desk, *, facts: Sequence[tuple[str, str]], warnings: Sequence[str]) -> None:
    """Prints what a user wants to know first; the rest stands in run.json and predictions.jsonl.

    Args:
        answers: of all tickets.
        desk: the train rows.
        facts: further lines (base, training, gates, where things are), name and value.
        warnings: a sentence each.
    """
    learnt = f"{len(desk.rows)} rows, {len(desk.intents)} intents"
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in [("train", learnt), *_answer_lines(answers), *facts]:
        table.add_row(Text(name, style="bold"), Text(printable(value)))
    for warning in warnings:
        table.add_row(Text("warning", style="bold yellow"), Text(printable(warning)))
    show("")
    show(table)


def _answer_lines(answers: Sequence[Answer]) -> list[tuple[str, str]]:
    confidence = [answer.lookup.confidence for answer in answers]
    unsure = sum(value < UNSURE for value in confidence)
    strange = sum(answer.lookup.unfamiliar for answer in answers)
    sources = Counter(answer.reply.source for answer in answers)
    return [
        ("answered", f"{len(answers)} tickets with {len({answer.lookup.intent for answer in answers})} intents"),
        ("confidence", f"mean {fmean(confidence):.2f}, lowest {min(confidence):.2f}, {unsure} below {UNSURE}"),
        ("unfamiliar", f"{strange} tickets resemble no intent"),
        ("replies", ", ".join(f"{sources[kind]} {kind}" for kind in ("generated", "copied", "replaced"))),
    ]
