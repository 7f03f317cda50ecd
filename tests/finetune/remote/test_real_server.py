"""A real server of the protocol, `transformers serve`, with a tiny random model: about fifteen seconds."""

from math import inf
from pathlib import Path

import pytest

from finetune.remote.budget import Budget
from finetune.remote.client import RemoteClient
from finetune.remote.endpoint import Endpoint
from finetune.remote.prices import price_of
from finetune.remote.questions import Question, read_reply
from tests.fakes import save_base
from tests.real_server import transformers_serve


@pytest.mark.real
def test_plain_chat_is_understood_and_a_server_that_knows_no_forms_is_given_up(tmp_path: Path) -> None:
    model = str(save_base(tmp_path))
    with transformers_serve(model) as url:
        client = RemoteClient(Endpoint(model, url, "any"), Budget(1.0, price_of(model)), seed=0)
        chat = [Question(f"q{i}", "Be brief.", f"Hello {i}", 200) for i in range(2)]
        found = client.ask(chat, str, label="chat", deadline=inf)
        reported = client.usage
        formed = [Question(f"f{i}", "", "Hello", 16, {"type": "object", "properties": {}}) for i in range(3)]
        assert client.ask(formed, read_reply, label="forms", deadline=inf) == {}
    problems = " ".join(client.failed)
    assert len(found) + problems.count("the answer was cut") >= 2, "a random model may never end; the protocol is understood"
    assert 2 * 10 < reported.prompt < 2 * 200, "counted by the server, not estimated"
    assert 0 < client.budget.spent < 1.0
    assert client.given_up.startswith("3 answers one after another could not be used")
