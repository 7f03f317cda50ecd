"""How far a run is and how long the rest will take: arithmetic on a plan, without any output.

A plan lists the parts of a run in their order, with the seconds that each took where it was measured. Only the ratios count:
how fast this machine is, the bars say, those of the encoder and of the language model apart. No remaining time is given before
a bar of each kind that is left has been seen. Where a part is left out, the share jumps; `Progress.leave_out` says so before
its time comes.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

# Seconds on two slow cores with all-mpnet-base-v2 and the embedded 135M, from the CPU times of a run of the sample.
START_S, LOAD_S, FORGETTING_S = 8.0, 2.0, 15.0  # the libraries and the encoder; the base; the forgetting check
EMBED_S, FIT_S = 0.1, 0.05  # a text; the classifier's losses, a row
SCORE_S, REPLY_S = 0.5, 1.5  # the LM intent scores of a ticket; a reply
TRAIN_S, LOSS_S = 1.4, 0.8  # a training row, once; its completion loss
# How often it is asked for, by 8 draws of a public set and the sample: a first fold, scores of the train rows; a second fold,
# new replies; scores of new tickets.
MOSTLY, OFTEN, SELDOM = 0.8, 0.7, 0.2
LEARNED_ROWS, SCORED_ROWS = 120, 40  # of the train set, at most
BLOCK = 256  # new tickets that a bar of the language model is about

ALMOST = 0.9  # of a part without a bar counts as done at most, until the next one begins


class Group(StrEnum):
    """Parts that are left out together."""

    ALWAYS = "always"  # whose time comes, or not, one by one
    MEASURING = "measuring"  # of replies to train rows
    SCORES = "LM intent scores"  # of new tickets
    REPLIES = "replies"  # to new tickets


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a stage."""

    stage: str  # its name on the clock
    seconds: float  # expected
    bar: str = ""  # the label of its bar; empty if it has none
    model: bool = False  # whether the language model does the work
    chance: float = 1.0  # that it is not left out
    group: Group = Group.ALWAYS

    @property
    def weight(self) -> float:
        """What it counts for in the whole."""
        return self.seconds * self.chance


class Progress:
    """Where a run is in its plan."""

    def __init__(self, plan: Sequence[Part] = (), *, now: Callable[[], float] = time.monotonic) -> None:
        """`now` gives seconds, from any beginning."""
        self.text = ""  # what is being done
        self._plan, self._now, self._stage = tuple(plan), now, ""
        self._expected, self._real = {False: 0.0, True: 0.0}, {False: 0.0, True: 0.0}  # seconds of bars so far, by `Part.model`
        self._at, self._done, self._has_bar = 0, 0.0, False  # the present part; how much of it is done by its bar, if that runs
        self._began = self._told = now()  # when the present part began, and when its bar last said something
        self._share, self._end = 0.0, self._expected_end()

    def begin(self, stage: str) -> None:
        """A stage begins; what stands before it in the plan is done or left out."""
        self.text = self._stage = stage
        self._go_to(self._next(lambda part: part.stage == stage))

    def begin_bar(self, label: str) -> None:
        """A bar begins: that of the next part of the stage with this label, or one that is not in the plan."""
        self.text = label
        at = self._next(lambda part: (part.stage, part.bar) == (self._stage, label))
        self._go_to(at, has_bar=at is not None)

    def report(self, label: str, done: int, total: int) -> None:
        """Of the running bar so many items are done."""
        self.text = f"{label}, {done} of {total}"
        if self._has_bar:
            part, now = self._plan[self._at], self._now()
            self._expected[part.model] += part.seconds * (done / total - self._done)
            self._real[part.model] += now - self._told
            self._done, self._told = done / total, now
            self._end = self._expected_end()

    def end_bar(self) -> None:
        """The running bar ends, and its part with it."""
        self.text = self._stage
        self._go_to(self._at + 1 if self._has_bar else None)

    def leave_out(self, *groups: Group) -> None:
        """It is known that the parts of these groups will not come."""
        self._plan = tuple(
            replace(part, chance=0.0) if i > self._at and part.group in groups else part for i, part in enumerate(self._plan)
        )
        self._end = self._expected_end()

    def share(self) -> float:
        """What share of the run is done, from 0 to 1; never goes down."""
        weights = [part.weight for part in self._plan]
        if weights:
            self._share = max(self._share, (sum(weights[: self._at]) + self._present()) / sum(weights))
        return self._share

    def remaining(self) -> float | None:
        """Seconds that the rest will take; None while that is not known."""
        return None if self._end is None else max(0.0, self._end - self._now())

    def _next(self, fits: Callable[[Part], bool]) -> int | None:
        return next((i for i in range(self._at, len(self._plan)) if fits(self._plan[i])), None)

    def _go_to(self, at: int | None, *, has_bar: bool = False) -> None:
        """Goes on to a part of the plan; stays where it is with None."""
        self._has_bar = has_bar
        if at is not None:
            self._at, self._done = at, 0.0
            self._began = self._told = self._now()
            self._end = self._expected_end()

    def _present(self) -> float:
        """How much of the weight of the present part is done; without a bar, by the time that has passed."""
        if self._has_bar:
            return self._plan[self._at].weight * self._done
        if self._at == len(self._plan) or self._plan[self._at].bar or self._plan[self._at].stage != self._stage:
            return 0.0  # it has not begun
        part, passed = self._plan[self._at], self._now() - self._began
        return part.weight * min(ALMOST, passed / (part.seconds * (self._pace(part.model) or 1.0)))

    def _pace(self, model: bool) -> float | None:
        """Real seconds for an expected one; None before a bar has said anything."""
        return self._real[model] / self._expected[model] if self._expected[model] else None

    def _expected_end(self) -> float | None:
        """When the run will be done, by `now`; None while a kind of work that is left has not been measured."""
        left = [part for i, part in enumerate(self._plan[self._at :]) if part.chance or not i]
        pace = {model: self._pace(model) for model in (False, True)}
        if not left or any(part.bar and pace[part.model] is None for part in left):
            return None
        seconds = [part.weight * (pace[part.model] or 1.0) for part in left]
        if self._done:  # its own pace is nearer to the truth than that of its kind
            seconds[0] = (self._now() - self._began) * (1 - self._done) / self._done
        return self._now() + sum(seconds)


