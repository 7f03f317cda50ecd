"""From a retrieval to a reply and a prediction, and how these are written to the files of a run.

The simplest reply is a copy of the stored reply that retrieval ranks first, or of two that nearly tie (`compose`);
`finetune.reply_writer` generates others, and `finetune.reply_choice` gives the stored one where it is as near to the ticket.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from retrieval.index import DECIMALS
from retrieval.retrieve import IntentScore, Neighbour, Retrieval

# Copied or composed of stored replies (with a draft: that was written, passed the check and was not given), generated, remote
# (of a remote model), or replaced: a stored one for a draft that failed the check.
Source = Literal["copied", "composed", "generated", "replaced", "remote"]


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply and where it came from."""

    text: str
    source: Source
    findings: tuple[str, ...] = ()  # why a draft was not given
    draft: str = ""  # what a model wrote and nobody got, empty if there is none
    tokens: int = 0  # that the model read and wrote
    seconds: float = 0.0  # that the model took


@dataclass(frozen=True, slots=True)
class Prediction:
    """A ticket's answer with everything that explains it."""

    retrieval: Retrieval  # what retrieval found
    reply: Reply  # the reply and its source
    latency_ms: float  # of retrieval and reply, the ticket's share of its batches

    def result(self) -> dict[str, Any]:
        """Its entry in results.json."""
        return {
            "id": self.retrieval.ticket.id,
            "prediction": self.reply.text,
            "predicted_intent": self.retrieval.intent,
            "latency_ms": round(self.latency_ms, 2),
            "tokens_used": self.reply.tokens,
        }

    def explanation(self) -> dict[str, Any]:
        """Its line in predictions.jsonl."""
        return retrieval_record(self.retrieval) | {
            "prediction": self.reply.text,
            "source": self.reply.source,
            "findings": list(self.reply.findings),
            "draft": self.reply.draft,
        }


def copy_reply(found: Retrieval) -> Reply:
    """The stored reply that retrieval ranks first, or what was composed of it and the one that nearly ties.

    For an intent without rows that is the reply of the nearest row, which has another intent.
    """
    return Reply(found.composed, "composed") if found.composed else Reply(found.exemplars[0].ideal_reply, "copied")


def predictions(retrievals: Sequence[Retrieval], replies: Sequence[Reply], *, seconds: float) -> tuple[Prediction, ...]:
    """Retrievals with their replies; `seconds` of all work are shared out, beside what the model took for each reply."""
    share = max(0.0, seconds - sum(reply.seconds for reply in replies)) / len(replies)
    pairs = zip(retrievals, replies, strict=True)
    return tuple(Prediction(found, reply, 1000 * (share + reply.seconds)) for found, reply in pairs)


def retrieval_record(found: Retrieval) -> dict[str, Any]:
    """All that retrieval says about a ticket, for a JSON file."""
    return {
        "id": found.ticket.id,
        "ticket": found.ticket.text,
        "predicted_intent": found.intent,
        "confidence": _rounded(found.confidence),
        "in_scope_score": _rounded(found.in_scope_score),
        "in_scope_threshold": _rounded(found.in_scope_threshold),
        "out_of_scope": found.out_of_scope,
        "intent_has_rows": found.intent_has_rows,
        "intents": [_intent_record(score) for score in found.intents],
        "neighbours": [_neighbour_record(neighbour) for neighbour in found.neighbours],
        "exemplars": [row.id for row in found.exemplars],
        "tied": found.tied.id if found.tied else None,
    }


def _intent_record(score: IntentScore) -> dict[str, Any]:
    scorers = {name: _rounded(value) for name, value in score.scorers.items()}
    lm = {} if score.lm_score is None else {"lm_score": _rounded(score.lm_score)}
    return {"intent": score.intent, "probability": _rounded(score.probability), **scorers, **lm}


def _neighbour_record(near: Neighbour) -> dict[str, Any]:
    names = ("cosine", "vote_share", "reply_cosine", "bm25", "exemplar_score")
    scores = {name: _rounded(getattr(near, name)) for name in names}
    return {"id": near.row.id, "intent": near.row.intent, **scores, "shared_words": list(near.shared_words)}


def _rounded(score: float) -> float:
    """Five decimals, the precision that scores are ranked by."""
    return round(score, DECIMALS)
