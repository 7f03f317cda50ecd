"""A retrieved as tables for a terminal.

What it does not know: where the retrieved came from.
"""

from dataclasses import fields

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from retrieval.intent_classifier import IN_SCOPE_THRESHOLD, Scorers, Weights
from retrieval.prompt_text import PromptText
from retrieval.retrieve import Retrieval
from retrieval.tickets import printable

WIDTH = 120
TICKET, REPLY = 26, 58  # characters of a text in a table
SHARED = 4  # words


def show_retrieval(found: Retrieval, weights: Weights, prompt: PromptText | None) -> None:
    """Prints neighbours, intent_scores, exemplars and, if given, the prompt's words.

    Args:
        found: what retrieval says about a ticket.
        weights: of the scorers, for the table's head.
        prompt: its words, None to leave them out.
    """
    console = Console(width=WIDTH, highlight=False, emoji=False)
    console.print(Text(f"{found.ticket.id}: {printable(found.ticket.text)}", style="bold"))
    sure = "" if not found.out_of_scope else f"; below {IN_SCOPE_THRESHOLD}: probably about something that no intent covers"
    said = f"intent {found.intent}, confidence {found.confidence:.2f}, in_scope_score {found.in_scope_score:.2f}{sure}"
    console.print(Text(printable(said)))
    console.print(_neighbours(found))
    console.print(_votes(found, weights))
    console.print(_exemplars(found))
    if prompt:
        for speaker, words in (("system", prompt.system), ("user", prompt.user), ("assistant begins", prompt.assistant)):
            console.print(Text(f"--- {speaker}", style="bold"))
            console.print(Text("\n".join(printable(line) for line in words.split("\n"))))
    console.print()


def _neighbours(found: Retrieval) -> Table:
    table = Table("nearest row", Column("intent", no_wrap=True), Column("ticket", no_wrap=True))
    for name in ("cosine", "reply", "BM25", "exemplar_score", "shared words"):
        table.add_column(name)
    for near in found.neighbours:
        scores = (f"{near.cosine:.3f}", f"{near.reply_cosine:.3f}", f"{near.bm25:.2f}", f"{near.exemplar_score:.3f}")
        words = (near.row.id, near.row.intent, _cut(near.row.text, TICKET))
        table.add_row(*map(_cell, (*words, *scores, " ".join(near.shared[:SHARED]))))
    return table


def _votes(found: Retrieval, weights: Weights) -> Table:
    scorers = [scorer.name for scorer in fields(Scorers)]
    table = Table("intent", "probability", *(f"{name} x {getattr(weights, name):g}" for name in scorers))
    for score in found.intent_scores:
        table.add_row(
            *map(_cell, (score.intent, f"{score.probability:.3f}", *(f"{score.scorers[name]:.3f}" for name in scorers)))
        )
    return table


def _exemplars(found: Retrieval) -> Table:
    table = Table("exemplar, in prompt order", "intent", "stored reply")
    for row in reversed(found.exemplars):
        table.add_row(*map(_cell, (row.id, row.intent, _cut(row.ideal_reply, REPLY))))
    return table


def _cut(text: str, length: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def _cell(text: str) -> Text:
    return Text(printable(text))
