"""An endpoint of OpenAI's chat protocol on loopback, whose answers a function makes; it keeps what it was asked."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from finetune.remote.endpoint import KEY_VARIABLE, URL_VARIABLE, Endpoint

KEY = "secret-key"


@dataclass(frozen=True)
class Said:
    """A response of the endpoint."""

    status: int = 200
    body: Any = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Stub:
    """The endpoint, and what it was asked: the JSON bodies in the order in which they came, with path and key."""

    url: str
    asked: list[dict[str, Any]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)  # set when the test is over

    def endpoint(self, model: str = "gpt-4.1-mini") -> Endpoint:
        return Endpoint(model, self.url, KEY)


Responder = Callable[[int, dict[str, Any]], Said]  # the number of the request from 1, and its body


def said(content: Any, *, prompt: int = 1000, completion: int = 100, **choice: Any) -> Said:
    """A completion; anything but a string is written as JSON."""
    text = content if isinstance(content, str) or content is None else json.dumps(content)
    answer = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"} | choice
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return Said(200, {"id": "1", "object": "chat.completion", "model": "m", "choices": [answer], "usage": usage})


def refused(status: int, message: str = "no", **headers: str) -> Said:
    return Said(status, {"error": {"message": message, "code": message}}, headers)


def fails_first(times: int, failure: Said, then: Responder) -> Responder:
    """A responder that fails so many times and works afterwards."""
    return lambda number, body: failure if number <= times else then(number, body)


class Server(ThreadingHTTPServer):
    request_queue_size = 64  # with 5, a connection too many waits for a second


@contextmanager
def endpoint(respond: Responder) -> Iterator[Stub]:
    found = Stub("")
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                found.asked.append(body | {"path": self.path, "authorization": self.headers["Authorization"]})
                number = len(found.asked)
            answer = respond(number, body)
            data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            try:
                self.send_response(answer.status)
                for name, value in ({"Content-Type": "application/json"} | answer.headers).items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except OSError:  # the client has gone
                pass

        def log_message(self, *_: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield found
    finally:
        found.ended.set()
        server.shutdown()
        server.server_close()


def use(monkeypatch: pytest.MonkeyPatch, stub: Stub) -> None:
    """The environment names this endpoint."""
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.setenv(URL_VARIABLE, stub.url)


def user_text(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


def ticket_of(body: dict[str, Any]) -> str:
    """The ticket that a request is about."""
    text = user_text(body)
    for mark in ("\n\nNew ticket:\n", "\n\nTicket:\n"):
        if mark in text:
            return text.rpartition(mark)[2].partition("\n\nIts intent:")[0]
    return text


def asks_for_intents(body: dict[str, Any]) -> bool:
    return "scores" in body["response_format"]["json_schema"]["schema"]["properties"]


def sure_of(intent: str) -> Said:
    return said({"scores": [{"intent": intent, "percent": 100}]})
