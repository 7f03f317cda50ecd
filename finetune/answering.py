"""The language model's part in answering new tickets, as far as its gates let it: intents first, then replies.

What the gates keep out costs nothing here: without the intent scorer the intent_scores stay the classifier's, and where
replies are copied
nothing is generated.

What it does not know: how the gates came to their decisions (`fine_tune`).
"""

from collections.abc import Sequence
from dataclasses import replace

from finetune.base_model import BaseModel
from finetune.distributed import Processes
from finetune.fit import FineTuned
from finetune.intent_likelihood import lm_scores_on
from finetune.reply_writer import write_replies
from retrieval.answered import Answered, answer_by_copying
from retrieval.encoder import Vectors
from retrieval.intent_classifier import IntentClassifier
from retrieval.lm_scores import NO_LM_SCORES
from retrieval.replies import asked
from retrieval.tickets import Ticket


def answer_with(
    classifier: IntentClassifier,
    tickets: Sequence[Ticket],
    vectors: Vectors,
    base: BaseModel,
    tuned: FineTuned,
    *,
    deadline: float,
    processes: Processes,
) -> Answered:
    """Answers m tickets, (m, d) their vectors, before a deadline (`time.monotonic()`); what comes too timed_out is copied."""
    model, writer = tuned.model, tuned.writer
    if model is None:
        return answer_by_copying(classifier, tickets, vectors)
    lm_scores, complete = NO_LM_SCORES, True
    if weight := tuned.lm_weight:
        lm_scores, complete = lm_scores_on(
            classifier, tickets, vectors, model, writer, weight=weight, deadline=deadline, processes=processes
        )
    timeouts = () if complete else ("the time budget ended the asking for intents: the rest are retrieval's",)
    found = replace(answer_by_copying(classifier, tickets, vectors, lm_scores=lm_scores), timeouts=timeouts)
    if not tuned.replies.passed:
        return found
    questions = [asked(retrieved) for retrieved in found.retrievals]
    written = write_replies(
        questions, model, base, writer, max_new_tokens=tuned.max_new_tokens, deadline=deadline, processes=processes
    )
    return replace(found, replies=written.replies, timeouts=(*timeouts, *written.timeouts))
