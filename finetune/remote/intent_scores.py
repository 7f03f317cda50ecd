"""A remote model's scores of the intents of rows near a ticket; an `LmScorer` of `retrieval.retrieve`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from finetune.remote.client import RemoteClient
from finetune.remote.questions import candidate_scores, intent_question, read_percentages
from retrieval.retrieve import IntentQuestion

NEAR_ROWS = 6  # rows near a ticket whose intents are scored
# Tickets to which the classifier gives a lower confidence are scored. Higher than for a local base, whose scores cost the surer
# tickets cross-entropy: a capable model may see an error there, and the gate measures whether this one does.
SURE = 0.95
# Beside the classifier's log-probabilities. Half: percentages that a model writes down are surer than they are right (Xiong et
# al. 2024, arXiv 2306.13063). Not measured on public sets as the weights of local bases are: no remote model could be reached.
WEIGHT = 0.5


@dataclass(slots=True)
class RemoteScorer:
    """Asks the model about the tickets of which the classifier is not sure."""

    client: RemoteClient
    intents: Sequence[str]  # of the train set
    deadline: float  # `time.monotonic()` at which the last call ends
    label: str  # for the progress bar
    descriptions: Mapping[str, str] = field(default_factory=dict)  # what intents are about, by name
    weight: float = WEIGHT
    candidates: int = NEAR_ROWS
    below: float = SURE
    unanswered: set[str] = field(default_factory=set)  # ids of the tickets that were to be scored and have no scores

    def score(self, questions: Sequence[IntentQuestion]) -> dict[str, Mapping[str, float]]:
        """By ticket id the scores of its rows' intents, nats; a ticket without a usable answer is left out."""
        asked = [intent_question(question, self.intents, self.descriptions) for question in questions]
        read = partial(read_percentages, intents=frozenset(self.intents))
        answers = self.client.ask(asked, read, label=self.label, deadline=self.deadline)
        self.unanswered |= {question.ticket.id for question in questions} - answers.keys()
        return {
            question.ticket.id: candidate_scores(answers[question.ticket.id].value, question)
            for question in questions
            if question.ticket.id in answers
        }
