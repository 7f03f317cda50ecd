"""Replies that a remote model writes from the exemplars of a ticket, checked like those of a local base."""

from collections.abc import Sequence

from finetune.grounding import findings
from finetune.remote.client import Answer, RemoteClient
from finetune.remote.questions import read_reply, reply_question
from retrieval.prediction import Reply, copy_reply
from retrieval.retrieve import Retrieval


def write_remote_replies(
    client: RemoteClient, retrievals: Sequence[Retrieval], *, max_tokens: int, label: str, deadline: float
) -> dict[str, Reply]:
    """By ticket id a reply that passed the check, or the copy that takes the place of one that failed.

    A ticket without a usable answer is left out.

    Args:
        client: the model.
        retrievals: ids of the tickets unique.
        max_tokens: most tokens of an answer.
        label: for the progress bar.
        deadline: `time.monotonic()` at which the last call ends.
    """
    asked = [reply_question(found, max_tokens=max_tokens) for found in retrievals]
    answers = client.ask(asked, read_reply, label=label, deadline=deadline)
    return {found.ticket.id: _checked(found, answers[found.ticket.id]) for found in retrievals if found.ticket.id in answers}


def _checked(found: Retrieval, answer: Answer[str]) -> Reply:
    tokens = answer.usage.prompt + answer.usage.completion
    problems = findings(answer.value, [row.ideal_reply for row in found.exemplars], found.ticket.text)
    if problems:
        return Reply(copy_reply(found).text, "replaced", problems, answer.value, tokens, answer.seconds)
    return Reply(answer.value, "remote", (), "", tokens, answer.seconds)
