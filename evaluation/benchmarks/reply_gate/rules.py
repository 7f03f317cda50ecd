"""What each rule would have given the customers of splits whose drafts were measured.

A rule says which of the drafts that passed the check are given, and on what evidence of the folds any draft is given at all;
a customer gets the stored reply otherwise. All rules are applied to the same measured drafts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from evaluation.benchmarks.reply_gate.drafts import Draft
from evaluation.measured_lines import Measured
from finetune.gates import MIN_GAIN, MIN_REPLIES, REPLY_LEVEL, first_fold_stop, reply_gate
from finetune.reply_choice import MARGIN
from retrieval.bootstrap import bootstrap_interval
from retrieval.gate import LEVEL

EVERY = float("-inf")  # margin at which every draft that passes is given


@dataclass(frozen=True, slots=True)
class Rule:
    """When drafts are given, and which."""

    name: str
    generates: Callable[[Measured, float], bool]  # a split's line and the margin -> whether drafts are given on it
    margin: float = MARGIN  # by which a draft must be nearer to the ticket than the stored reply


def passed_gains(drafts: Sequence[Draft], margin: float) -> list[float]:
    """Of each draft that passed what is gained over the stored reply, 0 where that is given."""
    return [_gain(draft, margin) for draft in drafts if draft["passed"]]


def customer_gains(drafts: Sequence[Draft], margin: float = MARGIN) -> list[float]:
    """Of each ticket what is gained over the stored reply, 0 where that is given."""
    return [_gain(draft, margin) for draft in drafts]


def _gain(draft: Draft, margin: float) -> float:
    return draft["draft"] - draft["copy"] if _given(draft, margin) else 0.0


def _given(draft: Draft, margin: float) -> bool:
    return draft["passed"] and draft["nearer"] > margin


def _count_given(drafts: Sequence[Draft], margin: float) -> int:
    return sum(_given(draft, margin) for draft in drafts)


def of_a_run(line: Measured, margin: float) -> bool:
    """What the gate says after the first fold, or after both where the first does not end the measuring."""
    if line["untested"] or not line["folds"]:
        return False
    first = line["folds"][0]
    stopped = first_fold_stop(passed_gains(first, margin), len(first), given=_count_given(first, margin), seed=0)
    return _passes(first, margin, stopped=stopped) if stopped else _of_both_folds(line, margin)


def _of_both_folds(line: Measured, margin: float) -> bool:
    return _passes(_both_folds(line), margin)


def _passes(drafts: Sequence[Draft], margin: float, *, stopped: str = "") -> bool:
    return reply_gate(passed_gains(drafts, margin), given=_count_given(drafts, margin), stopped=stopped, seed=0).passed


def _both_folds(line: Measured) -> list[Draft]:
    return [draft for fold in line["folds"] for draft in fold]


def _above_0(line: Measured, margin: float, *, statistic: Callable[[Sequence[float]], float]) -> bool:
    gains = passed_gains(_both_folds(line), margin)
    return len(gains) >= MIN_REPLIES and statistic(gains) > 0


def _quantile(gains: Sequence[float], *, level: float, end: int) -> float:
    return bootstrap_interval(gains, level=level, seed=0)[end]


def _mean(gains: Sequence[float]) -> float:
    return float(np.mean(gains))


def _yes(line: Measured, margin: float) -> bool:
    return True


def _no(line: Measured, margin: float) -> bool:
    return False


LOW, HIGH = partial(_quantile, level=REPLY_LEVEL, end=0), partial(_quantile, level=LEVEL, end=1)
RULES = (
    Rule("never generate", _no),
    Rule("always, every draft that passes", _yes, EVERY),
    Rule("always, the nearer one", _yes),
    *(Rule(f"always, nearer by {margin:+g}", _yes, margin) for margin in (-0.05, 0.05, 0.1)),
    Rule("gate, every draft that passes", of_a_run, EVERY),
    Rule("gate, the nearer one: as a run decides", of_a_run),
    Rule(f"mean at least {MIN_GAIN}, both folds", _of_both_folds),
    Rule("mean above 0, both folds", partial(_above_0, statistic=_mean)),
    Rule("6.3 % quantile above 0, both folds", partial(_above_0, statistic=LOW)),
    Rule("90 % quantile above 0, both folds", partial(_above_0, statistic=HIGH)),
)


def table(measured: Sequence[Measured]) -> list[dict[str, str]]:
    """What each rule gets on the test rows of all splits, against copying."""
    return [_table_line(rule, measured) for rule in RULES]


def _table_line(rule: Rule, measured: Sequence[Measured]) -> dict[str, str]:
    generates = [rule.generates(line, rule.margin) for line in measured]
    gains = [
        customer_gains(line["test"], rule.margin) if yes else [0.0] * len(line["test"])
        for yes, line in zip(generates, measured, strict=True)
    ]
    copied = np.mean([draft["copy"] for line in measured for draft in line["test"]])
    means = [float(np.mean(own)) for own in gains]
    mean = float(np.mean(np.concatenate(gains)))
    error = np.std(means, ddof=1) / np.sqrt(len(means)) if len(means) > 1 else np.nan
    return {
        "rule": rule.name,
        "splits that generate": f"{sum(generates)} of {len(measured)}",
        "quality": f"{copied + mean:.3f}",
        "minus copying (± standard error over splits)": f"{mean:+.3f} ± {error:.3f}",
        "splits that lose": str(sum(round(own, 3) < 0 for own in means)),
    }


def split_lines(measured: Sequence[Measured]) -> list[dict[str, str]]:
    """A line of each split: its scale, what its folds say and what its test rows say, with the nearer reply."""
    return [
        {
            "split": line["split"],
            "scale": f"{line['scale']:g}",
            "passed, by fold": ", ".join(f"{len(passed_gains(fold, MARGIN))} of {len(fold)}" for fold in line["folds"]),
            "first fold": _signed(passed_gains(line["folds"][0], MARGIN)) if line["folds"] else "",
            "both folds": _signed(passed_gains(_both_folds(line), MARGIN)),
            "test: the nearer one": _signed(customer_gains(line["test"])),
            "test: every draft that passes": _signed(customer_gains(line["test"], EVERY)),
        }
        for line in measured
    ]


def _signed(gains: Sequence[float]) -> str:
    return f"{np.mean(gains):+.3f}" if gains else ""


def nearness_lines(measured: Sequence[Measured]) -> list[dict[str, str]]:
    """How what drafts gain goes with how much nearer to the ticket they are, on the folds and on the test rows."""
    parts = {"folds": [draft for line in measured for draft in _both_folds(line)]}
    parts["test rows"] = [draft for line in measured for draft in line["test"]]
    return [_nearness_line(name, [draft for draft in drafts if draft["passed"]]) for name, drafts in parts.items()]


def _nearness_line(name: str, drafts: Sequence[Draft]) -> dict[str, str]:
    gains = np.array([draft["draft"] - draft["copy"] for draft in drafts])
    nearer = np.array([draft["nearer"] for draft in drafts])
    return {
        "drafts that passed": name,
        "number": str(len(drafts)),
        "nearer than the stored reply": str(int((nearer > 0).sum())),
        "gain of these": _signed(gains[nearer > 0].tolist()),
        "gain of the others": _signed(gains[nearer <= 0].tolist()),
        "correlation": f"{np.corrcoef(gains, nearer)[0, 1]:.2f}" if len(drafts) > 2 and gains.std() and nearer.std() else "",
    }
