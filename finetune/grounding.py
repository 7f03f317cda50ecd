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

from retrieval.compose import sentences
from retrieval.facts import Fact, facts, names, plain, values
from retrieval.prompt_text import FORM

# Words of a run that must not be repeated, and of a sentence. Of Bitext's 675 stored replies .9 % repeat a run of eight words,
# but 32 % one of four; none repeats a sentence (EXPERIMENTS.md, section 10).
RUN, SENTENCE = 8, 4
REPEATS = "it repeats"  # how the finding about a repetition begins
CONTENT_WORD = 4  # letters that a word has at least which says what a text is about


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
    known = set().union(*(values(source) for source in sources))
    unknown = [*sorted(values(reply) - known), *_unknown_names(reply, sources)]
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
    """The runs of so many words, and the shorter sentences that are no mere "yes", which occur more than once."""
    words, said = _words(text), map(_words, sentences(text))
    counts = Counter(words[i : i + run] for i in range(len(words) - run + 1))
    counts.update(sentence for sentence in said if SENTENCE <= len(sentence) < run)
    return {found for found, count in counts.items() if count > 1}


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.lower()))
