"""A retrieval as tables for a terminal."""

from dataclasses import fields

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from retrieval.intent_classifier import ScorerOutputs, ScorerWeights
from retrieval.prediction import Reply
from retrieval.prompt_text import PromptText
from retrieval.retrieve import Retrieval
from retrieval.tickets import printable

WIDTH = 120
TICKET_WIDTH, REPLY_WIDTH = 18, 58  # characters of a text in a table
MAX_SHARED_WORDS = 3


def print_retrieval(
    found: Retrieval, weights: ScorerWeights, *, prompt: PromptText | None = None, reply: Reply | None = None
) -> None:
    """Prints neighbours, intents, exemplars and, if given, the reply and the prompt's words.

    Args:
        found: what retrieval says about a ticket.
        weights: of the scorers, for the table's head.
        prompt: its words, None to leave them out.
        reply: what the customer got, None if nobody was answered.
    """
    console = Console(width=WIDTH, highlight=False, emoji=False)
    console.print(Text(printable(f"{found.ticket.id}: {found.ticket.text}"), style="bold"))
    note = f"; below {found.in_scope_threshold:.2f}: probably out of scope" if found.out_of_scope else ""
    scores = f"confidence {found.confidence:.2f}, in-scope score {found.in_scope_score:.2f}{note}"
    console.print(Text(printable(f"intent {found.intent}, {scores}")))
    if not found.intent_has_rows:
        console.print(Text("no train row has this intent: every stored reply is about another one"))
    console.print(_neighbours(found))
    console.print(_intents(found, weights))
    console.print(_exemplars(found))
    if found.tied and found.composed:
        text = "" if reply else f": {found.composed}"
        console.print(Text(printable(f"composed of the first exemplar and {found.tied.id}{text}")))
    for line in _reply_lines(reply) if reply else ():
        console.print(Text(printable(line)))
    if prompt:
        for role, words in (("system", prompt.system), ("user", prompt.user), ("assistant begins", prompt.assistant)):
            console.print(Text(f"--- {role}", style="bold"))
            console.print(Text("\n".join(printable(line) for line in words.split("\n"))))
    console.print()


def _reply_lines(reply: Reply) -> list[str]:
    """What the customer got, and a draft that they did not get."""
    got = f"reply, {reply.source}: {reply.text}"
    return [got, f"draft that was not given ({'; '.join(reply.findings)}): {reply.draft}"] if reply.findings else [got]


def _neighbours(found: Retrieval) -> Table:
    table = Table(Column("row", no_wrap=True), Column("intent", no_wrap=True), Column("ticket", no_wrap=True))
    for name in ("cosine", "vote share", "reply cosine", "BM25", "exemplar score", "shared words"):
        table.add_column(name, min_width=max(map(len, name.split())))
    for near in found.neighbours:
        scores = (near.cosine, near.vote_share, near.reply_cosine)
        figures = (*(f"{score:.3f}" for score in scores), f"{near.bm25:.2f}", f"{near.exemplar_score:.3f}")
        words = " ".join(near.shared_words[:MAX_SHARED_WORDS])
        table.add_row(*map(_cell, (near.row.id, near.row.intent, _cut(near.row.text, TICKET_WIDTH), *figures, words)))
    return table


def _intents(found: Retrieval, weights: ScorerWeights) -> Table:
    names = [scorer.name for scorer in fields(ScorerOutputs)]
    table = Table("intent", "probability", *(f"{name} x {getattr(weights, name):g}" for name in names))
    with_lm = any(score.lm_score is not None for score in found.intents)
    if with_lm:
        table.add_column("LM score, nats")
    for score in found.intents:
        outputs = [f"{score.scorers[name]:.3f}" for name in names]
        outputs += ["" if score.lm_score is None else f"{score.lm_score:.2f}"] if with_lm else []
        table.add_row(*map(_cell, (score.intent, f"{score.probability:.3f}", *outputs)))
    return table


def _exemplars(found: Retrieval) -> Table:
    table = Table("exemplar, in prompt order", "intent", "stored reply")
    for row in reversed(found.exemplars):
        table.add_row(*map(_cell, (row.id, row.intent, _cut(row.ideal_reply, REPLY_WIDTH))))
    return table


def _cut(text: str, length: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def _cell(text: str) -> Text:
    return Text(printable(text))
