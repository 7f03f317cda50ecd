"""What a remote model is asked, the form of its answer as a JSON schema, and how an answer is read.

Two questions: how likely has a ticket each of a few intents, and what is a reply to it? The words of the second are those that
a local base gets (`retrieval.prompt_text`). The scores are percentages, which every model can write: not all endpoints give
log-probabilities of tokens.
"""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.remote.prices import Usage
from retrieval.prompt_text import NO_DESCRIPTIONS, intents_text, reply_prompt_text
from retrieval.retrieve import IntentQuestion, Retrieval
from retrieval.tickets import LabelledTicket, quoted

SCORING_RULES = (
    "You sort support tickets of one product by intent. You are shown stored tickets with their intents and replies, then a "
    "new ticket. Say for each of these intents how likely the new ticket has it, in percent; together they make 100."
)
MAX_CHARACTERS = 6000  # of a ticket or a stored text, from its beginning
MAX_ENUM = 250  # names in an enum; endpoints refuse schemas with many more
PERCENT_TOKENS, PERCENT_TOKENS_EACH = 60, 40  # of an answer: its frame, and an intent with its percentage
MIN_REPLY_TOKENS, MAX_REPLY_TOKENS = 100, 800
FRAME_TOKENS = 64  # what an endpoint may put around messages and schema
BYTES_PER_TOKEN = 4  # as a rule, in English; never less than one
FLOOR = 1.0  # percent: an intent that the model gives nothing, or leaves out

Schema = Mapping[str, Any]


class BadAnswer(Exception):
    """An answer that cannot be used; the message is the half of a sentence that says why."""


@dataclass(frozen=True, slots=True)
class Question:
    """A call."""

    key: str  # the id of the ticket
    system: str
    user: str
    max_tokens: int  # of the answer
    schema: Schema | None = None  # of the answer, None for plain text

    def most(self) -> Usage:
        """The tokens that it takes at most: no tokenizer makes more than one of a byte."""
        return Usage(self._bytes() + FRAME_TOKENS, self.max_tokens)

    def expected(self) -> Usage:
        """The tokens that it will probably take."""
        return Usage(self._bytes() // BYTES_PER_TOKEN + FRAME_TOKENS, self.max_tokens // 2)

    def _bytes(self) -> int:
        schema = json.dumps(self.schema) if self.schema else ""
        return sum(len(text.encode()) for text in (self.system, self.user, schema))


def intent_question(
    asked: IntentQuestion, intents: Sequence[str], descriptions: Mapping[str, str] = NO_DESCRIPTIONS
) -> Question:
    """How likely has a ticket each of the intents of the rows near it?

    Args:
        asked: the ticket and the rows.
        intents: all of the train set, which the answer may name.
        descriptions: what intents are about, by name.
    """
    named = list(dict.fromkeys(row.intent for row in asked.rows))
    stored = "\n\n".join(map(_stored_row, reversed(asked.rows)))
    listed, ticket = json.dumps(named, ensure_ascii=False), _cut(asked.ticket.text)
    user = f"{intents_text(named, descriptions)}Stored tickets:\n\n{stored}\n\nIntents: {listed}\n\nNew ticket:\n{ticket}"
    names = list(intents) if len(intents) <= MAX_ENUM else named
    tokens = PERCENT_TOKENS + sum(PERCENT_TOKENS_EACH + len(name.encode()) for name in named)
    return Question(asked.ticket.id, SCORING_RULES, user, tokens, _percentages_schema(names))


def reply_question(found: Retrieval, *, max_tokens: int, descriptions: Mapping[str, str] = NO_DESCRIPTIONS) -> Question:
    """What is a reply to a ticket, in the words of its exemplars?"""
    rows = [_cut_row(row) for row in found.exemplars]
    prompt = reply_prompt_text(_cut(found.ticket.text), rows, intent=found.intent, descriptions=descriptions)
    user = f"{prompt.user}\n\nIts intent: {found.intent}"
    return Question(found.ticket.id, prompt.system, user, max_tokens, _object({"reply": {"type": "string"}}))


def max_reply_tokens(rows: Sequence[LabelledTicket]) -> int:
    """Tokens that a reply with its frame may take: twice the usual number of the longest stored one, within limits."""
    longest = max(len(row.ideal_reply.encode()) for row in rows)
    return min(max(MIN_REPLY_TOKENS, 2 * longest // BYTES_PER_TOKEN), MAX_REPLY_TOKENS)


def read_percentages(text: str, *, intents: Collection[str]) -> dict[str, float]:
    """By intent its percentage, 0 to 100.

    Raises:
        BadAnswer: it has another form, or names an intent that the train set does not have.
    """
    found: dict[str, float] = {}
    entries = _field(text, "scores")
    for entry in entries if isinstance(entries, list) else [None]:
        intent, percent = (entry.get("intent"), entry.get("percent")) if isinstance(entry, dict) else (None, None)
        if not isinstance(intent, str) or isinstance(percent, bool) or not isinstance(percent, int | float):
            raise BadAnswer(f"found {quoted(text)}, expected intents with percentages")
        if intent not in intents:
            raise BadAnswer(f"found the intent {quoted(intent)}, expected one of the train set")
        if not 0 <= percent <= 100:  # NaN, too, is in no interval
            raise BadAnswer(f"found {quoted(text)}, expected percentages from 0 to 100")
        found[intent] = max(percent, found.get(intent, 0.0))
    return found


def read_reply(text: str) -> str:
    """The reply.

    Raises:
        BadAnswer: it has another form.
    """
    reply = _field(text, "reply")
    if not isinstance(reply, str) or not any(c.isprintable() and not c.isspace() for c in reply):
        raise BadAnswer(f"found {quoted(text)}, expected a reply")
    if any("\ud800" <= c <= "\udfff" for c in reply):  # JSON can say what no file can hold
        raise BadAnswer("found half a surrogate pair, expected text that can be written as UTF-8")
    return reply.strip()


def candidate_scores(percentages: Mapping[str, float], asked: IntentQuestion) -> dict[str, float]:
    """By candidate intent the logarithm of its share among the candidates, nats."""
    shares = {row.intent: max(percentages.get(row.intent, 0.0), FLOOR) for row in asked.rows}
    total = sum(shares.values())
    return {intent: math.log(share / total) for intent, share in shares.items()}


def _stored_row(row: LabelledTicket) -> str:
    return f"intent: {row.intent}\nticket: {_cut(row.text)}\nreply: {_cut(row.ideal_reply)}"


def _cut_row(row: LabelledTicket) -> LabelledTicket:
    return LabelledTicket(row.id, _cut(row.text), row.intent, _cut(row.ideal_reply))


def _cut(text: str) -> str:
    return text[:MAX_CHARACTERS]


def _percentages_schema(names: Sequence[str]) -> Schema:
    entry = _object({"intent": {"type": "string", "enum": list(names)}, "percent": {"type": "integer"}})
    return _object({"scores": {"type": "array", "items": entry}})


def _object(properties: Mapping[str, Any]) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _field(text: str, name: str) -> object:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"found {quoted(text)}, expected JSON") from error
    return found.get(name) if isinstance(found, dict) else None
