"""Intents that are taken for each other, and intents with too few rows to be known by."""

import numpy as np
from numpy.typing import NDArray

from evaluation.audit.evidence import Evidence
from evaluation.audit.findings import Finding, ShownRow, shown
from retrieval.index import DECIMALS
from retrieval.train_set import Rows

ALIKE = 0.25  # share of the rows of two intents to which the other one fits better; half is chance
MEANT = 0.1  # probability that the other one has at least; below, the row is unlike both
LOW_RECALL = 0.5
MAX_ROWS = 6  # shown in a finding


def alike_findings(found: Evidence) -> list[Finding]:
    """A finding for each pair of intents of several rows that are taken for each other, in both directions; worst first."""
    counts, wrong = found.train_set.row_counts, _pairwise_errors(found)
    several = np.flatnonzero(counts > 1)
    pairs = [(int(a), int(b)) for a in several for b in several if a < b and wrong[a, b] and wrong[b, a]]
    share = {(a, b): float((wrong[a, b] + wrong[b, a]) / (counts[a] + counts[b])) for a, b in pairs}
    order = sorted((pair for pair in pairs if share[pair] >= ALIKE), key=lambda pair: (-share[pair], pair))
    return [_alike_finding(found, a, b) for a, b in order]


def _pairwise_errors(found: Evidence) -> Rows:
    """(c, c) how many rows of one intent fit another at least as well."""
    labels = found.train_set.labels
    wrong = np.zeros((len(found.train_set.intents),) * 2, dtype=np.int64)
    np.add.at(wrong, labels, _fits_as_well(found).astype(np.int64))
    return wrong


def _fits_as_well(found: Evidence) -> NDArray[np.bool_]:
    """(n, c) whether an intent is as likely for a row as its own, out-of-fold, and likely at all."""
    log_p, labels = np.round(found.log_p, DECIMALS), found.train_set.labels
    return np.asarray((log_p >= log_p[np.arange(len(labels)), labels][:, None]) & (log_p >= np.log(MEANT)))


def _alike_finding(found: Evidence, a: int, b: int) -> Finding:
    train_set = found.train_set
    members = [int(i) for i in np.flatnonzero(np.isin(train_set.labels, (a, b)))]
    as_well = _fits_as_well(found)
    confused = [i for i in members if as_well[i, b if train_set.labels[i] == a else a]]
    one, other = train_set.intents[a], train_set.intents[b]
    what = f"{one} and {other}: {len(confused)} of their {len(members)} rows fit the other intent at least as well"
    advice = "make them one intent, or add rows that show the difference"
    order = sorted(members, key=lambda i: (i not in confused, i))[:MAX_ROWS]
    return Finding("alike intents", what, advice, tuple(_beside(found, i, (a, b)) for i in order))


def few_row_findings(found: Evidence) -> list[Finding]:
    """A finding for each intent of one row, and for each that finds less than half of its rows."""
    counts, labels = found.train_set.row_counts, found.train_set.labels
    hits = np.zeros(len(counts), dtype=np.int64)
    np.add.at(hits, labels, [found.winner(i) == labels[i] for i in range(len(labels))])
    low = [int(c) for c in np.flatnonzero((counts > 1) & (hits < LOW_RECALL * counts))]
    return [_few_rows(found, c, int(hits[c])) for c in [*map(int, np.flatnonzero(counts == 1)), *low]]


def _few_rows(found: Evidence, intent: int, hits: int) -> Finding:
    name, members = found.train_set.intents[intent], np.flatnonzero(found.train_set.labels == intent)
    only = len(members) == 1
    what = f"{name} has one row" if only else f"{name}: {hits} of its {len(members)} rows are found without themselves"
    advice = "add a row in other words than " + ("this one" if only else "these")
    shown_rows = tuple(_beside(found, int(i), (intent, found.winner(int(i)))) for i in members[:MAX_ROWS])
    return Finding("few rows", what, advice, shown_rows)


def _beside(found: Evidence, row: int, intents: tuple[int, int]) -> ShownRow:
    """A row with its out-of-fold probabilities of two intents."""
    names = found.train_set.intents
    note = ", ".join(f"{names[c]} {found.probability(row, c):.2f}" for c in dict.fromkeys(intents))
    return shown(found.train_set.rows[row], note)
