"""Does a learned part of the language model earn its place? Small functions from evidence to decision.

What they do not know: where the evidence comes from (`crossfit`).
"""

from collections.abc import Mapping, Sequence
from math import inf, isfinite

import numpy as np
from numpy.typing import NDArray

from retrieval.gate import Gate
from retrieval.lm_scores import Floats, fuse

FEWEST = 10  # rows of evidence under which the reply gate does not judge
WORST_LOSS = -0.02  # of cosine to the ideal reply that generating may cost against copying
RESAMPLES = 2000
SCALES = (1.0, 0.5)  # of the adapter, in the order in which they are tried; 0 beneath them
MAX_INCREASE = 0.05  # nats per token that the loss on general texts may increase
LM_WEIGHTS = (0.0, 0.5, 1.0, 2.0)  # of the model's scorer of the intent


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
    low, high = interval(differences, seed=seed)
    passed = low > WORST_LOSS
    why = f"cosine to the ideal reply, generated minus copied: lower bound {low:+.3f}, {WORST_LOSS} allowed"
    mean = float(np.mean(differences))
    return Gate("replies", passed, "generate" if passed else "copy", mean, len(differences), (low, high), why)


def untested(reason: str, differences: Sequence[float], *, large: bool) -> Gate:
    """What happens without enough evidence: a large base generates, a small one copies."""
    mean = float(np.mean(differences)) if len(differences) else None
    decision, habit = ("generate", "a large base generates") if large else ("copy", "a small base copies")
    return Gate("replies", large, decision, mean, len(differences), None, f"untested: {reason}; {habit}")


def scale_gate(increases: Mapping[float, tuple[Sequence[float], Sequence[float]]], *, seed: int) -> tuple[float, Gate]:
    """How far may the adapter move the base?

    Args:
        increases: for each scale that was tried, what the loss of each plain sentence and of each paraphrased ticket rose by
            over the base, nats per token.
        seed: of the bootstrap.

    Returns:
        The first scale whose mean increase stays within the bound in both kinds of text, 0 if none does; and the record.
    """
    worst = {
        scale: max(_mean_increase(sentences), _mean_increase(paraphrases))
        for scale, (sentences, paraphrases) in increases.items()
    }
    chosen = next((scale for scale, increase in worst.items() if increase <= MAX_INCREASE), 0.0)
    shown = chosen or min(worst)
    kinds = zip(("sentences", "paraphrases"), zip(*increases.values(), strict=True), strict=True)
    figures = {f"{kind} at {scale:g}": _mean_increase(v) for kind, of in kinds for scale, v in zip(increases, of, strict=True)}
    leading = max(increases[shown], key=_mean_increase)
    tried = ", ".join(f"{increase:+.3f} at scale {scale:g}" for scale, increase in worst.items())
    why = f"loss on texts of no train_set rose by {tried}; {MAX_INCREASE} allowed"
    bounds = interval(leading, seed=seed) if isfinite(worst[shown]) else None
    figures = {name: increase for name, increase in figures.items() if isfinite(increase)}  # JSON has no infinity
    evidence = worst[shown] if isfinite(worst[shown]) else None
    return chosen, Gate("adapter scale", chosen > 0, f"scale {chosen:g}", evidence, len(leading), bounds, why, figures)


def unmeasured(reason: str) -> tuple[float, Gate]:
    """The scale where nothing could be measured: the adapter stays as it was trained."""
    return 1.0, Gate("adapter scale", True, "scale 1", None, 0, None, f"untested: {reason}")


def _mean_increase(values: Sequence[float]) -> float:
    mean = float(np.mean(values))
    return mean if isfinite(mean) else inf


def lm_scores_gate(
    log_probabilities: Floats, lm_scores: Floats, truth: NDArray[np.int64], half: NDArray[np.int64]
) -> tuple[float, Gate]:
    """Does the language model's scorer of the intent join the classifier?

    Each half of the rows is judged with the weight that is best in the other half, so no row chooses its own weight.

    Args:
        log_probabilities: (n, c) of pools that had not seen the row.
        lm_scores: (n, c) of a model that had not, NaN where it was not asked.
        truth: (n,) the row's intent.
        half: (n,) 0 or 1.

    Returns:
        The weight for new tickets (the best over all rows, 0 if the scorer stays out), and the record.
    """
    each = np.arange(len(truth))
    losses = {w: -fuse(log_probabilities, lm_scores, w)[each, truth] for w in LM_WEIGHTS}  # (n,) each
    gain = np.zeros(len(truth))
    for h in (0, 1):
        weight = _best_weight({w: loss[half != h] for w, loss in losses.items()})
        gain[half == h] = (losses[0.0] - losses[weight])[half == h]
    error = float(gain.std(ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else 0.0
    mean = float(gain.mean()) if len(gain) else 0.0
    best = _best_weight(losses)
    passed = mean - error > 0 and best > 0
    why = f"surprise at the right intent falls by {mean:+.3f} nats a ticket, standard error {error:.3f}"
    figures = {f"loss at weight {w:g}": float(loss.mean()) for w, loss in losses.items()} if len(gain) else {}
    decision = f"weight {best:g}" if passed else "not asked"
    bounds = (mean - error, mean + error)
    return (best if passed else 0.0), Gate("intent scorer", passed, decision, mean, len(gain), bounds, why, figures)


def _best_weight(losses: Mapping[float, NDArray[np.float64]]) -> float:
    """The weight of the lowest mean loss; ties, and no rows at all, go to the lower weight."""
    return min(losses, key=lambda w: (round(float(losses[w].mean()), 6) if len(losses[w]) else 0.0, w))


def lm_scores_untested(reason: str) -> tuple[float, Gate]:
    """The intent scorer where nothing could be measured: it stays out."""
    return 0.0, Gate("intent scorer", False, "not asked", None, 0, None, f"untested: {reason}")


def interval(values: Sequence[float], *, seed: int) -> tuple[float, float]:
    """The 80 % bootstrap interval of a mean."""
    sample = np.asarray(values, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(len(sample), size=(RESAMPLES, len(sample)))
    low, high = np.quantile(sample[draws].mean(axis=1), [0.1, 0.9])
    return float(low), float(high)
