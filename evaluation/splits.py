"""Train/test splits to measure on: given as three files, or drawn repeatedly from labelled files."""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from evaluation.command import count, number, read_or_note
from evaluation.score.labels import Label, read_labels
from retrieval.columns import parse_columns
from retrieval.encoder import Encoder, Vectors
from retrieval.tickets import InputProblems, LabelledTicket, Ticket, read_train, read_val
from retrieval.train_set import TrainSet, embed_train_set


@dataclass(frozen=True, slots=True)
class Split:
    """A train set with m test rows, embedded once."""

    name: str  # for tables
    train_set: TrainSet
    tickets: tuple[Ticket, ...]  # m test rows
    vectors: Vectors  # (m, d) unit vectors of the tickets
    labels: tuple[Label, ...]  # m, in the order of the tickets
    seed: int = 0  # of what is random on it; a drawn split's number


def embed_split(
    name: str, train: Sequence[LabelledTicket], tickets: Sequence[Ticket], labels: Sequence[Label], encoder: Encoder
) -> Split:
    """Embeds train rows and test rows."""
    vectors = encoder.encode([ticket.text for ticket in tickets])
    return Split(name, embed_train_set(train, encoder), tuple(tickets), vectors, tuple(labels))


def given_split(train: Path, val: Path, labels: Path, encoder: Encoder, *, columns: str = "") -> Split:
    """A split from three files; raises InputProblems if one is bad or a row of `val` has no label.

    `columns`: a value of --columns, for `train` and `val`.
    """
    names, problems = parse_columns(columns)
    rows, train_problems = read_train(train, columns=names)
    tickets, val_problems = read_val(val, columns=names)
    problems += [*train_problems, *val_problems]
    known = read_or_note(lambda: read_labels(labels), problems) or {}
    if known and (missing := ", ".join(ticket.id for ticket in tickets if ticket.id not in known)):
        problems.append(f"{labels}: found no label for {missing}, expected one for every row of {val}")
    if problems:
        raise InputProblems(problems)
    return embed_split(train.parent.name or "split", rows, tickets, [known[ticket.id] for ticket in tickets], encoder)


def add_split_options(parser: argparse.ArgumentParser) -> None:
    """The options by which splits are drawn."""
    add = parser.add_argument
    add("--folds", type=Path, nargs="+", default=[], metavar="FILE", help="labelled rows (as train rows) to split repeatedly")
    add("--splits", type=count, default=3, help="how many splits of --folds (default: 3)")
    first_help = "number of the first split, so that a long measurement can be shared out (default: 0)"
    add("--first-split", type=number, default=0, metavar="N", help=first_help)
    add("--intents", type=count, default=12, help="intents in a split (default: 12)")
    add("--per-intent", type=count, default=2, help="train rows of each intent in a split (default: 2)")
    add("--tests", type=count, default=16, help="test rows in a split (default: 16)")
    add("--max-reply-words", type=count, default=80, help="leave rows of --folds with longer replies out (default: 80)")


def split_problems(options: argparse.Namespace) -> list[str]:
    """What is wrong with the options by which splits are drawn, among themselves."""
    needless = options.first_split and not options.folds
    return [f"--first-split {options.first_split}: found no --folds, expected files to draw splits from"] if needless else []


def drawn_splits(options: argparse.Namespace, encoder: Encoder) -> list[Split]:
    """Repeated splits of the files of --folds; raises InputProblems if one is bad or has too few rows."""
    rows = read_labelled(options.folds, max_reply_words=options.max_reply_words, per_intent=options.per_intent)
    sizes = {"intents": options.intents, "per_intent": options.per_intent, "tests": options.tests}
    found = []
    for seed in range(options.first_split, options.first_split + options.splits):
        train, test = draw(rows, **sizes, seed=seed)
        labels = [Label(row.id, (row.intent,), row.ideal_reply) for row in test]
        split = embed_split(f"split {seed}", train, [Ticket(row.id, row.text) for row in test], labels, encoder)
        found.append(replace(split, seed=seed))
    return found


def read_labelled(paths: Sequence[Path], *, max_reply_words: int, per_intent: int) -> list[LabelledTicket]:
    """Rows of labelled files, ids made unique over the files, rows with long replies left out."""
    rows: list[LabelledTicket] = []
    problems: list[str] = []
    for i, path in enumerate(paths):
        found, more = read_train(path)
        problems += more
        rows += [replace(row, id=f"{i}:{row.id}") for row in found]
    short = [row for row in rows if len(row.ideal_reply.split()) <= max_reply_words]
    if not problems and not _rows_by_intent(short, more_than=per_intent):
        expected = f"expected {per_intent + 1} rows of an intent, with replies of {max_reply_words} words at most"
        problems.append(f"{', '.join(map(str, paths))}: found too few rows of every intent, {expected}")
    if problems:
        raise InputProblems(problems)
    return short


def draw(
    rows: Sequence[LabelledTicket], *, intents: int, per_intent: int, tests: int, seed: int
) -> tuple[list[LabelledTicket], list[LabelledTicket]]:
    """`per_intent` train rows of each drawn intent, and `tests` further rows of these intents."""
    by_intent = _rows_by_intent(rows, more_than=per_intent)
    generator = np.random.default_rng(seed)
    train: list[LabelledTicket] = []
    rest: list[LabelledTicket] = []
    for intent in sorted(generator.choice(sorted(by_intent), min(intents, len(by_intent)), replace=False)):
        order = [by_intent[intent][i] for i in generator.permutation(len(by_intent[intent]))]
        train += order[:per_intent]
        rest += order[per_intent:]
    return train, [rest[i] for i in generator.permutation(len(rest))[:tests]]


def _rows_by_intent(rows: Sequence[LabelledTicket], *, more_than: int) -> dict[str, list[LabelledTicket]]:
    """The rows of those intents that have more than so many."""
    by_intent: dict[str, list[LabelledTicket]] = defaultdict(list)
    for row in rows:
        by_intent[row.intent].append(row)
    return {intent: found for intent, found in by_intent.items() if len(found) > more_than}
