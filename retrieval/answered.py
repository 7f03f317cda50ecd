"""New tickets, answered: what every way of answering gives back, and the simplest way, which copies.

What it does not know: language models (`finetune.answering` answers with one).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.encoder import Vectors
from retrieval.intent_classifier import IntentClassifier
from retrieval.lm_scores import NO_LM_SCORES, LmScores
from retrieval.replies import Reply, asked, copy_reply
from retrieval.results import Answer
from retrieval.retrieve import Retrieval, retrieve
from retrieval.tickets import Ticket


@dataclass(frozen=True, slots=True)
class Answered:
    """Answers.

    Attributes:
        retrievals: of all tickets.
        replies: by ticket id.
        timeouts: what cut the answering short in a way that a second run may not repeat, a sentence each.
    """

    retrievals: tuple[Retrieval, ...]
    replies: dict[str, Reply]
    timeouts: tuple[str, ...] = ()


def answer_by_copying(
    classifier: IntentClassifier, tickets: Sequence[Ticket], vectors: Vectors, *, lm_scores: LmScores = NO_LM_SCORES
) -> Answered:
    """IntentScores on m tickets, (m, d) their vectors, and copies the stored reply that retrieval ranks first."""
    retrievals = retrieve(classifier, tickets, vectors, lm_scores=lm_scores)
    return Answered(retrievals, {found.ticket.id: copy_reply(asked(found)) for found in retrievals})


def timed(found: Answered, seconds: float) -> tuple[Answer, ...]:
    """The answers with their latency: what the model took for each, and an equal share of all else that the seconds hold."""
    share = max(0.0, seconds - sum(reply.seconds for reply in found.replies.values())) / len(found.retrievals)
    each = ((retrieved, found.replies[retrieved.ticket.id]) for retrieved in found.retrievals)
    return tuple(Answer(retrieved, reply, 1000 * (share + reply.seconds)) for retrieved, reply in each)
