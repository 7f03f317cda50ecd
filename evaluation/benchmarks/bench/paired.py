"""Ticket by ticket: how much better this program's answers are than those of another contestant to the same tickets."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from evaluation.benchmarks.bench.contestants import RUN
from evaluation.measured_lines import Measured
from retrieval.bootstrap import bootstrap_interval

Line = dict[str, str]
Pair = tuple[Measured, Measured]  # of runs on one split with one base: this program's, the other contestant's
LEVEL = 0.95  # of the bootstrap intervals
INTENT_SHARE, REPLY_SHARE = 40, 30  # points of the task's score


def paired_table(measured: Sequence[Measured]) -> list[Line]:
    """A line for each base and other contestant that ran on a split of this program; older lines name no split."""
    pairs: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for mine, other in _pairs([run for run in measured if "split" in run]):
        pairs[other["base"], other["contestant"]].append((mine, other))
    return [_line(base, contestant, found) for (base, contestant), found in pairs.items()]


def _pairs(measured: Sequence[Measured]) -> Iterator[Pair]:
    """Each run of another contestant with this program's on the same split, the same round of it where there are several."""
    own = [run for run in measured if run["contestant"] == RUN]
    of_split = {(run["base"], run["split"]): run for run in own}
    of_round = {(run["base"], run["split"], run["round"]): run for run in own}
    for run in measured:
        base, split = run["base"], run["split"]
        if run["contestant"] != RUN and (base, split) in of_split:
            yield of_round.get((base, split, run["round"]), of_split[base, split]), run


def _line(base: str, contestant: str, pairs: Sequence[Pair]) -> Line:
    intents, replies = (_differences(pairs, key) for key in ("correct_by_ticket", "quality_by_ticket"))
    score = INTENT_SHARE * intents + REPLY_SHARE * replies if len(replies) else replies
    return {
        "base": base,
        f"{RUN} minus": contestant,
        "tickets": str(len(intents)),
        "correct intents, %": _interval(100 * intents, digits=1),
        "reply quality": _interval(replies, digits=3),
        f"task score, of {INTENT_SHARE + REPLY_SHARE}": _interval(score, digits=1),
    }


def _differences(pairs: Sequence[Pair], key: str) -> NDArray[np.float64]:
    """(m,) of each ticket the mean over the rounds that answered it; none where the other contestant gives no such answer."""
    of_split: dict[str, list[list[float]]] = defaultdict(list)
    for mine, other in pairs:
        if other[key] is not None:
            of_split[other["split"]].append([a - b for a, b in zip(mine[key], other[key], strict=True)])
    return np.concatenate([np.zeros(0), *(np.mean(rounds, axis=0) for rounds in of_split.values())])


def _interval(differences: NDArray[np.float64], *, digits: int) -> str:
    if not len(differences):
        return "–"
    low, high = bootstrap_interval(differences, level=LEVEL, seed=0)
    return f"{np.mean(differences):+.{digits}f} ({low:+.{digits}f} .. {high:+.{digits}f})"
