"""The language model's part in answering new tickets, as far as its gates let it: intents first, then replies.

What the gates keep out costs nothing here: without the intent view the votes stay the pool's, and where replies are copied
nothing is generated.

What it does not know: how the gates came to their decisions (`adapt`).
"""

from collections.abc import Sequence
from dataclasses import replace

from finetune.adapt import Adapted
from finetune.base_model import BaseModel
from finetune.intent_view import opinions_on
from finetune.replies import write_replies
from finetune.team import Team
from retrieval.answered import Answered, answer_by_copying
from retrieval.encoder import Vectors
from retrieval.opinion import UNASKED
from retrieval.reply import asked
from retrieval.tickets import Ticket
from retrieval.voting import IntentPool


def answer_with(
    pool: IntentPool,
    tickets: Sequence[Ticket],
    vectors: Vectors,
    base: BaseModel,
    adapted: Adapted,
    *,
    deadline: float,
    team: Team,
) -> Answered:
    """Answers m tickets, (m, d) their vectors, before a deadline (`time.monotonic()`); what comes too late is copied."""
    model, writer = adapted.model, adapted.writer
    if model is None:
        return answer_by_copying(pool, tickets, vectors)
    opinions, complete = UNASKED, True
    if weight := adapted.view_weight:
        opinions, complete = opinions_on(pool, tickets, vectors, model, writer, weight=weight, deadline=deadline, team=team)
    brakes = () if complete else ("the time budget ended the asking for intents: the rest are retrieval's",)
    found = replace(answer_by_copying(pool, tickets, vectors, opinions=opinions), brakes=brakes)
    if not adapted.replies.passed:
        return found
    questions = [asked(lookup) for lookup in found.lookups]
    written = write_replies(questions, model, base, writer, room=adapted.room, deadline=deadline, team=team)
    return replace(found, replies=written.replies, brakes=(*brakes, *written.brakes))
