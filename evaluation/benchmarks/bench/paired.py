"""Ticket by ticket: how much better this program's answers are than those of another contestant to the same tickets."""

from collections.abc import Sequence

import numpy as np

from evaluation.benchmarks.bench.contestants import RUN
from evaluation.measured_lines import Measured
from retrieval.bootstrap import bootstrap_interval

Line = dict[str, str]
LEVEL = 0.95  # of the bootstrap intervals
INTENT_SHARE, REPLY_SHARE = 40, 30  # points of the task's score


def paired_table(measured: Sequence[Measured]) -> list[Line]:
    """A line for each base and other contestant whose rounds this program has run, too."""
    own = {(run["base"], run["round"]): run for run in measured if run["contestant"] == RUN}
    pairs: dict[tuple[str, str], list[tuple[Measured, Measured]]] = {}
    for run in measured:
        if run["contestant"] != RUN and (mine := own.get((run["base"], run["round"]))):
            pairs.setdefault((run["base"], run["contestant"]), []).append((mine, run))
    return [_line(base, contestant, found) for (base, contestant), found in pairs.items()]


def _line(base: str, contestant: str, pairs: Sequence[tuple[Measured, Measured]]) -> Line:
    intents, replies = (_differences(pairs, key) for key in ("correct_by_ticket", "quality_by_ticket"))
    both = [] if replies == [] else [INTENT_SHARE * a + REPLY_SHARE * b for a, b in zip(intents, replies, strict=True)]
    return {
        "base": base,
        f"{RUN} minus": contestant,
        "tickets": str(len(intents)),
        "intents, points of 100": _interval([100 * one for one in intents], digits=1),
        "reply quality": _interval(replies, digits=3),
        f"{INTENT_SHARE} % intents and {REPLY_SHARE} % replies, points": _interval(both, digits=1),
    }


def _differences(pairs: Sequence[tuple[Measured, Measured]], key: str) -> list[float]:
    """Of all tickets of all rounds; none where the other contestant gives no such answer."""
    if any(other[key] is None for _, other in pairs):
        return []
    return [a - b for mine, other in pairs for a, b in zip(mine[key], other[key], strict=True)]


def _interval(differences: Sequence[float], *, digits: int) -> str:
    if not differences:
        return "–"
    low, high = bootstrap_interval(differences, level=LEVEL, seed=0)
    return f"{np.mean(differences):+.{digits}f} ({low:+.{digits}f} .. {high:+.{digits}f})"
