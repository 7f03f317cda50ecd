"""Does a learned part of the language model earn its place? Small functions from evidence to decision.

What they do not know: where the evidence comes from (`crossfit`).
"""

from collections.abc import Sequence

import numpy as np

from retrieval.gate import Gate

FEWEST = 10  # rows of evidence under which the reply gate does not judge
WORST_LOSS = -0.02  # of cosine to the ideal reply that generating may cost against copying
RESAMPLES = 2000


def reply_gate(differences: Sequence[float], *, large: bool, seed: int) -> Gate:
    """Generate replies, or copy stored ones?

    Args:
        differences: for each judged row whose draft passed the check, cosine to the ideal reply of the draft minus that
            of the copied reply; neither method had seen the row.
        large: whether the base is expected to write well; it decides where there is too little evidence.
        seed: of the bootstrap.
    """
    if len(differences) < FEWEST:
        return untested(f"{len(differences)} held-out drafts passed the check, {FEWEST} needed", differences, large=large)
    values = np.asarray(differences, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = (float(bound) for bound in np.quantile(values[draws].mean(axis=1), [0.1, 0.9]))
    passed = low > WORST_LOSS
    why = f"cosine to the ideal reply, generated minus copied: lower bound {low:+.3f}, {WORST_LOSS} allowed"
    return Gate("replies", passed, "generate" if passed else "copy", float(values.mean()), len(values), (low, high), why)


def untested(reason: str, differences: Sequence[float], *, large: bool) -> Gate:
    """What happens without enough evidence: a large base generates, a small one copies."""
    mean = float(np.mean(differences)) if len(differences) else None
    decision, habit = ("generate", "a large base generates") if large else ("copy", "a small base copies")
    return Gate("replies", large, decision, mean, len(differences), None, f"untested: {reason}; {habit}")
