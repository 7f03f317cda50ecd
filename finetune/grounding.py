"""Is every fact of a reply supported by what the model was shown?

A fact here is what can be checked by looking: numbers, amounts, durations, e-mail addresses, URLs, steps of a UI path,
quoted names, placeholders. Each must stand in a source (a stored reply of the prompt, or the ticket). Besides, a reply must
not be empty, must have ended by itself, must not repeat itself and must not spell out the prompt's form. A reply that
fails is replaced by a stored one, so a false alarm costs little and a miss costs a customer's trust: the rules are strict.

Meaning is not checked: "you can" where the source says "you cannot" passes, and so do facts written as words.
"""

import re
from collections import Counter
from collections.abc import Sequence

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
PLACEHOLDER = re.compile(r"\{\{[^}]*\}\}|\[[^\]\n]{2,60}\]|<[^<>\s][^<>\n]{0,60}>")
PROMPT_FORM = re.compile(r"^\s*(?:intent|reply|ticket|stored replies):", re.IGNORECASE | re.MULTILINE)
NGRAM = 4  # words


def findings(reply: str, sources: Sequence[str], *, ended: bool = True) -> tuple[str, ...]:
    """What is wrong with a reply, a phrase each; nothing is found in a good one.

    Args:
        reply: the draft.
        sources: the texts that may support it.
        ended: whether the model ended its turn, or was cut.
    """
    if not reply.strip():
        return ("it is empty",)
    found = [] if ended else ["it never ended"]
    if PROMPT_FORM.search(reply):
        found.append("it spells out the prompt's form")
    known = set().union(*(_facts(source) for source in sources))
    unknown = [(kind, value) for kind, value in sorted(_facts(reply) - known)]
    found += [f"{kind} {value} stands in no source" for kind, value in (*unknown, *_unknown_names(reply, sources))]
    repeated = _repeated_ngrams(reply) - set().union(*(_repeated_ngrams(source) for source in sources))
    return (*found, *(f'it repeats "{" ".join(words)}"' for words in sorted(repeated)[:1]))


def _facts(text: str) -> set[tuple[str, str]]:
    """Checkable facts in a normal form: what kind, and what it says."""
    rest = LIST_MARKER.sub("\n", text)
    facts = {("UI step", f"{match[1]} → {match[2]}".casefold()) for match in PATH_STEP.finditer(rest)}
    for kind, pattern in (("address", EMAIL), ("URL", URL)):
        facts |= {(kind, _address(match)) for match in pattern.findall(rest)}
        rest = pattern.sub(" ", rest)
    facts |= {("duration", f"{amount} {UNITS[unit.lower()]}") for amount, unit in DURATION.findall(rest)}
    amounts = DURATION.sub(r"\1 ", rest)  # `24h` and `24 hours` hold the number 24
    return facts | {("number", _amount(match)) for match in NUMBER.findall(amounts)}


def _address(text: str) -> str:
    """An address without scheme and without the punctuation of its sentence."""
    return re.sub(r"^https?://(www\.)?|^www\.", "", text.casefold()).rstrip(".,;:!?/")


def _amount(text: str) -> str:
    """A number in one form: no spaces, the currency in front."""
    joined = re.sub(r"\s", "", text.casefold())
    return joined[-1] + joined[:-1] if joined[-1] in "$€£" else joined


def _unknown_names(reply: str, sources: Sequence[str]) -> list[tuple[str, str]]:
    """Quoted names and placeholders of a reply that stand in no source, quoted there or not."""
    names = {("quoted name", _plain(a or b).strip(".,;:!?")) for a, b in QUOTED.findall(reply)}
    names |= {("placeholder", _plain(match)) for match in PLACEHOLDER.findall(reply)}
    known = [_plain(source) for source in sources]
    return [(kind, value) for kind, value in sorted(names) if not any(value in source for source in known)]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _repeated_ngrams(text: str) -> set[tuple[str, ...]]:
    """Runs of four words that occur more than once."""
    words = re.findall(r"\w+", text.lower())
    runs = Counter(tuple(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1))
    return {run for run, count in runs.items() if count > 1}
