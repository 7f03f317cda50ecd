"""A language model as judge: a grade from 0 to 1 for each reply, from any endpoint that speaks OpenAI's chat protocol.

One fixed rubric, temperature 0, one reply a call. Money is counted from the tokens that the endpoint reports and the prices
that the user names. Before a call its cost is estimated from above (a token for every byte, or the dearest call so far), and a
call that could pass the budget is not made. A call that was sent and not answered is counted at that estimate: it may have been
billed. What was judged before money, endpoint or patience gave out is kept.

What it does not know: whether the judge is right; its grades are exemplar_score comparing between runs, not in themselves.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import httpx2

from evaluation.labels import Label
from retrieval.tickets import shown

RUBRIC = """You grade a support reply against an ideal reply. Reply with one number from 0 to 1 and nothing else.
1: says the same facts and instructions, in any words. 0.5: helpful, but a fact that the ideal reply gives is missing.
0: does not answer, or states something that contradicts the ideal reply. Use numbers in between where they fit."""
ANSWER_TOKENS = 16
TEMPLATE_TOKENS = 64  # what an endpoint may put around the messages
TIMEOUT_S = 60.0
# Errors before anything was sent: nothing can have been billed, and a further call would end alike.
UNSENT = (httpx2.ConnectError, httpx2.InvalidURL, httpx2.UnsupportedProtocol, UnicodeError)
MOST_FAILURES = 3  # in a row, after which the endpoint is given up
# The whole answer, or "1/10" and "on a scale from 0 to 1" would be grades.
GRADE = re.compile(r"[\s*\"'`]*(?:grade\s*[:=]?)?[\s*\"'`]*(0(?:\.\d+)?|1(?:\.0+)?|\.\d+)[\s*\"'`.]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars per million tokens."""

    prompt: float
    completion: float

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """What so many tokens cost, in dollars."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


@dataclass(frozen=True, slots=True)
class Case:
    """A reply to be graded."""

    label: Label
    reply: str

    def words(self) -> str:
        """What the judge reads after the rubric."""
        asked = f"Ticket:\n{self.label.ticket}\n\n" if self.label.ticket else ""
        return f"{asked}Ideal reply:\n{self.label.ideal_reply}\n\nReply to grade:\n{self.reply}\n\nGrade:"


@dataclass(frozen=True, slots=True)
class Judged:
    """What a judge said.

    Attributes:
        grades: 0 to 1 by row id.
        prompt_tokens: used in all.
        completion_tokens: used in all.
        usd: what they cost at the named prices.
        notes: a sentence for everything that kept a row from being judged.
    """

    grades: dict[str, float]
    prompt_tokens: int
    completion_tokens: int
    usd: float
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """One answer of the endpoint: a grade, or the reason why there is none, and what it cost."""

    row_id: str
    grade: float | None = None
    problem: str = ""
    final: bool = False  # no further call can help
    prompt_tokens: int = 0
    completion_tokens: int = 0


def judge(cases: Sequence[Case], *, model: str, url: str, key: str, prices: Prices, budget_usd: float) -> Judged:
    """Grades replies in their order until all are graded, the budget is spent or the endpoint gives out.

    Args:
        cases: ids unique.
        model: its name at the endpoint.
        url: of the endpoint, as OPENAI_BASE_URL.
        key: for it, may be empty.
        prices: of its tokens.
        budget_usd: not to be passed.
    """
    said: list[Said] = []
    try:
        with httpx2.Client(timeout=TIMEOUT_S, headers={"Authorization": f"Bearer {key}"} if key else {}) as client:
            said.extend(_calls(client, cases, model=model, url=url, prices=prices, budget_usd=budget_usd))
    except (ValueError, ImportError) as error:  # a proxy in the environment that cannot be used
        said.append(Said("no row was judged", problem=f"the connection cannot be made ({error})"))
    except KeyboardInterrupt:  # `extend` has kept what came before
        said.append(Said("the judge", problem="was stopped"))
    prompt, completion = sum(one.prompt_tokens for one in said), sum(one.completion_tokens for one in said)
    return Judged(
        grades={one.row_id: one.grade for one in said if one.grade is not None},
        prompt_tokens=prompt,
        completion_tokens=completion,
        usd=prices.of(prompt, completion),
        notes=tuple(f"{one.row_id}: {one.problem}" for one in said if one.problem),
    )


def _calls(
    client: httpx2.Client, cases: Sequence[Case], *, model: str, url: str, prices: Prices, budget_usd: float
) -> Iterator[Said]:
    spent, dearest, failures = 0.0, 0.0, 0
    for case in cases:
        estimate = max(dearest, prices.of(*_at_most(case)))
        if spent + estimate > budget_usd:
            yield Said(case.label.id, problem=f"not asked: {spent:.4f} USD are spent, and it could pass {budget_usd:g} USD")
            return
        one = _call(client, case, model=model, url=url)
        yield one
        cost = prices.of(one.prompt_tokens, one.completion_tokens)
        spent, dearest = spent + cost, max(dearest, cost)
        failures = failures + 1 if one.grade is None else 0
        if one.final or failures == MOST_FAILURES:
            return


def _call(client: httpx2.Client, case: Case, *, model: str, url: str) -> Said:
    messages = [{"role": "system", "content": RUBRIC}, {"role": "user", "content": case.words()}]
    asked = {"model": model, "messages": messages, "temperature": 0, "max_tokens": ANSWER_TOKENS}
    try:
        answer = client.post(f"{url.rstrip('/')}/chat/completions", json=asked)
    except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
        unsent = isinstance(error, UNSENT)
        problem = f"{url} does not answer ({str(error) or type(error).__name__})"
        return Said(case.label.id, None, problem, unsent, *((0, 0) if unsent else _at_most(case)))
    if answer.status_code != httpx2.codes.OK:
        final = answer.status_code in (401, 402, 403, 404)
        return Said(case.label.id, problem=f"{url} says {answer.status_code} {shown(answer.text)}", final=final)
    return _read(case, answer)


def _read(case: Case, answer: httpx2.Response) -> Said:
    try:
        found = answer.json()
        text = str(found["choices"][0]["message"]["content"])
    except (ValueError, LookupError, TypeError, RecursionError):
        problem = f"found {shown(answer.text)}, expected a chat completion"
        return Said(case.label.id, None, problem, False, *_at_most(case))
    tokens = _counted(found.get("usage")) or _at_most(case)
    grade = GRADE.fullmatch(text)
    problem = "" if grade else f"found {shown(text)}, expected a number from 0 to 1"
    return Said(case.label.id, float(grade[1]) if grade else None, problem, False, *tokens)


def _counted(usage: object) -> tuple[int, int] | None:
    """The tokens that an endpoint reports, None where it reports nothing that can be true."""
    if not isinstance(usage, dict):
        return None
    prompt, completion = (usage.get(name) for name in ("prompt_tokens", "completion_tokens"))
    if not isinstance(prompt, int) or not isinstance(completion, int) or prompt <= 0 or completion < 0:
        return None
    return prompt, completion


def _at_most(case: Case) -> tuple[int, int]:
    """Prompt and completion tokens that a call takes at most."""
    return len((RUBRIC + case.words()).encode()) + TEMPLATE_TOKENS, ANSWER_TOKENS
