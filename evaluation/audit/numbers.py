"""Different numbers for the same thing in stored replies of one intent: one of them is out of date, or a condition is missing.

Two sentences speak of the same thing if both count it (`retrieval.facts.quantities`) and are near each other with their numbers
taken out. A number that the row's own ticket names is the customer's, not the product's.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from evaluation.audit.evidence import Evidence
from evaluation.audit.findings import Finding, shown
from retrieval.compose import sentences
from retrieval.encoder import Encoder
from retrieval.facts import quantities
from retrieval.tickets import LabelledTicket, quoted

SAME_THING = 0.7  # cosine of two sentences without their numbers
DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence of a stored reply that counts something."""

    row: LabelledTicket
    sentence: str
    counts: dict[str, set[str]]  # by thing, the numbers that only the reply gives

    @property
    def form(self) -> str:
        """The sentence without its numbers."""
        return DIGITS.sub("#", self.sentence)


def number_findings(found: Evidence, encoder: Encoder) -> list[Finding]:
    """A finding for each pair of sentences, by intent."""
    pairs = [pair for statements in _by_intent(found) for pair in _differing(statements)]
    forms = list(dict.fromkeys(one.form for pair in pairs for one in pair))
    vectors = dict(zip(forms, encoder.encode(forms), strict=True))
    return [_finding(one, other) for one, other in pairs if vectors[one.form] @ vectors[other.form] >= SAME_THING]


def _by_intent(found: Evidence) -> list[list[Statement]]:
    """The statements of the replies of each intent; a repeated reply counts once."""
    statements: defaultdict[str, list[Statement]] = defaultdict(list)
    seen: set[tuple[str, str]] = set()
    for row in found.train_set.rows:
        if (row.intent, row.ideal_reply) not in seen:
            seen.add((row.intent, row.ideal_reply))
            statements[row.intent] += _statements(row)
    return [statements[intent] for intent in sorted(statements)]


def _statements(row: LabelledTicket) -> Iterator[Statement]:
    asked = set(DIGITS.findall(row.text))
    for sentence in sentences(row.ideal_reply):
        counts = {
            thing: {n for n in numbers if not asked & set(DIGITS.findall(n))}
            for thing, numbers in sorted(quantities(sentence).items())
        }
        if any(counts.values()):
            yield Statement(row, sentence, counts)


def _differing(statements: list[Statement]) -> Iterator[tuple[Statement, Statement]]:
    for one, other in combinations(statements, 2):
        if one.row is not other.row and _things(one, other):
            yield one, other


def _things(one: Statement, other: Statement) -> list[str]:
    """What both count, with no number in common."""
    both = one.counts.keys() & other.counts.keys()
    return sorted(t for t in both if one.counts[t] and other.counts[t] and not one.counts[t] & other.counts[t])


def _finding(one: Statement, other: Statement) -> Finding:
    thing = _things(one, other)[0]
    ours, theirs = (", ".join(sorted(statement.counts[thing])) for statement in (one, other))
    what = f"{quoted(one.row.id)} says {ours} and {quoted(other.row.id)} says {theirs} ({thing}) in nearly the same sentence"
    advice = "correct the one that is out of date; if both hold, say in each reply for which plan or case"
    rows = tuple(shown(s.row, f"{thing}: {', '.join(sorted(s.counts[thing]))}", reply=s.sentence) for s in (one, other))
    return Finding("other number", what, advice, rows)
