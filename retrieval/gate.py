"""The record that all gates share: what was decided, on what evidence.

A gate asks whether a learned part earns its place on rows it has not seen; where it does not, the simpler part beneath it
does the work. The functions from evidence to decision stand where the evidence is understood: `retrieval.label_names`,
`finetune.gates`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Gate:
    """A decision and what it rests on.

    Attributes:
        name: which part was judged.
        passed: whether the learned part is used.
        decision: what the run does, in a word.
        evidence: the mean of what was measured, None if nothing was.
        n: how many rows it was measured on.
        interval: its 80 % bootstrap interval, None if nothing was measured or the test is another.
        why: one sentence.
        figures: what else was measured, by name.
    """

    name: str
    passed: bool
    decision: str
    evidence: float | None
    n: int
    interval: tuple[float, float] | None
    why: str
    figures: Mapping[str, float] = field(default_factory=dict)
