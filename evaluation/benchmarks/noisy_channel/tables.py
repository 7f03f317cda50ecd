"""Tables of what the scores do to the intents: by weight, threshold, number of rows, and behind the gate of a run."""

from collections.abc import Iterator, Sequence

import numpy as np

from evaluation.benchmarks.fewshot import calibration_error
from evaluation.benchmarks.noisy_channel.scored import Scored, ScoredDraw, Way, unsure
from evaluation.benchmarks.noisy_channel.scoring import SCORED_BELOW
from evaluation.command import with_error
from finetune.gates import LmWeight, lm_scores_gate
from finetune.noisy_channel import NEAR_ROWS
from retrieval.intent_classifier import Floats, winners

WEIGHTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
THRESHOLDS = (0.7, 0.8, 0.9, SCORED_BELOW)


def correct(found: Floats, scored: Scored) -> float:
    """Share of right intents."""
    return float((winners(found) == scored.expected).mean())


def cross_entropy(found: Floats, scored: Scored) -> float:
    """Of the right intent, nats per ticket."""
    return float(-found[np.arange(len(found)), scored.expected].mean())


def calibration(found: Sequence[Floats], draws: Sequence[Scored]) -> float:
    """Expected calibration error over all tickets of the draws."""
    confidence = np.concatenate([np.exp(log_p.max(axis=1)) for log_p in found])
    right = np.concatenate([winners(log_p) == scored.expected for log_p, scored in zip(found, draws, strict=True)])
    return calibration_error(confidence, right)


def table_line(name: str, draws: Sequence[Scored], way: Way) -> dict[str, str]:
    """One way of fusing over all draws."""
    return {"way": name, **_figures([scored.fused(way) for scored in draws], draws)}


def _figures(found: Sequence[Floats], draws: Sequence[Scored]) -> dict[str, str]:
    """What (m, c) log-probabilities for the tickets of each draw are worth beside the classifier's."""
    pairs = list(zip(found, draws, strict=True))
    own = [correct(log_p, scored) for log_p, scored in pairs]
    gains = [100 * (a - correct(scored.log_p, scored)) for a, scored in zip(own, draws, strict=True)]
    entropies = [cross_entropy(log_p, scored) for log_p, scored in pairs]
    losses = [a - cross_entropy(scored.log_p, scored) for a, scored in zip(entropies, draws, strict=True)]
    return {
        "right %": f"{100 * np.mean(own):.1f}",
        "minus classifier, points": with_error(gains, digits=1),
        "cross-entropy": f"{np.mean(entropies):.3f}",
        "minus classifier": with_error(losses, digits=3),
        "calibration error": f"{calibration(found, draws):.3f}",
    }


def plain(draws: Sequence[Scored]) -> list[Floats]:
    """The classifier's own log-probabilities, (m, c) of each draw."""
    return [scored.log_p for scored in draws]


def asked_share(draws: Sequence[Scored], below: float) -> float:
    """The share of tickets with a confidence below a threshold."""
    return float(np.mean(np.concatenate([np.exp(scored.log_p.max(axis=1)) < below for scored in draws])))


def weight_lines(draws: Sequence[Scored], given: str, candidates: int) -> Iterator[dict[str, str]]:
    """A line for each weight and threshold of confidence."""
    for below in THRESHOLDS:
        asked = f"asked below {below:g} ({100 * asked_share(draws, below):.0f} %)"
        for weight in WEIGHTS:
            name = f"{given}, {asked}, weight {weight:g}"
            yield table_line(name, draws, Way(given, weight, candidates, below=below))


def sum_lines(draws: Sequence[Scored], given: Sequence[str]) -> Iterator[dict[str, str]]:
    """A line for each weight of the sum of all that the base is given, each below its own threshold, as in a run."""
    for weight in WEIGHTS:
        name = f"{' + '.join(given)}, each below its threshold, weight {weight:g}"
        yield {"way": name, **_figures([scored.summed(given, weight) for scored in draws], draws)}


def way_lines(draws: Sequence[Scored], given: str, weight: float, most: int) -> Iterator[dict[str, str]]:
    """Numbers of candidates, and the best row of an intent against the mean of its rows, at one weight."""
    for candidates in sorted({n for n in (3, NEAR_ROWS, most) if n <= most}):
        for mean in (False, True):
            name = f"{given}, {candidates} rows, {'mean' if mean else 'best'} row of an intent"
            yield table_line(name, draws, Way(given, weight, candidates, mean=mean, below=unsure(given)))


def gate_lines(draws: Sequence[ScoredDraw], given: str, weight: float) -> Iterator[dict[str, str]]:
    """The tests with the scores always in, never in, and in unless the gate of the draw's own rows forbids it."""
    way, passed = Way(given, weight, NEAR_ROWS, below=unsure(given)), []
    for found in draws:
        assert found.own is not None
        scores = found.own.asked(way)
        passed.append(lm_scores_gate(found.own.log_p, scores, found.own.expected, LmWeight(weight, ""), seed=0)[1].passed)
    tests = [found.tests for found in draws]
    always, never = [scored.fused(way) for scored in tests], plain(tests)
    gated = [a if use else n for a, n, use in zip(always, never, passed, strict=True)]
    for name, chosen in (("never", never), ("always", always), (f"gated, used in {sum(passed)} of {len(draws)}", gated)):
        yield {"given": given, "LM scores": name, **_figures(chosen, tests)}
