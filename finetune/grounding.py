"""Is every fact of a reply supported by what the model was shown?

A fact here is what can be checked by looking: numbers, amounts, durations, e-mail addresses, URLs, steps of a UI path,
quoted names, placeholders. Each must stand in a source (a stored reply of the prompt, or the ticket). Besides, a reply must
not be empty, must have ended by itself, must not go round in circles and must not spell out the prompt's form. A reply that
fails is replaced by a stored one, so a false alarm costs little and a miss costs a customer's trust: the rules are strict.

What it does not know: meaning. "You can" where the source says "you cannot" passes, and so do facts written as words.
"""

import re
from collections import Counter
from collections.abc import Sequence

URL = re.compile(r"(?:https?://|www\.)[^\s<>()\"“”]+", re.IGNORECASE)
EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
NUMBER = re.compile(r"(?<![\w.,])[$€£]?\s?\d+(?:[.,:]\d+)*\s?%?")
DURATION = re.compile(r"(\d+(?:[.,]\d+)*)[\s-]?(second|minute|hour|day|week|month|quarter|year)s?\b", re.IGNORECASE)
LIST_MARKER = re.compile(r"^\s*\d+[.)]\s", re.MULTILINE)
PATH_STEP = re.compile(r"(\w+)\W{0,2}\s*(?:→|->|›|»|>)(?=\s*\W{0,2}(\w+))")
QUOTED = re.compile(r"[\"“«`]([^\"“”«»`\n]{2,60})[\"”»`]")
PLACEHOLDER = re.compile(r"\{\{[^}]*\}\}|\[[^\]\n]{2,60}\]|<[^<>\s][^<>\n]{0,60}>")
PROMPT_FORM = re.compile(r"^\s*(?:intent|reply|ticket|stored replies):", re.IGNORECASE | re.MULTILINE)
CIRCLE = 4  # words


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
    found += [f"{kind} {value} stands in no source" for kind, value in sorted(_facts(reply) - known)]
    circle = _circles(reply) - set().union(*(_circles(source) for source in sources))
    return (*found, *(f'it repeats "{" ".join(words)}"' for words in sorted(circle)[:1]))


def _facts(text: str) -> set[tuple[str, str]]:
    """Checkable facts in a normal form: what kind, and what it says."""
    rest = LIST_MARKER.sub("\n", text)
    facts = {("placeholder", _plain(match)) for match in PLACEHOLDER.findall(rest)}
    facts |= {("quoted name", _plain(match).strip(".,;:!?")) for match in QUOTED.findall(rest)}
    facts |= {("UI step", f"{a} → {b}".casefold()) for a, b in _steps(rest)}
    for kind, pattern in (("URL", URL), ("address", EMAIL)):
        facts |= {(kind, match.rstrip(".,;:!?").casefold()) for match in pattern.findall(rest)}
        rest = pattern.sub(" ", rest)
    facts |= {("duration", f"{amount} {unit.lower()}") for amount, unit in DURATION.findall(rest)}
    return facts | {("number", re.sub(r"\s", "", match)) for match in NUMBER.findall(rest)}


def _steps(text: str) -> list[tuple[str, str]]:
    """The words on both sides of every arrow: `Settings → Members → Guests` has two steps."""
    return [(match[1], match[2]) for match in PATH_STEP.finditer(text)]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _circles(text: str) -> set[tuple[str, ...]]:
    """Runs of four words that occur more than once."""
    words = re.findall(r"\w+", text.lower())
    runs = Counter(tuple(words[i : i + CIRCLE]) for i in range(len(words) - CIRCLE + 1))
    return {run for run, count in runs.items() if count > 1}
