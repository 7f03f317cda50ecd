"""Does a remote model earn its place and its money? The gates of the local parts, with a standard that asks for a gain.

The weight of its intent scores was fixed on no public set, so what only forbids harm for a local base is not enough here.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np

from finetune.gates import (
    DRAFT_STATISTIC,
    LM_STATISTIC,
    MIN_FIRST_FOLD,
    MIN_GAIN,
    MIN_REPLIES,
    LmWeight,
    first_fold_stop,
    lm_scores_gate,
    reply_gate,
    reply_gate_untested,
)
from finetune.remote.intent_scores import WEIGHT
from retrieval.gate import Gate
from retrieval.intent_classifier import winners
from retrieval.lm_fusion import Floats, fuse
from retrieval.train_set import Rows

MIN_SCORED = 10  # train rows that the gate of the intents needs
INTENTS, REPLIES = "remote intent scores", "remote replies"
REPLIES_STANDARD = (
    f"use if the mean paired gain on at least {MIN_REPLIES} replies is at least {MIN_GAIN} and its 6.3 % bootstrap quantile is "
    f"above 0, on the first half of the rows or on all; a first half with a mean below {MIN_GAIN} means: not used"
)
INTENTS_STANDARD = "use if the 10 % bootstrap quantile of the gain on the train rows is above 0 and no fewer of them are right"


def remote_intents_gate(log_probabilities: Floats, scores: Floats, truth: Rows, *, seed: int) -> Gate:
    """Do the scores join the classifier?

    Args:
        log_probabilities: (n, c) of classifiers that had not seen the row.
        scores: (n, c) of the train rows, each hidden from itself; NaN where nothing was scored.
        truth: (n,) the row's intent.
        seed: of the bootstrap.
    """
    asked = np.flatnonzero(~np.isnan(scores).all(axis=1))
    if len(asked) < MIN_SCORED:
        return remote_intents_untested(f"{len(asked)} train rows were scored, {MIN_SCORED} needed")
    _, gate = lm_scores_gate(log_probabilities, scores, truth, LmWeight(WEIGHT, "was fixed beforehand"), seed=seed)
    low = gate.interval[0] if gate.interval else 0.0
    before, after = (_right(fuse(log_probabilities, scores, weight), truth, asked) for weight in (0.0, WEIGHT))
    passed = low > 0 and after >= before
    fall = f"cross-entropy on {gate.n} train rows falls by {gate.value:+.3f} nats per ticket"
    return replace(
        gate,
        name=INTENTS,
        passed=passed,
        decision=f"weight {WEIGHT:g}" if passed else "not used",
        standard=INTENTS_STANDARD,
        reason=f"{fall}, lower bound {low:+.3f}, above 0 needed; right with them {after}, without {before}",
        figures={**gate.figures, "right without": before, "right with": after},
    )


def remote_intents_untested(reason: str) -> Gate:
    """Without evidence the scores stay out."""
    why = f"untested: {reason}"
    return Gate(INTENTS, False, "not used", INTENTS_STANDARD, LM_STATISTIC, None, 0, None, why)


def remote_reply_gate(gains: Sequence[float], *, stopped: str = "", seed: int) -> Gate:
    """Do new tickets get its replies? As `reply_gate` decides it for a local base, and the gain must be beyond the noise.

    It is the 6.3 % quantile, for two looks at it (the first fold, both) say "use" without a gain about as rarely as one look at
    the 10 % quantile (Pocock, Biometrika 64, 1977).
    """
    gate = reply_gate(gains, given=len(gains), stopped=stopped, seed=seed)
    within = gate.interval is not None and gate.interval[0] <= 0
    reason = f"{gate.reason}, and the lower end above 0" if gate.passed and within else gate.reason
    return _named(replace(gate, passed=gate.passed and not within, reason=reason))


def first_half_stop(gains: Sequence[float], written: int, *, seed: int) -> str:
    """Why the second half of the rows is not paid for, a clause; empty if it is: the first must gain what both must."""
    if len(gains) >= MIN_FIRST_FOLD and (gain := round(fmean(gains), 3)) < MIN_GAIN:  # as printed
        return f"mean gain {gain:+.3f} in the first half, {MIN_GAIN:+g} needed"
    return first_fold_stop(gains, written, given=len(gains), seed=seed)


def remote_replies_untested(reason: str, gains: Sequence[float] = ()) -> Gate:
    """Without enough evidence the local parts answer."""
    return _named(reply_gate_untested(reason, gains))


def _named(gate: Gate) -> Gate:
    decision = "used" if gate.passed else "not used"
    return replace(gate, name=REPLIES, decision=decision, standard=REPLIES_STANDARD, statistic=DRAFT_STATISTIC)


def _right(log_probabilities: Floats, truth: Rows, asked: Rows) -> int:
    return int((winners(log_probabilities) == truth)[asked].sum())
