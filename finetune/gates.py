"""Does a learned part of the language model earn its place? From evidence to decision.

The reply gate wants a mean paired gain over the stored reply of .01 over both folds: two dozen gains with a spread of .2
cannot prove a gain of .05, which is what generated replies are worth on public tickets, so a standard that asks for proof
copied there too often (EXPERIMENTS.md, section 10). Less than .01 is not worth the risk of a wrong sentence. Rows to which the
stored reply would be given anyway count as 0 and say nothing about drafts, so at least five drafts must have been given. The
second fold is not measured where the first one decides: it gains nothing and its 93.7 % bootstrap quantile is below .01 (copy),
or it gains .01 and its 6.3 % quantile is above 0 (generate). The LM scores helped on public sets, with a fixed weight, so the
90 % quantile may only forbid them. The forgetting check decides by a mean. What was not tested is not used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np
from numpy.typing import NDArray

from retrieval.bootstrap import bootstrap_interval
from retrieval.gate import LEVEL, Gate
from retrieval.lm_fusion import Floats, fuse

MIN_REPLIES = 10  # checked out-of-fold replies that the reply gate needs
MIN_FIRST_FOLD = 5  # of them in the first fold; with fewer the second is not measured
MIN_GIVEN = 5  # of them that would be given, for a decision to generate: one lucky draft beside stored replies is no evidence
MIN_GAIN = 0.01  # the mean gain in reply quality that is worth a generated reply
REPLY_LEVEL = 0.873  # of the gain's interval: its ends are the 6.3 % and the 93.7 % quantile
REPLY_STANDARD = (
    f"generate if the mean paired gain on at least {MIN_REPLIES} replies, at least {MIN_GIVEN} of them given, is at least "
    f"{MIN_GAIN} over both folds; a first fold of at least {MIN_GAIN} whose 6.3 % bootstrap quantile is above 0 is "
    f"enough, and one that gains nothing and whose 93.7 % quantile is below {MIN_GAIN} means: copy"
)
DRAFT_STATISTIC = (
    "mean gain in reply quality (half cosine to the ideal reply, half F1 of facts) over the stored reply, of the drafts that "
    "passed the check"
)
REPLY_STATISTIC = f"{DRAFT_STATISTIC}; 0 where the stored reply is at least as near to the ticket, for it is given then"
# Of the adapter, in the order in which they are tried; 0 beneath them. `lora_alpha` is 32 times the scale, a whole number. With
# 1 and .5 alone some adapters of the 135M were lost, though a third of one is worth much of it (EXPERIMENTS.md, section 10).
SCALES = (1.0, 0.75, 0.5, 0.375, 0.25)
MAX_LOSS_INCREASE = 0.05  # nats per token on general text
SCALE_STANDARD = (
    f"the highest scale of {', '.join(f'{scale:g}' for scale in SCALES)} with a mean loss increase of at most "
    f"{MAX_LOSS_INCREASE} nat per token, else 0"
)
SCALE_STATISTIC = "mean increase of the loss on general text, nats per token"
LM_STANDARD = (
    "use the weight measured on public sets, unless the 90 % bootstrap quantile of the gain on the train rows is below 0"
)
LM_STATISTIC = "mean fall of the cross-entropy of the right intent, nats per ticket"


@dataclass(frozen=True, slots=True)
class LmWeight:
    """The weight of LM intent scores beside the classifier's log-probabilities."""

    value: float
    origin: str  # where it comes from, to be said after "the weight"


@dataclass(frozen=True, slots=True)
class Decision:
    """The weight of the LM scores or the scale of the adapter, and what cut its test short."""

    value: float
    gate: Gate
    problem: str = ""  # what cut the test short, a clause; empty if nothing did
    timed_out: bool = False
    out_of_memory: bool = False


