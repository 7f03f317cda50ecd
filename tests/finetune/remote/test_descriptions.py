"""What a taxonomy says about the intents stands in every question, of the trial and of answering."""

from dataclasses import replace
from math import inf

import pytest

from finetune.remote.budget import Budget
from finetune.remote.client import RemoteClient
from finetune.remote.gates import remote_intents_untested, remote_replies_untested
from finetune.remote.prices import Price
from finetune.remote.remote_model import RemoteModel
from finetune.remote.trial import trial_on, try_intents, try_replies
from retrieval.intent_classifier import IntentClassifier, fit_classifier
from retrieval.taxonomy import Taxonomy
from retrieval.tickets import LabelledTicket, Ticket
from retrieval.train_set import embed_train_set
from tests.fakes import HashEncoder
from tests.finetune.remote.stub import Stub, asks_for_intents, endpoint, said, user_text
from tests.finetune.remote.test_remote_model import ROWS, NumberBlind

ABOUT = {row["intent"]: f"about {row['intent']}" for row in ROWS}


@pytest.fixture
def classifier() -> IntentClassifier:
    """Unsure of every row, with descriptions of all intents."""
    rows = [LabelledTicket(row["id"], row["ticket"], row["intent"], row["ideal_reply"]) for row in ROWS]
    taxonomy = Taxonomy(ABOUT, {name: name for name in ABOUT})
    train_set = replace(embed_train_set(rows, NumberBlind(), taxonomy), taxonomy=taxonomy)
    return fit_classifier(train_set, with_names=False)


def client_of(stub: Stub) -> RemoteClient:
    return RemoteClient(stub.endpoint(), Budget(10.0, Price(1.0, 1.0, known=True)), seed=0)


def assert_described(stub: Stub) -> None:
    assert {asks_for_intents(body) for body in stub.asked} == {True, False}
    assert all(user_text(body).startswith("Intents:\nmail.") for body in stub.asked)


def test_of_the_trial(classifier: IntentClassifier) -> None:
    with endpoint(lambda *_: said({"scores": [], "reply": "Open the menu."})) as stub:
        client, trial = client_of(stub), trial_on(classifier, seed=0)
        _, log_p = try_intents(trial, client, deadline=inf)
        try_replies(trial, client, HashEncoder(), log_p, deadline=inf)
    assert_described(stub)


def test_of_answering(classifier: IntentClassifier) -> None:
    with endpoint(lambda *_: said({"scores": [], "reply": "Open the menu."})) as stub:
        intents, replies = (replace(gate, passed=True) for gate in (remote_intents_untested("-"), remote_replies_untested("-")))
        model = RemoteModel(client_of(stub), classifier, intents, replies, 0, inf)
        found = model.retrieve([Ticket("v", "please help me 104")], NumberBlind().encode(["please help me 104"]), local=None)
        model.write_replies(found)
    assert_described(stub)
