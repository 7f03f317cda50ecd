"""Which failures of a call pass, how long to wait for that, and which end all calls."""

import time
from email.utils import parsedate_to_datetime

import httpx2
from openai import APIConnectionError, APIStatusError, APITimeoutError

from finetune.remote.endpoint import Endpoint
from retrieval.tickets import quoted

WAITS_S = (1.0, 4.0, 16.0)  # before the second, third and fourth attempt, where the endpoint names no time
TIMEOUTS = 2  # attempts: each may have been billed, and takes a call's whole time
MAX_WAIT_S = 60.0  # an endpoint that asks for more is given up
BUSY = 429
PASSING = (408, 409, BUSY)  # and 500 and above
LAST = (401, 402, 403, 404, BUSY)  # a further call would end alike; 429 only after all attempts
NO_MONEY = "insufficient_quota"  # the code by which a 429 says that it will not pass
# What can be wrong before anything is sent, so that nothing can have been billed.
UNSENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.InvalidURL,
    httpx2.UnsupportedProtocol,
    httpx2.ProxyError,
    UnicodeError,
)
MESSAGE = 120  # characters of what an endpoint says

Failure = APIStatusError | APIConnectionError | TimeoutError


def wait_s(error: Failure, attempt: int) -> float | None:
    """Seconds until the next attempt after attempt number `attempt` from 0, None where there is none."""
    if attempt + 1 >= (TIMEOUTS if _timed_out(error) else len(WAITS_S) + 1):
        return None
    if isinstance(error, APIStatusError) and not _may_pass(error):
        return None
    named = _retry_after_s(error.response.headers.get("retry-after")) if isinstance(error, APIStatusError) else None
    wait = WAITS_S[attempt] if named is None else max(0.0, named)
    return wait if wait <= MAX_WAIT_S else None


def ends_all(error: Failure) -> bool:
    """Whether no further call can help, once there is no further attempt."""
    if isinstance(error, APIStatusError):
        return error.status_code in LAST or 300 <= error.status_code < 400
    return isinstance(error, APIConnectionError) and isinstance(error.__cause__, UNSENT)


def was_sent(error: Failure) -> bool:
    """Whether a call without an answer may have been billed."""
    return not isinstance(error, APIStatusError) and not isinstance(error.__cause__, UNSENT)


def said(error: Failure, endpoint: Endpoint) -> str:
    """What went wrong, a clause without the key."""
    if isinstance(error, APIStatusError):
        message = error.body.get("message") if isinstance(error.body, dict) else None
        text = message if isinstance(message, str) else error.response.text
        return f"{endpoint.host} says {error.status_code} {quoted(endpoint.without_key(text), limit=MESSAGE)}"
    reason = str(error.__cause__ or "") or "no answer in time"
    return f"{endpoint.host} does not answer ({quoted(endpoint.without_key(reason), limit=MESSAGE)})"


def _timed_out(error: Failure) -> bool:
    return isinstance(error, TimeoutError | APITimeoutError)


def _may_pass(error: APIStatusError) -> bool:
    return error.code != NO_MONEY and (error.status_code in PASSING or error.status_code >= 500)


def _retry_after_s(header: str | None) -> float | None:
    """Seconds or a date; None for anything else."""
    try:
        return float(header or "")
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(header or "").timestamp() - time.time()
    except ValueError:
        return None
