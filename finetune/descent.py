"""Down the ladder until a base carries the run: fetch, load, train; where one of them fails, the next smaller base.

Under the last rung lies retrieval alone, which always answers. A base that was *named* and cannot be loaded is an error, for
whoever named it does not want another; one that loads and then has too little memory to train leaves retrieval alone, and the
result is complete.

What it does not know: which rungs there are (`ladder`), and what is done with a base (`adapt`).
"""

from dataclasses import dataclass

from finetune.adapt import Adapted, Deadlines, adapt
from finetune.base_model import BaseModel, free_gib, load_rung
from finetune.ladder import Rung, rungs
from finetune.lessons import plan_for
from finetune.memory import OutOfMemory, release
from finetune.team import Team
from retrieval.encoder import Encoder, ModelUnavailable
from retrieval.progress import say
from retrieval.voting import IntentPool


@dataclass(frozen=True, slots=True)
class Descent:
    """Where the descent ended.

    Attributes:
        base: None for retrieval alone.
        adapted: the base's adapter and the gates; None with no base.
        reasons: why each rung above did not hold, a sentence each.
        out_of_memory: whether a rung was left, or a way of working, because memory ran out.
    """

    base: BaseModel | None
    adapted: Adapted | None
    reasons: tuple[str, ...]
    out_of_memory: bool


def descend(choice: str, pool: IntentPool, encoder: Encoder, *, seed: int, deadlines: Deadlines, team: Team) -> Descent:
    """Finds the best base that can be loaded and trained here, and trains it.

    Args:
        choice: value of --base-model, not `none`.
        pool: over the train rows.
        encoder: judges replies.
        seed: of everything random.
        deadlines: the brakes.
        team: the processes of the run; all of them stand on the same rung.

    Raises:
        ModelUnavailable: a base that was named cannot be loaded.
    """
    reasons: list[str] = []
    out_of_memory = False
    for rung in rungs(choice, _least_free(team)):
        try:
            base, adapted = _carried(rung, pool, encoder, seed=seed, deadlines=deadlines, team=team)
            return Descent(base, adapted, tuple(reasons), out_of_memory or adapted.step_downs > 0)
        except ModelUnavailable as error:
            reasons.append(str(error))
        except OutOfMemory as error:
            reasons.append(f"{rung.said} was left: {error}")
            out_of_memory = True
        release()  # only here: inside of the except block the error still holds the model
    if choice != "auto" and not out_of_memory:
        raise ModelUnavailable("; ".join(reasons))
    return Descent(None, None, (*reasons[:-1], f"retrieval alone: {reasons[-1]}"), out_of_memory)


def _least_free(team: Team) -> float | None:
    """The free memory of the fullest GPU of the run."""
    free = [gib for gib in team.gathered(free_gib()) if gib is not None]
    return min(free, default=None)


def _carried(
    rung: Rung, pool: IntentPool, encoder: Encoder, *, seed: int, deadlines: Deadlines, team: Team
) -> tuple[BaseModel, Adapted]:
    base = _loaded(rung, deadlines.loading, team)
    say(f"tune {base.name} ({base.precision}), on halves first")
    plan = plan_for(large=base.large)
    return base, adapt(pool, base, encoder, plan=plan, seed=seed, deadlines=deadlines, team=team)


def _loaded(rung: Rung, deadline: float, team: Team) -> BaseModel:
    """The rung, loaded by every process; the first of each machine goes first, for what it fetches or converts the others find.

    Raises:
        ModelUnavailable: one of the processes could not load it.
    """
    base, reason = None, ""
    for turn in (True, False):
        if (team.local_rank == 0) == turn and not reason:
            try:
                base = load_rung(rung, deadline=deadline)
            except ModelUnavailable as error:
                reason = str(error)
        reason = next(filter(None, team.gathered(reason)), "")
    if base is None or reason:
        raise ModelUnavailable(reason)
    return base
