"""What can be checked in a text: numbers, amounts, durations, addresses, URLs, steps of a UI path, quoted names, placeholders.

Facts come in a normal form, so that `24h` and `24 hours` are one. A quantity is a number with the thing that it counts: two
different numbers of one thing are perhaps two answers to one question. Facts written as words are not seen.
"""

import re
from collections import defaultdict

LONGEST = 128  # characters without or of nothing but spaces; the patterns' time grows with the square of such a run
CURRENCIES = "$€£"
Fact = tuple[str, str]  # what kind, and what it says

# With or without a scheme: `login.northstar.example/reset` leads somewhere, too. File names look the same.
URL = re.compile(r"https?://[^\s<>()\"“”]+|(?:[\w-]+\.)+[a-z]{2,}\b(?:/[^\s<>()\"“”]*)?")
EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
NUMBER = re.compile(r"(?:[$€£]\s?)?\w*\d\w*(?:[.,:]\d+)*(?:\s?[%$€£])?")  # with what is glued to it: SOC2, v3, USD500
UNITS = {
    **dict.fromkeys(("s", "sec", "second"), "second"),
    **dict.fromkeys(("min", "minute"), "minute"),
    **dict.fromkeys(("h", "hr", "hour"), "hour"),
    **dict.fromkeys(("d", "day"), "day"),
    **dict.fromkeys(("w", "wk", "week"), "week"),
    **dict.fromkeys(("mo", "month"), "month"),
    "quarter": "quarter",
    **dict.fromkeys(("y", "yr", "year"), "year"),
}
DURATION = re.compile(rf"(?<![\w.,])(\d+(?:[.,]\d+)*)[\s-]?({'|'.join(UNITS)})s?\b", re.IGNORECASE)
LIST_MARKER = re.compile(r"^\s*\d+[.)]\s", re.MULTILINE)
# The word before an arrow and the label behind it: its first word and the capitalised ones that follow.
PATH_STEP = re.compile(r"(\w+)\W{0,2}\s*(?:→|->|›|»|>)(?=\s*\W{0,2}(\w+(?: [A-Z]\w*)*))")
QUOTED = re.compile(r"[\"“«`]([^\"“”«»`\n]{2,60})[\"”»`]|(?<!\w)['‘]([^'‘’\n]{2,60})['’](?!\w)")
PLACEHOLDER = re.compile(r"\{\{[^{}]*\}\}|\[[^\]\n]{2,60}\]|<[^<>\s][^<>\n]{0,60}>")
COUNTED = re.compile(rf"({NUMBER.pattern})\s+([a-z]+)", re.IGNORECASE)
LONG_RUN = re.compile(rf"(\S{{{LONGEST}}})\S+|(\s{{{LONGEST}}})\s+")


def facts(text: str) -> set[Fact]:
    """All that can be checked in a text."""
    return values(text) | names(text)


def countable_facts(text: str) -> set[Fact]:
    """The facts, a duration once: its number does not count besides."""
    return {fact for fact in facts(text) if fact[0] == "duration"} | facts(DURATION.sub(" ", _cut(text)))


def values(text: str) -> set[Fact]:
    """The facts that stand for themselves: all but names."""
    rest = LIST_MARKER.sub("\n", _cut(text))
    found = {("UI step", f"{match[1]} → {match[2]}".casefold()) for match in PATH_STEP.finditer(rest)}
    for kind, pattern in (("address", EMAIL), ("URL", URL)):
        found |= {(kind, _address(match)) for match in pattern.findall(rest)}
        rest = pattern.sub(" ", rest)
    found |= {("duration", f"{amount} {UNITS[unit.lower()]}") for amount, unit in DURATION.findall(rest)}
    amounts = DURATION.sub(r"\1 ", rest)  # `24h` and `24 hours` hold the number 24
    return found | {("number", _amount(match)) for match in NUMBER.findall(amounts)}


def names(text: str) -> set[Fact]:
    """Quoted names and placeholders."""
    cut = _cut(text)
    found = {("quoted name", plain(a or b).strip(".,;:!?")) for a, b in QUOTED.findall(cut)}
    return found | {("placeholder", plain(match)) for match in PLACEHOLDER.findall(cut)}


def quantities(text: str) -> dict[str, set[str]]:
    """The numbers of a text by what they count: a unit of time, a currency, or the word behind the number."""
    rest = EMAIL.sub(" ", URL.sub(" ", LIST_MARKER.sub("\n", _cut(text))))
    found: defaultdict[str, set[str]] = defaultdict(set)
    for amount, unit in DURATION.findall(rest):
        found[UNITS[unit.lower()]].add(amount)
    rest = DURATION.sub(" ", rest)
    for number in map(_amount, NUMBER.findall(rest)):
        if number[0] in CURRENCIES:
            found[number[0]].add(number)
    for amount, word in COUNTED.findall(rest):
        if (number := _amount(amount))[0] not in CURRENCIES:
            found[word.lower().removesuffix("s")].add(number)
    return found


def _cut(text: str) -> str:
    """The text with the beginning of every run that is too long: no fact is, but a key that somebody pasted."""
    return LONG_RUN.sub(r"\1\2", text)


def plain(text: str) -> str:
    """A text without regard to case and the number of spaces."""
    return " ".join(_cut(text).casefold().split())


def _address(text: str) -> str:
    """An address without scheme and without the punctuation of its sentence."""
    return re.sub(r"^https?://(www\.)?|^www\.", "", text.casefold()).rstrip(".,;:!?/")


def _amount(text: str) -> str:
    """A number in one form: no spaces, the currency in front."""
    joined = re.sub(r"\s", "", text.casefold())
    return joined[-1] + joined[:-1] if joined[-1] in CURRENCIES else joined
