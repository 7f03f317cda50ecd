"""The program with one part switched off, and the pairs that matter.

Each system differs from its reference in one thing. Parts of the language model show only where replies are generated, so those
rows stand against the system that always generates, whatever the reply gate of the full system decided.

What it does not know: how a system is run (`ablation`).
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from finetune.training_data import TrainingConfig
from retrieval.exemplars import EXEMPLARS
from retrieval.intent_classifier import Weights

FULL = "full system"
GENERATE = "reply gate off: always generate"

Adapter = Literal["none", "full", "no exemplars"]


@dataclass(frozen=True, slots=True)
class System:
    """What is on.

    Attributes:
        name: for the table.
        against: the name of its reference.
        weights: of the classifier's scorers.
        names: intent names as the gate decides, always, or never.
        keep: share of the train rows that are kept, the most representative ones.
        adapter: none; trained as in a run; or trained on prompts without exemplars.
        shown: exemplars in the prompts of new tickets.
        replies: as the gate decides, copied, or generated.
        grounded: whether drafts that fail the check are replaced.
    """

    name: str
    against: str = FULL
    weights: Weights = field(default_factory=Weights)
    names: Literal["gate", "always", "never"] = "gate"
    keep: float = 1.0
    adapter: Adapter = "full"
    shown: int = EXEMPLARS
    replies: Literal["gate", "copied", "generated"] = "gate"
    grounded: bool = True


_GENERATING = System(GENERATE, replies="generated")


def _less(name: str, **weights: float) -> System:
    return System(name, weights=replace(Weights(), **weights))


def _generating(name: str, **changes: object) -> System:
    return replace(_GENERATING, name=f"  {name}", against=GENERATE, **changes)  # type: ignore[arg-type]


RETRIEVAL = (
    System(FULL),
    System("without intent names", names="never"),
    System("names gate off: names always", names="always"),
    System("half of the rows, the most representative", keep=0.5),
    _less("without neighbour score", neighbours=0.0),
    _less("without regression", regression=0.0),
    _less("without reply scorer", replies=0.0),
    _less("without BM25", lexical=0.0),
    System("neighbour score alone", weights=Weights(regression=0.0, replies=0.0, lexical=0.0), names="never"),
    System("retrieval alone: replies copied", replies="copied"),
)
WRITING = (
    _GENERATING,
    _generating("without exemplars in the prompt", shown=0),
    _generating("without exemplars in training", adapter="no exemplars"),
    _generating("without LoRA: base with exemplars", adapter="none"),
    _generating("LoRA without exemplars anywhere", adapter="no exemplars", shown=0),
    _generating("without grounding", grounded=False),
)


def config_of(adapter: Adapter, config: TrainingConfig) -> TrainingConfig:
    """The data of an adapter: as planned, or without exemplars."""
    return replace(config, exemplars=0) if adapter == "no exemplars" else config
