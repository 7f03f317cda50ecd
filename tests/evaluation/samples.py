"""A result and a label, as the commands read them, and a split of a few rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from evaluation.score.labels import Label
from evaluation.splits import Split, embed_split
from finetune.generate import Generation, Generations
from retrieval.tickets import LabelledTicket, Ticket
from tests.fakes import ROWS, HashEncoder
from tests.test_run import write

LABEL = {"id": "a", "intent": "billing.seat", "ideal_reply": "Guests need no seat.", "must_mention": [["no seat"]]}


def result(*rows: tuple[str, str, str], **training: float) -> dict[str, Any]:
    found = [{"id": i, "prediction": p, "predicted_intent": c, "latency_ms": 1.0, "tokens_used": 0} for i, p, c in rows]
    return {"training": {"steps": 1, "train_loss": 1.0, "val_loss": 1.0, "wall_clock_s": 5.0} | training, "predictions": found}


def tiny_split(rows: Sequence[LabelledTicket] = ROWS) -> Split:
    tickets = [Ticket("v1", "do guests need seats"), Ticket("v2", "the token leaked")]
    labels = [Label("v1", ("billing.seat",), ROWS[0].ideal_reply), Label("v2", ("api.token",), ROWS[3].ideal_reply)]
    return embed_split("tiny", rows, tickets, labels, HashEncoder())


def write_public_sets(folder: Path, words: Sequence[str], *, rows: int) -> None:
    """Two public sets, `full` with replies and `bare` without: so many train and test rows of an intent for each word."""
    for name, replies in (("bare", False), ("full", True)):
        for part, first in (("train_10", 0), ("test", 50)):
            found = [
                {"id": f"{word}{i}", "ticket": f"the {word} {i} please", "intent": f"{word}.help"}
                | ({"ideal_reply": f"About the {word} {i}."} if replies else {})
                for word in words
                for i in range(first, first + rows)
            ]
            write(folder / f"{name}_{part}.jsonl", *found)


FAR = "no word of it"  # is farther from both tickets of `tiny_split` than a stored reply


def write_far_drafts(patch: pytest.MonkeyPatch) -> None:
    """Every draft is the same, and the check finds nothing in it."""

    def written(_: Any, __: Any, prompts: Any, **___: Any) -> Generations:
        return Generations({prompt.row_id: Generation(FAR, 9, 0.1, ended=True) for prompt in prompts})

    patch.setattr("finetune.reply_writer.generate", written)
    patch.setattr("finetune.grounding.findings", lambda *_, **__: ())


def use_hash_encoder(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """The command of this module embeds by hashing words, without loading a model."""
    monkeypatch.setattr(f"{module}.load_encoder", lambda *_: HashEncoder())