def reply_gate(gains: Sequence[float], *, given: int, stopped: str = "", seed: int) -> Gate:
    """Generate replies, or copy stored ones?

    Args:
        gains: for each out-of-fold draft that passed the check, the quality of what is given instead of the stored reply minus
            that of the stored reply (`reply_quality`); 0 where the stored one is given (`reply_choice`).
        given: how many of these drafts are given.
        stopped: why the second fold was not measured, a clause (`first_fold_stop`); empty if it was.
        seed: of the bootstrap.
    """
    mean, interval = float(np.mean(gains)) if gains else None, _reply_interval(gains, seed=seed)
    passed = interval is not None and _worth_it(gains, given)
    if stopped and not passed:
        why = f"{stopped}: the second fold was not measured"
        return Gate("replies", False, "copy", REPLY_STANDARD, REPLY_STATISTIC, mean, len(gains), None, why)
    if interval is None:
        return reply_gate_untested(f"{len(gains)} out-of-fold replies passed the check, {MIN_REPLIES} needed", gains)
    decision = "generate" if passed else "copy"
    ends = f"{REPLY_LEVEL:.1%} interval {interval[0]:+.3f} to {interval[1]:+.3f}"
    reason = f"mean gain {mean:+.3f}, {ends}; {MIN_GAIN:+g} needed"
    reason += f"; {given} drafts given, {MIN_GIVEN} needed" if given < MIN_GIVEN else ""
    reason += f" ({stopped}: the second was not measured)" if stopped else ""
    figures = {"drafts given": given}
    return Gate("replies", passed, decision, REPLY_STANDARD, REPLY_STATISTIC, mean, len(gains), interval, reason, figures)


def _worth_it(gains: Sequence[float], given: int) -> bool:
    return given >= MIN_GIVEN and round(float(np.mean(gains)), 3) >= MIN_GAIN  # rounded as it is printed


def _reply_interval(gains: Sequence[float], *, seed: int) -> tuple[float, float] | None:
    return bootstrap_interval(gains, level=REPLY_LEVEL, seed=seed) if len(gains) >= MIN_REPLIES else None


def reply_gate_untested(reason: str, gains: Sequence[float] = ()) -> Gate:
    """Without enough evidence stored replies are copied."""
    mean = float(np.mean(gains)) if len(gains) else None
    why = f"untested: {reason}"
    return Gate("replies", False, "copy", REPLY_STANDARD, REPLY_STATISTIC, mean, len(gains), None, why)


def first_fold_stop(gains: Sequence[float], written: int, *, given: int, seed: int) -> str:
    """Why the second fold need not be measured, a clause; empty if it must be.

    Args:
        gains: of the replies of the first fold that passed the check.
        written: how many replies the first fold has.
        given: how many of the drafts that passed are given.
        seed: of the bootstrap.
    """
    if len(gains) < MIN_FIRST_FOLD:
        return f"{len(gains)} of {written} out-of-fold replies passed the check in the first fold, {MIN_FIRST_FOLD} needed"
    low, high = bootstrap_interval(gains, level=REPLY_LEVEL, seed=seed)
    if np.mean(gains) <= 0 and round(high, 3) < MIN_GAIN:  # rounded as it is printed
        return f"mean gain {np.mean(gains):+.3f} in the first fold, {high:+.3f} at its 93.7 % quantile, {MIN_GAIN:+g} needed"
    return "the first fold is clear" if len(gains) >= MIN_REPLIES and _worth_it(gains, given) and low > 0 else ""


