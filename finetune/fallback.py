"""Down the ladder until a base carries the run: fetch, load, train; where one of them fails, the next smaller base.

Under the last candidate lies retrieval alone, which always answers. A base that was *named* and cannot be loaded is an
error, for
whoever named it does not want another; one that loads and then has too little memory to train leaves retrieval alone, and the
result is complete.

What it does not know: which candidates there are (`ladder`), and what is done with a base (`fine_tune`).
"""

from dataclasses import dataclass

from finetune.base_model import BaseModel, free_gib, load_candidate
from finetune.base_selection import BaseCandidate, candidates
from finetune.distributed import Processes
from finetune.fit import Deadlines, FineTuned, fine_tune
from finetune.memory import OutOfMemory, release
from finetune.training_data import config_for
from retrieval.console import say
from retrieval.encoder import Encoder, ModelUnavailable
from retrieval.intent_classifier import IntentClassifier


@dataclass(frozen=True, slots=True)
class Fallback:
    """Where the descent ended.

    Attributes:
        base: None for retrieval alone.
        tuned: the base's adapter and the gates; None with no base.
        reasons: why each candidate above did not hold, a sentence each.
        out_of_memory: whether a candidate was left, or a way of working, because memory ran out.
    """

    base: BaseModel | None
    tuned: FineTuned | None
    reasons: tuple[str, ...]
    out_of_memory: bool


def fit_with_fallback(
    choice: str, classifier: IntentClassifier, encoder: Encoder, *, seed: int, deadlines: Deadlines, processes: Processes
) -> Fallback:
    """Finds the best base that can be loaded and trained here, and trains it.

    Args:
        choice: value of --base-model, not `none`.
        classifier: over the train rows.
        encoder: judges replies.
        seed: of everything random.
        deadlines: the timeouts.
        processes: the processes of the run; all of them stand on the same candidate.

    Raises:
        ModelUnavailable: a base that was named cannot be loaded.
    """
    reasons: list[str] = []
    out_of_memory = False
    for candidate in candidates(choice, _least_free(processes)):
        try:
            base, tuned = _fitted(candidate, classifier, encoder, seed=seed, deadlines=deadlines, processes=processes)
            return Fallback(base, tuned, tuple(reasons), out_of_memory or tuned.step_downs > 0)
        except ModelUnavailable as error:
            reasons.append(str(error))
        except OutOfMemory as error:
            reasons.append(f"{candidate.said} was left: {error}")
            out_of_memory = True
        release()  # only here: inside of the except block the error still holds the model
    if choice != "auto" and not out_of_memory:
        raise ModelUnavailable("; ".join(reasons))
    return Fallback(None, None, (*reasons[:-1], f"retrieval alone: {reasons[-1]}"), out_of_memory)


def _least_free(processes: Processes) -> float | None:
    """The free memory of the fullest GPU of the run."""
    free = [gib for gib in processes.gathered(free_gib()) if gib is not None]
    return min(free, default=None)


def _fitted(
    candidate: BaseCandidate,
    classifier: IntentClassifier,
    encoder: Encoder,
    *,
    seed: int,
    deadlines: Deadlines,
    processes: Processes,
) -> tuple[BaseModel, FineTuned]:
    base = _loaded(candidate, deadlines.loading, processes)
    say(f"tune {base.name} ({base.precision}), on halves first")
    config = config_for(large=base.large)
    return base, fine_tune(classifier, base, encoder, config=config, seed=seed, deadlines=deadlines, processes=processes)


def _loaded(candidate: BaseCandidate, deadline: float, processes: Processes) -> BaseModel:
    """The candidate, loaded by every process; the first of each machine goes first, for what it fetches or converts the
    others find.

    Raises:
        ModelUnavailable: one of the processes could not load it.
    """
    base, reason = None, ""
    for turn in (True, False):
        if (processes.local_rank == 0) == turn and not reason:
            try:
                base = load_candidate(candidate, deadline=deadline)
            except ModelUnavailable as error:
                reason = str(error)
        reason = next(filter(None, processes.gathered(reason)), "")
    if base is None or reason:
        raise ModelUnavailable(reason)
    return base