def plan_of(rows: int, tickets: int, *, model: bool) -> tuple[Part, ...]:
    """The parts of a run with so many train rows and tickets, with a language model or without one."""
    tuned = _fine_tuning(min(rows, LEARNED_ROWS)) if model else [Part("losses", FIT_S * rows)]
    return (
        Part("start", START_S),
        *(Part("index", EMBED_S * rows * share, "embed") for share in (1.0, 1.0, 0.1)),  # tickets, replies, label names
        *(Part("index", 0.5), *tuned, *_answering(tickets, model=model)),
        *(Part("check", 0.1), Part("write", 0.3)),
    )


def plan_of_answers(tickets: int, *, model: bool) -> tuple[Part, ...]:
    """The parts of answering so many tickets with a finished run, after it was loaded."""
    return (*_answering(tickets, model=model), Part("write", 0.1))


def _answering(tickets: int, *, model: bool) -> tuple[Part, ...]:
    blocks = [min(BLOCK, tickets - start) for start in range(0, tickets, BLOCK) if model]
    ask = partial(Part, "answer", model=True)
    return (
        *(Part("embed", EMBED_S * tickets, "embed"), Part("answer", 0.1)),
        *(ask(SCORE_S * block, "LM intent scores", chance=SELDOM, group=Group.SCORES) for block in blocks),
        Part("answer", EMBED_S * tickets, "embed"),  # the sentences of replies that tie
        *(ask(REPLY_S * block, "write replies", chance=OFTEN, group=Group.REPLIES) for block in blocks),
        *([Part("answer", EMBED_S * tickets, "embed", chance=OFTEN, group=Group.REPLIES)] if model else []),  # the drafts
    )


def _fine_tuning(rows: int) -> list[Part]:
    """The parts of fine-tuning with so many rows that are learned from."""
    part = partial(Part, "fine-tune", model=True)
    measured = partial(part, group=Group.MEASURING)
    folds = [
        one
        for fold, chance in ((1, MOSTLY), (2, OFTEN))
        for one in (
            measured(TRAIN_S * rows, f"train fold {fold} of 2", chance=chance),
            measured(LOSS_S * rows / 2, chance=chance),
            measured(REPLY_S * rows / 2, "write replies", chance=chance),
        )
    ]
    scores = part(SCORE_S * min(rows, SCORED_ROWS), "LM intent scores of the train rows", chance=MOSTLY)
    trained = [part(2 * TRAIN_S * rows, "train the adapter"), part(FORGETTING_S)]
    return [Part("fine-tune", LOAD_S), scores, *trained, *folds, measured(LOSS_S * rows, chance=MOSTLY)]
