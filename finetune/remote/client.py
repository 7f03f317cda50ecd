"""Asks a remote model: several calls at a time, each with a time-out, further attempts, and its cost reserved beforehand.

The standard `openai` client sends; its own retries are off, for they know neither budget nor deadline. What fails for good (a
wrong key, no money, an endpoint that stays busy) ends all calls, and so do `MAX_FAILURES` failures one after another; a single
one costs its own answer. Redirects are not followed: the texts go to the host that was named.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from openai import APIConnectionError, APIStatusError, AsyncOpenAI, DefaultAsyncHttpxClient, OpenAIError

from finetune.remote.budget import Budget
from finetune.remote.completion import Completion, read_completion
from finetune.remote.endpoint import Endpoint
from finetune.remote.prices import Usage
from finetune.remote.questions import BadAnswer, Question
from finetune.remote.retries import ends_all, said, wait_s, was_sent
from retrieval.console import bar

CONCURRENCY = 8  # calls at a time
CALL_TIMEOUT_S = 30.0  # for a whole answer
MAX_FAILURES = 3  # one after another, after which the model is given up

T = TypeVar("T")
pause = asyncio.sleep


class CallFailed(Exception):
    """A question that gets no answer; the message is a clause that says why."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final  # no further call can help


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """An answer that can be used."""

    value: T
    usage: Usage  # of the call that brought it
    seconds: float  # with all attempts


@dataclass(slots=True)
class RemoteClient:
    """A remote model, and what asking it has cost so far."""

    endpoint: Endpoint
    budget: Budget
    seed: int
    calls: int = 0  # that were sent
    sent: set[str] = field(default_factory=set)  # keys of the questions that were sent
    usage: Usage = field(
        default_factory=Usage
    )  # of all calls; those that were not answered count at the most they can have used
    failed: list[str] = field(default_factory=list)  # questions without an answer, a sentence each
    given_up: str = ""  # why no further call is made, a clause; empty while there is hope
    failures: int = 0  # one after another
    timed_out: bool = False  # whether the deadline ended the calls

    def ask(
        self, questions: Sequence[Question], read: Callable[[str], T], *, label: str, deadline: float
    ) -> dict[str, Answer[T]]:
        """By key the answers, in the order of the questions; a question without a usable answer is left out.

        Args:
            questions: with different keys.
            read: makes something of an answer's text, or raises `BadAnswer`.
            label: for the progress bar.
            deadline: `time.monotonic()` at which the last call ends.
        """
        if not questions or self.given_up:
            return {}
        return asyncio.run(self._ask_all(questions, read, label, deadline))

    async def _ask_all(
        self, questions: Sequence[Question], read: Callable[[str], T], label: str, deadline: float
    ) -> dict[str, Answer[T]]:
        try:
            client = self._client()
        except (ValueError, ImportError, OpenAIError) as error:  # a proxy in the environment that cannot be used
            self.given_up = f"the connection cannot be made ({self.endpoint.without_key(str(error))})"
            return {}
        async with client:
            calls = _Calls(self, client, deadline)
            tasks = [asyncio.create_task(calls.answer(question, read)) for question in questions]
            found = {}
            for question, task in bar([*zip(questions, tasks, strict=True)], label):
                answer = await task
                if isinstance(answer, CallFailed):
                    self.failed += [] if answer.final else [f"{question.key}: {answer}"]
                else:
                    found[question.key] = answer
        return found

    def _client(self) -> AsyncOpenAI:
        http = DefaultAsyncHttpxClient(follow_redirects=False)
        return AsyncOpenAI(api_key=self.endpoint.key, base_url=self.endpoint.url, max_retries=0, http_client=http)


@dataclass(frozen=True, slots=True)
class _Calls:
    """The calls that are under way together, in one event loop."""

    asking: RemoteClient
    client: AsyncOpenAI
    deadline: float  # `time.monotonic()`
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONCURRENCY))
    settled: asyncio.Condition = field(default_factory=asyncio.Condition)  # money was given back

    async def answer(self, question: Question, read: Callable[[str], T]) -> Answer[T] | CallFailed:
        """Asks one question; what a failure means for the other calls is decided here."""
        async with self.places:
            began = time.monotonic()
            try:
                completion = await self._with_retries(question)
                found = Answer(read(_usable(completion)), completion.usage, time.monotonic() - began)
            except BadAnswer as error:
                return self._failed(CallFailed(str(error)))
            except CallFailed as error:
                return self._failed(error)
            self.asking.failures = 0
            return found

    def _failed(self, error: CallFailed) -> CallFailed:
        asking = self.asking
        asking.failures += 1
        if error.final:
            asking.given_up = asking.given_up or str(error)
        elif asking.failures >= MAX_FAILURES:
            asking.given_up = asking.given_up or f"{asking.failures} answers one after another could not be used: {error}"
        return error

    async def _with_retries(self, question: Question) -> Completion:
        attempt = 0
        while True:
            try:
                return await self._attempt(question)
            except (APIStatusError, APIConnectionError, TimeoutError) as error:
                wait = wait_s(error, attempt)
                if wait is None or time.monotonic() + wait > self.deadline:
                    raise CallFailed(said(error, self.asking.endpoint), final=ends_all(error)) from error
                await pause(wait)
            except OpenAIError as error:
                raise CallFailed(self.asking.endpoint.without_key(str(error))) from error
            attempt += 1

    async def _attempt(self, question: Question) -> Completion:
        most = question.most()
        held = await self._reserve(most)
        used = most
        try:
            completion = await self._send(question, most)
            used = completion.usage
            return completion
        except (APIStatusError, APIConnectionError, TimeoutError) as error:
            used = most if was_sent(error) else Usage()
            raise
        finally:
            self.asking.usage += used
            async with self.settled:
                self.asking.budget.settle(held, used)
                self.settled.notify_all()

    async def _reserve(self, most: Usage) -> float:
        """Holds the money for a call and says how much; where it is held for others, waits for what they give back."""
        asking, budget = self.asking, self.asking.budget
        async with self.settled:
            await self.settled.wait_for(lambda: bool(asking.given_up) or budget.fits(budget.at_most(most)) or budget.idle)
            if asking.given_up:
                raise CallFailed(asking.given_up, final=True)
            if time.monotonic() >= self.deadline:
                asking.timed_out = True
                raise CallFailed("the time budget ended the calls", final=True)
            usd = budget.at_most(most)
            if not budget.fits(usd):
                spent = f"{budget.spent:.4f} of {budget.limit:g} USD are spent"
                raise CallFailed(f"{spent}, and the next call could cost {usd:.4f}", final=True)
            budget.reserve(usd)
            return usd

    async def _send(self, question: Question, most: Usage) -> Completion:
        self.asking.calls += 1
        self.asking.sent.add(question.key)
        async with asyncio.timeout(min(CALL_TIMEOUT_S, self.deadline - time.monotonic())):
            answer = await self.client.chat.completions.with_raw_response.create(**self._request(question))
        return read_completion(answer.text, most)

    def _request(self, question: Question) -> dict[str, Any]:
        roles = {"system": question.system, "user": question.user}
        request = {
            "model": self.asking.endpoint.model,
            "messages": [{"role": role, "content": text} for role, text in roles.items() if text],
            "temperature": 0,
            "seed": self.asking.seed,
            "max_completion_tokens": question.max_tokens,
        }
        if question.schema is None:
            return request
        form = {"name": "answer", "strict": True, "schema": question.schema}
        return request | {"response_format": {"type": "json_schema", "json_schema": form}}


def _usable(completion: Completion) -> str:
    if completion.problem:
        raise BadAnswer(completion.problem)
    return completion.text
