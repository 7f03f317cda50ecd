"""Is every fact of a reply supported by what the model was shown?

Each fact (`retrieval.facts`) must stand in a source (a stored reply of the prompt, or the ticket). Besides, a reply must not be
empty, must have ended by itself, must not repeat itself, must not spell out the prompt's form and must not say the ticket back.
A reply that fails is replaced by a stored one, so a false alarm costs little and a miss costs a customer's trust: the rules are
strict.

Meaning is not checked: "you can" where the source says "you cannot" passes, and so do facts written as words.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from retrieval.compose import sentences
from retrieval.facts import Fact, facts, names, plain, values
from retrieval.prediction import Reply, copy_reply
from retrieval.prompt_text import FORM
from retrieval.retrieve import Retrieval
from retrieval.tickets import LabelledTicket

# Words of a run that must not be repeated, and of a sentence. Of Bitext's 675 stored replies .9 % repeat a run of eight words,
# but 32 % one of four; none repeats a sentence of four or more (EXPERIMENTS.md, section 10).
RUN, SENTENCE = 8, 4
SIGNS = {"dollar": "$", "euro": "€"}
# Not a part of a longer number, as in `1 000 euros`.
MONEY = re.compile(r"(?<![\w.,'’$€£])(?<!\d[ \u00a0\u202f])(\d+(?:[.,]\d+)*)[ \u00a0](?:US )?(dollar|euro)s?\b", re.IGNORECASE)
REPEATS = "it repeats"  # how the finding about a repetition begins
CONTENT_WORD = 4  # letters that a word has at least which says what a text is about


def checked(draft: Reply, found: Retrieval, shown: Sequence[LabelledTicket], *, ended: bool = True) -> Reply:
    """The draft, or where the check finds something the stored reply in its place, with the draft and what was found.

    Args:
        draft: as it would be given.
        found: what retrieval found for the ticket.
        shown: the exemplars that it was written from.
        ended: whether the model ended its turn, or was cut.
    """
    problems = findings(draft.text, [row.ideal_reply for row in shown], found.ticket.text, ended=ended)
    if not problems:
        return draft
    return replace(draft, text=copy_reply(found).text, source="replaced", findings=problems, draft=draft.text)


def findings(reply: str, stored: Sequence[str], ticket: str, *, ended: bool = True) -> tuple[str, ...]:
    """What is wrong with a reply, a phrase each; nothing is found in a good one.

    Args:
        reply: the draft.
        stored: the stored replies that it was written from.
        ticket: the customer's words.
        ended: whether the model ended its turn, or was cut.
    """
    if not reply.strip():
        return ("it is empty",)
    found = [] if ended else ["it never ended"]
    if FORM.search(reply):
        found.append("it spells out the prompt's form")
    if _echoes(reply, stored, ticket):
        found.append("it says the ticket back")
    sources = [*stored, ticket]
    known = set().union(*(values(source) | _in_signs(source).keys() for source in sources))
    as_said = {said for signed, said in _in_signs(reply).items() if signed in known}
    unknown = [*sorted(values(reply) - known - as_said), *_unknown_names(reply, sources)]
    found += [f"{kind} {value} stands in no source" for kind, value in unknown]
    repeated = repetitions(reply) - set().union(*map(repetitions, sources))
    return (*found, *(f'{REPEATS} "{" ".join(words)}"' for words in sorted(repeated)[:1]))


def _echoes(reply: str, stored: Sequence[str], ticket: str) -> bool:
    """Whether it shares more of its words with the ticket than with the stored replies, and no fact that only they hold."""
    if not stored or facts(reply) & (set().union(*map(facts, stored)) - facts(ticket)):
        return False
    words = _content_words(reply)
    return len(words & _content_words(ticket)) > len(words & _content_words(" ".join(stored)))


def _content_words(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+", text.casefold()) if len(word) >= CONTENT_WORD}


def _unknown_names(reply: str, sources: Sequence[str]) -> list[Fact]:
    """Quoted names and placeholders of a reply that stand in no source, quoted there or not."""
    known = [plain(source) for source in sources]
    return [(kind, value) for kind, value in sorted(names(reply)) if not any(value in source for source in known)]


def repetitions(text: str, *, run: int = RUN) -> set[tuple[str, ...]]:
    """The runs of so many words, and the sentences of four or more, that occur twice; shorter ones that occur thrice."""
    words, said = _words(text), Counter(map(_words, sentences(text)))
    counts = Counter(words[i : i + run] for i in range(len(words) - run + 1))
    counts.update({sentence: count for sentence, count in said.items() if SENTENCE <= len(sentence) < run})
    in_circles = {sentence for sentence, count in said.items() if len(sentence) > 1 and count > 2}
    return {found for found, count in counts.items() if count > 1} | in_circles


def _in_signs(text: str) -> dict[Fact, Fact]:
    """Amounts of money in words as they would stand with a sign, `$299` for `299 dollars`, and the number that each says."""
    found = ((SIGNS[match[2].casefold()], match[1]) for match in MONEY.finditer(text))
    return {("number", sign + amount): ("number", amount) for sign, amount in found}


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.lower()))
