"""Replies of a remote model: which tickets it is asked about."""

from dataclasses import replace
from math import inf

from finetune.remote.budget import Budget
from finetune.remote.client import RemoteClient
from finetune.remote.prices import Price
from finetune.remote.replies import write_remote_replies
from retrieval.retrieve import retrieve
from retrieval.tickets import Ticket
from tests.fakes import ROWS, HashEncoder
from tests.finetune.helpers import classifier_for
from tests.finetune.remote.stub import endpoint, said, user_text

TICKETS = [Ticket("v", "one more seat"), Ticket("w", "rotate my token")]


def test_a_ticket_whose_intent_has_no_row_is_not_sent_and_the_others_come_with_descriptions() -> None:
    seat, token = retrieve(classifier_for(ROWS), TICKETS, HashEncoder().encode([ticket.text for ticket in TICKETS]))
    with endpoint(lambda *_: said({"reply": seat.exemplars[0].ideal_reply})) as stub:
        client = RemoteClient(stub.endpoint(), Budget(1.0, Price(1.0, 1.0, known=True)), seed=0)
        written = write_remote_replies(
            client,
            [seat, replace(token, intent_has_rows=False)],
            max_tokens=50,
            label="ask",
            deadline=inf,
            descriptions={seat.intent: "Seats and guests."},
        )
    assert {key: reply.source for key, reply in written.items()} == {"v": "remote"}
    (body,) = stub.asked
    assert user_text(body).startswith(f"Intents:\n{seat.intent}: Seats and guests.\n\nStored replies:")
