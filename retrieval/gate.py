"""The record of a gate: a test of whether a learned part helps on rows it has not seen.

Where it does not, the simpler part under it does the work. The functions that decide are in `retrieval.label_names`,
`finetune.gates` and `finetune.remote.gates`; every one of them names the standard it decides by.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

LEVEL = 0.8  # of the intervals that gates show, but for those of replies (`finetune.gates.REPLY_LEVEL`)


@dataclass(frozen=True, slots=True)
class Gate:
    """A decision and what it rests on."""

    name: str  # the part that was judged
    passed: bool  # whether the learned part is used
    decision: str  # what the run does, in a word or two
    standard: str  # the rule of the decision
    statistic: str  # what `value` is, with its unit
    value: float | None  # what was measured, None if nothing was
    n: int  # how many rows it was measured on
    # the bootstrap interval of `value`, None where the test is another or nothing was measured
    interval: tuple[float, float] | None
    reason: str  # why it was decided so, in one sentence
    figures: Mapping[str, float] = field(default_factory=dict)  # what else was measured, by name
