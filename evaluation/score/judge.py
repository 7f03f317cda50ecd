"""A language model as judge: a grade from 0 to 1 for each reply, from any endpoint that speaks OpenAI's chat protocol.

One fixed rubric, temperature 0, one reply a call. Money is counted from the tokens that the endpoint reports and the prices
that the user names. Before a call its cost is estimated from above (a token for every byte, or the costliest call so far), and
a call that could exceed the budget is not made; one that was sent and not answered counts at its estimate, for it may have been
billed. What was graded before money or endpoint gave out is kept. Compare such grades between runs only.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import httpx2

from evaluation.score.grading import RowScore
from retrieval.tickets import quoted

RUBRIC = """You grade a support reply against an ideal reply. Reply with one number from 0 to 1 and nothing else.
1: says the same facts and instructions, in any words. 0.5: helpful, but a fact that the ideal reply gives is missing.
0: does not answer, or states something that contradicts the ideal reply. Use numbers in between where they fit."""
GRADE_TOKENS = 16
TEMPLATE_TOKENS = 64  # what an endpoint may put around the messages
TIMEOUT_S = 60.0
# Errors before anything was sent: nothing can have been billed, and a further call would end alike.
UNSENT = (httpx2.ConnectError, httpx2.InvalidURL, httpx2.UnsupportedProtocol, UnicodeError)
FINAL_STATUS = (401, 402, 403, 404)
MAX_FAILURES = 3  # in a row, after which the endpoint is given up
# The whole message, or "1/10" and "on a scale from 0 to 1" would be grades.
GRADE = re.compile(r"[\s*\"'`]*(?:grade\s*[:=]?)?[\s*\"'`]*(0(?:\.\d+)?|1(?:\.0+)?|\.\d+)[\s*\"'`.]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A judge, and the US dollars per million prompt and completion tokens that it costs."""

    url: str  # as OPENAI_BASE_URL
    model: str
    key: str = ""
    prices: tuple[float, float] = (0.0, 0.0)

    def cost(self, tokens: tuple[int, int]) -> float:
        """What so many prompt and completion tokens cost, in dollars."""
        return (tokens[0] * self.prices[0] + tokens[1] * self.prices[1]) / 1e6


@dataclass(frozen=True, slots=True)
class Grades:
    """What a judge said."""

    grades: dict[str, float]  # 0 to 1 by row id
    prompt_tokens: int
    completion_tokens: int
    usd: float
    notes: tuple[str, ...]  # a sentence for everything that kept a row from being graded


@dataclass(frozen=True, slots=True)
class Call:
    """One call: a grade, or the reason why there is none, and the prompt and completion tokens that it used."""

    row_id: str
    grade: float | None = None
    problem: str = ""
    final: bool = False  # no further call can help
    tokens: tuple[int, int] = (0, 0)


def judge(rows: Sequence[RowScore], endpoint: Endpoint, *, budget_usd: float) -> Grades:
    """Grades replies in their order until all are graded, the budget is spent or the endpoint gives out."""
    calls: list[Call] = []
    try:
        headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
        with httpx2.Client(timeout=TIMEOUT_S, headers=headers) as client:
            calls.extend(_calls(client, rows, endpoint, budget_usd))
    except (ValueError, ImportError) as error:  # a proxy in the environment that cannot be used
        calls.append(Call("no row was judged", problem=f"the connection cannot be made ({error})"))
    except KeyboardInterrupt:  # `extend` has kept what came before
        calls.append(Call("the judge", problem="was stopped"))
    tokens = sum(call.tokens[0] for call in calls), sum(call.tokens[1] for call in calls)
    grades = {call.row_id: call.grade for call in calls if call.grade is not None}
    notes = tuple(f"{call.row_id}: {call.problem}" for call in calls if call.problem)
    return Grades(grades, *tokens, endpoint.cost(tokens), notes)


def _calls(client: httpx2.Client, rows: Sequence[RowScore], endpoint: Endpoint, budget_usd: float) -> Iterator[Call]:
    spent, costliest, failures = 0.0, 0.0, 0
    for row in rows:
        if spent + max(costliest, endpoint.cost(_max_tokens(row))) > budget_usd:
            yield Call(row.id, problem=f"not asked: {spent:.4f} USD are spent, and it could exceed {budget_usd:g} USD")
            return
        call = _call(client, row, endpoint)
        yield call
        cost = endpoint.cost(call.tokens)
        spent, costliest = spent + cost, max(costliest, cost)
        failures = failures + 1 if call.grade is None else 0
        if call.final or failures == MAX_FAILURES:
            return


def _call(client: httpx2.Client, row: RowScore, endpoint: Endpoint) -> Call:
    messages = [{"role": "system", "content": RUBRIC}, {"role": "user", "content": _text(row)}]
    request = {"model": endpoint.model, "messages": messages, "temperature": 0, "max_tokens": GRADE_TOKENS}
    try:
        response = client.post(f"{endpoint.url.rstrip('/')}/chat/completions", json=request)
    except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
        unsent = isinstance(error, UNSENT)
        problem = f"{endpoint.url} does not answer ({str(error) or type(error).__name__})"
        return Call(row.id, problem=problem, final=unsent, tokens=(0, 0) if unsent else _max_tokens(row))
    if response.status_code != httpx2.codes.OK:
        problem = f"{endpoint.url} says {response.status_code} {_said(response.text, endpoint)}"
        return Call(row.id, problem=problem, final=response.status_code in FINAL_STATUS)
    return _read(row, response, endpoint)


def _said(text: str, endpoint: Endpoint) -> str:
    """What an endpoint said, for a message: without the key that it may have said back."""
    return quoted(text.replace(endpoint.key, "[key]") if endpoint.key else text)


def _read(row: RowScore, response: httpx2.Response, endpoint: Endpoint) -> Call:
    try:
        found = response.json()
        text = str(found["choices"][0]["message"]["content"])
    except (ValueError, LookupError, TypeError, RecursionError):
        problem = f"found {_said(response.text, endpoint)}, expected a chat completion"
        return Call(row.id, problem=problem, tokens=_max_tokens(row))
    tokens = _reported_tokens(found.get("usage")) or _max_tokens(row)
    if grade := GRADE.fullmatch(text):
        return Call(row.id, float(grade[1]), tokens=tokens)
    return Call(row.id, problem=f"found {_said(text, endpoint)}, expected a number from 0 to 1", tokens=tokens)


def _reported_tokens(usage: object) -> tuple[int, int] | None:
    """The tokens that an endpoint reports, None where it reports nothing that can be true."""
    found = usage if isinstance(usage, dict) else {}
    prompt, completion = found.get("prompt_tokens"), found.get("completion_tokens")
    if not isinstance(prompt, int) or not isinstance(completion, int) or prompt <= 0 or completion < 0:
        return None
    return prompt, completion


def _text(row: RowScore) -> str:
    """What the judge reads after the rubric."""
    ticket = f"Ticket:\n{row.ticket}\n\n" if row.ticket else ""
    return f"{ticket}Ideal reply:\n{row.ideal_reply}\n\nReply to grade:\n{row.reply}\n\nGrade:"


def _max_tokens(row: RowScore) -> tuple[int, int]:
    """Prompt and completion tokens that a call takes at most."""
    return len((RUBRIC + _text(row)).encode()) + TEMPLATE_TOKENS, GRADE_TOKENS
