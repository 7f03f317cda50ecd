"""Where a remote model is and by which key, from the environment; checked before anything is loaded. Imports nothing heavy."""

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

NONE = "none"  # the value of --remote-model by which nothing leaves this machine
DEFAULT_URL = "https://api.openai.com/v1"
KEY_VARIABLE, URL_VARIABLE = "OPENAI_API_KEY", "OPENAI_BASE_URL"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model that speaks OpenAI's chat protocol."""

    model: str
    url: str  # http or https, to which "/chat/completions" is added
    key: str = field(repr=False)  # never printed

    @property
    def host(self) -> str:
        """Who gets the texts: host and port."""
        return urlsplit(self.url).netloc

    def without_key(self, text: str) -> str:
        """What an endpoint said, without the key that it may have said back."""
        return text.replace(self.key, "[key]")


def endpoint_of(model: str) -> Endpoint:
    """The endpoint that the environment names, for a value of --remote-model without problems."""
    return Endpoint(model, _variable(URL_VARIABLE) or DEFAULT_URL, _variable(KEY_VARIABLE))


def remote_problems(model: str) -> list[str]:
    """What is wrong with the value of --remote-model and with what it needs from the environment, a sentence each."""
    if model == NONE:
        return []
    found = [] if model.strip() else ["--remote-model: found an empty name, expected that of a model, or none"]
    if processes := _processes():
        found.append(
            f"--remote-model {model}: found {processes} processes, expected one, or every call would be paid for twice"
        )
    return [*found, *_key_problems(), *_url_problems()]


def _key_problems() -> list[str]:
    key, cure = _variable(KEY_VARIABLE), "set it, or leave --remote-model out"
    if not key:
        return [f"{KEY_VARIABLE}: found nothing in the environment, expected the key for --remote-model: {cure}"]
    good = all("!" <= character <= "~" for character in key)
    return [] if good else [f"{KEY_VARIABLE}: found characters that no key has, expected letters, digits and signs: {cure}"]


def _url_problems() -> list[str]:
    url = _variable(URL_VARIABLE) or DEFAULT_URL
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:  # a port that is no number, a bracket that is not closed
        good = False
    good = good and all("!" <= character <= "~" for character in url) and not (parts.query or parts.fragment)
    return [] if good else [f"{URL_VARIABLE}: found {_shown(url)!a}, expected an address such as {DEFAULT_URL}"]


def _shown(url: str) -> str:
    """A URL without what may be a password."""
    before, at, after = url.rpartition("@")
    return f"{before.partition('://')[0]}://…@{after}" if at else url


def _processes() -> str:
    """How many processes a launcher started, empty for one."""
    count = os.environ.get("WORLD_SIZE", "1")
    return "" if count == "1" else count


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip()
