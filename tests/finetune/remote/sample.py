"""Runs the sample against the stub, for the figures of docs/remote.md.

    python -m tests.finetune.remote.sample reader|rewriter|expert|unpaid FOLDER

    reader    counts common words, copies the best exemplar
    rewriter  knows the intent; writes those sentences of the ideal reply whose facts stand in the prompt, else copies
    expert    knows the intent and writes the ideal reply, facts that nobody showed it included
    unpaid    the same, and says 402 to every new ticket

Only the first could be a model; the others say what the gates make of one that is as good as can be. Tokens are counted as a
quarter of the characters.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import run
from finetune.grounding import findings
from retrieval.compose import sentences
from tests.finetune.remote.stub import Said, asks_for_intents, endpoint, refused, said, ticket_of, use, user_text
from tests.test_run import ROOT

DATA = ROOT / "data"


def read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


LABELS = {label["id"]: label for label in read("val_labels.jsonl")}
NEW = {row["ticket"]: LABELS[row["id"]] for row in read("val.jsonl")}
KNOWN = {row["ticket"]: row for row in read("train.jsonl")} | NEW


def respond(kind: str, body: dict[str, Any]) -> Said:
    if kind == "unpaid" and ticket_of(body) in NEW:
        return refused(402, "Payment Required")
    answer = {"scores": scores(kind, body)} if asks_for_intents(body) else {"reply": reply(kind, body)}
    sent = [*(message["content"] for message in body["messages"]), json.dumps(body["response_format"])]
    return said(answer, prompt=sum(map(len, sent)) // 4, completion=len(json.dumps(answer)) // 4)


def scores(kind: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    if kind != "reader":
        return [{"intent": KNOWN[ticket_of(body)]["intent"], "percent": 95}]
    common: dict[str, int] = {}
    for intent, ticket, stored in re.findall(r"intent: (.*)\nticket: (.*)\nreply: (.*)", user_text(body)):
        found = words(ticket_of(body)) & words(f"{ticket} {stored}")
        common[intent] = max(common.get(intent, 0), len(found))
    total = sum(common.values()) or 1
    return [{"intent": intent, "percent": 100 * count // total} for intent, count in common.items()]


def reply(kind: str, body: dict[str, Any]) -> str:
    stored, ticket = re.findall(r"reply: (.*)", user_text(body)), ticket_of(body)
    ideal: str = KNOWN[ticket]["ideal_reply"]
    if kind in ("expert", "unpaid"):
        return ideal
    supported = [part for part in sentences(ideal) if not findings(part, stored, ticket)] if kind == "rewriter" else []
    return " ".join(supported) or str(stored[-1])


def words(text: str) -> set[str]:
    return set(re.findall(r"\w{4,}", text.lower()))


def main(kind: str, folder: Path) -> int:
    with endpoint(lambda _, body: respond(kind, body)) as stub, pytest.MonkeyPatch.context() as patch:
        use(patch, stub)
        files = ["--train", DATA / "train.jsonl", "--val", DATA / "val.jsonl"]
        written = ["--weights", folder / "weights", "--output", folder / "results.json"]
        options = ["--base-model", "none", "--remote-model", "gpt-4.1-mini"]
        return run.main([*map(str, (*files, *written)), *options])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