def scale_gate(increases: Mapping[float, tuple[Sequence[float], Sequence[float]]], *, seed: int) -> tuple[float, Gate]:
    """How far may the adapter move the base? The forgetting check.

    Args:
        increases: for each scale that was tried, the increase of the loss over the base on each plain sentence and on each
            paraphrased ticket, nats per token.
        seed: of the bootstrap.

    Returns:
        The first scale whose mean increase stays within the bound in both kinds of text, 0 if none does; and the record.
    """
    worst = {scale: max(map(_mean, kinds)) for scale, kinds in increases.items()}
    chosen = next((scale for scale, increase in worst.items() if increase <= MAX_LOSS_INCREASE), 0.0)
    shown = chosen or min(worst)
    leading = max(increases[shown], key=_mean)
    figures = {
        f"{kind} at scale {scale:g}": _mean(values)
        for scale, kinds in increases.items()
        for kind, values in zip(("sentences", "paraphrases"), kinds, strict=True)
    }
    tried = ", ".join(f"{increase:+.3f} at scale {scale:g}" for scale, increase in worst.items())
    finite = isfinite(worst[shown])
    gate = Gate(
        name="adapter scale",
        passed=chosen > 0,
        decision=f"scale {chosen:g}",
        standard=SCALE_STANDARD,
        statistic=SCALE_STATISTIC,
        value=worst[shown] if finite else None,
        n=len(leading),
        interval=bootstrap_interval(leading, level=LEVEL, seed=seed) if finite else None,
        reason=f"loss on general text rises by {tried}; {MAX_LOSS_INCREASE} allowed",
        figures={name: increase for name, increase in figures.items() if isfinite(increase)},  # JSON has no infinity
    )
    return chosen, gate


def scale_gate_untested(reason: str) -> tuple[float, Gate]:
    """The adapter is saved as it was trained; then no gate lets it answer."""
    why = f"untested: {reason}; saved as trained, and not used for answers"
    return 1.0, Gate("adapter scale", False, "scale 1, unused", SCALE_STANDARD, SCALE_STATISTIC, None, 0, None, why)


def _mean(values: Sequence[float]) -> float:
    mean = float(np.mean(values))
    return mean if isfinite(mean) else inf


def lm_scores_gate(
    log_probabilities: Floats, lm_scores: Floats, truth: NDArray[np.int64], weight: LmWeight, *, seed: int
) -> tuple[float, Gate]:
    """Do the LM intent scores join the classifier? The train rows, each hidden from itself, may forbid it.

    Thirty rows are too few to choose a weight, so it comes from public sets; and as only the unsure ones are scored, some given
    replies to other questions of their intent, they forbid it only where the harm is clear.

    Args:
        log_probabilities: (n, c) of classifiers that had not seen the row.
        lm_scores: (n, c) given other rows, NaN where nothing was scored.
        truth: (n,) the row's intent.
        weight: of the scores.
        seed: of the bootstrap.

    Returns:
        The weight for new tickets, 0 if the scores stay out, and the record.
    """
    asked = ~np.isnan(lm_scores).all(axis=1)
    if not asked.any():
        return lm_scores_gate_untested("no train row that is unsure between two intents could be scored")
    each = np.arange(len(truth))
    before, after = (-fuse(log_probabilities, lm_scores, w)[each, truth] for w in (0.0, weight.value))  # (n,) nats
    gain = (before - after)[asked]
    low, high = bootstrap_interval(gain, level=LEVEL, seed=seed)
    passed = high >= 0
    gate = Gate(
        name="LM intent scores",
        passed=passed,
        decision=f"weight {weight.value:g}" if passed else "not used",
        standard=LM_STANDARD,
        statistic=LM_STATISTIC,
        value=float(gain.mean()),
        n=len(gain),
        interval=(low, high),
        reason=f"cross-entropy on unsure train rows falls by {gain.mean():+.3f} nats per ticket, upper bound {high:+.3f}; "
        f"the weight {weight.origin}",
        figures={"cross-entropy without": float(before[asked].mean()), "cross-entropy with": float(after[asked].mean())},
    )
    return (weight.value if passed else 0.0), gate


def lm_scores_gate_untested(reason: str) -> tuple[float, Gate]:
    """Without evidence the scores stay out."""
    why = f"untested: {reason}"
    return 0.0, Gate("LM intent scores", False, "not used", LM_STANDARD, LM_STATISTIC, None, 0, None, why)
