"""Replies that a remote model writes from the exemplars of a ticket, checked like those of a local base."""

from collections.abc import Mapping, Sequence

from finetune.grounding import checked
from finetune.remote.client import Answer, RemoteClient
from finetune.remote.questions import read_reply, reply_question
from retrieval.prediction import Reply
from retrieval.prompt_text import NO_DESCRIPTIONS
from retrieval.retrieve import Retrieval


def write_remote_replies(
    client: RemoteClient,
    retrievals: Sequence[Retrieval],
    *,
    max_tokens: int,
    label: str,
    deadline: float,
    descriptions: Mapping[str, str] = NO_DESCRIPTIONS,
) -> dict[str, Reply]:
    """By ticket id a reply that passed the check, or the copy that takes the place of one that failed.

    A ticket without a usable answer is left out, and so is one whose intent no row has: the trial is not about such tickets.

    Args:
        client: the model.
        retrievals: ids of the tickets unique.
        max_tokens: most tokens of an answer.
        label: for the progress bar.
        deadline: `time.monotonic()` at which the last call ends.
        descriptions: what intents are about, by name.
    """
    with_rows = [found for found in retrievals if found.intent_has_rows]
    asked = [reply_question(found, max_tokens=max_tokens, descriptions=descriptions) for found in with_rows]
    answers = client.ask(asked, read_reply, label=label, deadline=deadline)
    return {found.ticket.id: _checked(found, answers[found.ticket.id]) for found in retrievals if found.ticket.id in answers}


def _checked(found: Retrieval, answer: Answer[str]) -> Reply:
    tokens = answer.usage.prompt + answer.usage.completion
    return checked(Reply(answer.value, "remote", tokens=tokens, seconds=answer.seconds), found, found.exemplars)
