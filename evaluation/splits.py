"""Desks to measure on: a train file with labelled rows to be tested, given as files or drawn from a labelled file.

What it does not know: what is measured.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from evaluation.labels import Label, read_labels
from retrieval.encoder import Encoder, Vectors
from retrieval.tickets import InputProblems, LabelledTicket, Ticket, read_train, read_val
from retrieval.train_set import TrainSet, embed_train_set


@dataclass(frozen=True, slots=True)
class Split:
    """A train_set with m rows to be tested on, embedded once.

    Attributes:
        name: for tables.
        train_set: the train rows.
        tickets: m test rows.
        vectors: (m, d) their unit vectors.
        labels: m labels, in the order of the tickets.
    """

    name: str
    train_set: TrainSet
    tickets: tuple[Ticket, ...]
    vectors: Vectors
    labels: tuple[Label, ...]


def prepare(
    name: str, train: Sequence[LabelledTicket], tickets: Sequence[Ticket], labels: Sequence[Label], encoder: Encoder
) -> Split:
    """Embeds a train_set and its test rows."""
    vectors = encoder.encode([ticket.text for ticket in tickets])
    return Split(name, embed_train_set(train, encoder), tuple(tickets), vectors, tuple(labels))


def given_split(train: Path, val: Path, labels: Path, encoder: Encoder) -> Split:
    """A train_set from three files.

    Raises:
        InputProblems: a file is bad, or a row of `val` has no label.
    """
    rows, problems = read_train(train)
    tickets, found = read_val(val)
    problems += found
    known: dict[str, Label] = {}
    try:
        known = read_labels(labels)
    except InputProblems as error:
        problems += error.problems
    else:
        bare = [ticket.id for ticket in tickets if ticket.id not in known]
        problems += [f"{labels}: found no label for {', '.join(bare)}, expected one for every row of {val}"] if bare else []
    if problems:
        raise InputProblems(problems)
    return prepare(train.parent.name or "train_set", rows, tickets, [known[ticket.id] for ticket in tickets], encoder)


def read_labelled(paths: Sequence[Path], *, max_reply_words: int) -> list[LabelledTicket]:
    """Rows of labelled files, ids made unique over the files, rows with long replies left out.

    Raises:
        InputProblems: a file is bad, or nothing is left to draw from.
    """
    rows: list[LabelledTicket] = []
    problems: list[str] = []
    for number, path in enumerate(paths):
        found, more = read_train(path)
        problems += more
        rows += [replace(row, id=f"{number}:{row.id}") for row in found]
    if problems:
        raise InputProblems(problems)
    short = [row for row in rows if len(row.ideal_reply.split()) <= max_reply_words]
    if not _able(short):
        names = ", ".join(map(str, paths))
        raise InputProblems([f"{names}: found no intent with three rows (replies of {max_reply_words} words at most)"])
    return short


def drawn_splits(
    rows: Sequence[LabelledTicket], encoder: Encoder, *, splits: int, intents: int, per_intent: int, tests: int
) -> list[Split]:
    """Repeated train/validation splits: `per_intent` train rows of each drawn intent, `tests` further rows of these."""
    all_splits = []
    for seed in range(splits):
        train, test = draw(rows, intents=intents, per_intent=per_intent, tests=tests, seed=seed)
        labels = [Label(row.id, (row.intent,), row.ideal_reply, (), ()) for row in test]
        all_splits.append(prepare(f"draw {seed}", train, [Ticket(row.id, row.text) for row in test], labels, encoder))
    return all_splits


def draw(
    rows: Sequence[LabelledTicket], *, intents: int, per_intent: int, tests: int, seed: int
) -> tuple[list[LabelledTicket], list[LabelledTicket]]:
    """Train rows and test rows of one split."""
    able = _able(rows, more_than=per_intent)
    generator = np.random.default_rng(seed)
    train: list[LabelledTicket] = []
    rest: list[LabelledTicket] = []
    for intent in sorted(generator.choice(sorted(able), min(intents, len(able)), replace=False)):
        order = [able[intent][i] for i in generator.permutation(len(able[intent]))]
        train += order[:per_intent]
        rest += order[per_intent:]
    return train, [rest[i] for i in generator.permutation(len(rest))[:tests]]


def _able(rows: Sequence[LabelledTicket], *, more_than: int = 2) -> dict[str, list[LabelledTicket]]:
    """The rows of those intents that have enough of them."""
    by_intent: dict[str, list[LabelledTicket]] = defaultdict(list)
    for row in rows:
        by_intent[row.intent].append(row)
    return {intent: found for intent, found in by_intent.items() if len(found) > more_than}
