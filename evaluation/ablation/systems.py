"""The program with one part switched off, and the pairs that matter.

Each system differs from its reference in the part, or the parts, that its name says. Parts of the language model show only
where replies are generated, so those rows stand against the system that always generates, whatever the reply gate of the full
system decided.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from retrieval.intent_classifier import ScorerWeights

FULL = "full system"
GENERATE = "reply gate off: always generate"

Adapter = Literal["none", "full", "no exemplars"]


@dataclass(frozen=True, slots=True)
class System:
    """What is on."""

    name: str
    reference: str = FULL  # the name of the system that it is compared with
    weights: ScorerWeights = field(default_factory=ScorerWeights)
    names: Literal["gate", "always", "never"] = "gate"  # are label names used?
    rows_share: float = 1.0  # of the train rows, the most representative ones
    adapter: Adapter = "full"  # none, trained as in a run, or trained on prompts without exemplars
    exemplars: bool = True  # do the prompts of new tickets show any, as many as in a run?
    replies: Literal["gate", "copied", "generated"] = "gate"
    lm_scores: bool = True  # do the base's scores of the intents count, where their gate lets them?
    composed: bool = True  # are two stored replies that nearly tie joined?
    grounded: bool = True  # are drafts that fail the check replaced?
    nearer: bool = True  # is a draft given only where it is nearer to the ticket than the stored reply?


_GENERATING = System(GENERATE, replies="generated")


def _without(scorer: str, name: str) -> System:
    return System(f"without {name}", weights=replace(ScorerWeights(), **{scorer: 0.0}))


def _generating(name: str, **changes: Any) -> System:
    return replace(_GENERATING, name=name, reference=GENERATE, **changes)


RETRIEVAL = (
    System(FULL),
    System("without label names", names="never"),
    System("label-name gate off: names always", names="always"),
    System("half of the rows, the most representative", rows_share=0.5),
    _without("ticket_vote", "ticket vote"),
    _without("regression", "regression"),
    _without("reply_vote", "reply vote"),
    _without("bm25", "BM25"),
    System("ticket vote alone", weights=ScorerWeights(regression=0.0, reply_vote=0.0, bm25=0.0), names="never"),
    System("without composed replies", composed=False),
    System("retrieval alone: replies copied", lm_scores=False, replies="copied"),
)
GENERATION = (
    System("without LM intent scores", lm_scores=False),
    _GENERATING,
    _generating("without exemplars in the prompt", exemplars=False),
    _generating("without exemplars in training", adapter="no exemplars"),
    _generating("without LoRA: base with exemplars", adapter="none"),
    _generating("LoRA without exemplars anywhere", adapter="no exemplars", exemplars=False),
    _generating("without the grounding check", grounded=False),
    _generating("every draft that passes, nearer or not", nearer=False),
)
