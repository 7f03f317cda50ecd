"""A score as tables for a terminal, and the counts for each intent that the JSON holds too."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evaluation.score.grading import WEIGHTS, Part, RowScore, tally
from evaluation.score.labels import KINDS
from retrieval.tickets import printable

CONSOLE = Console(width=120, highlight=False, emoji=False)
QUALITY = "reply quality is our reading: half similarity (mean of cosine and ROUGE-L, or the judge's grade), half facts"


def print_line(text: str, style: str = "") -> None:
    """A line whose text may come from a ticket."""
    CONSOLE.print(Text(printable(text)), style=style)


def print_parts(parts: Sequence[Part], rows_by_kind: Mapping[str, Sequence[RowScore]]) -> None:
    """The parts with their intervals, how they are made, and the figures under them for each kind of row."""
    table = Table("part", "weight", "score", "95 % interval", "rows")
    for part in parts:
        interval = f"{part.low:.3f} .. {part.high:.3f}" if part.n else ""
        table.add_row(part.name, f"{part.weight:.3f}", f"{part.value:.3f}", interval, str(part.n or ""))
    CONSOLE.print(table)
    if missing := [name for name in WEIGHTS if name not in {part.name for part in parts}]:
        print_line(f"not measured: {', '.join(missing)}; the total is the weighted mean of the others")
    print_line(QUALITY)
    for kind, rows in rows_by_kind.items():
        found = tally(rows)
        facts = f"must-mention {found.facts_met} of {found.fact_groups} groups, must-not-mention {found.wrong_facts} found"
        print_line(f"{kind}s: {facts}")
        print_line(f"{kind}s: cosine to the ideal reply {found.cosine:.3f}, ROUGE-L {found.rouge_l:.3f}")


def rows_by_kind(rows: Sequence[RowScore]) -> dict[str, list[RowScore]]:
    """Ordinary rows and probes apart, in this order; a kind without rows is left out."""
    return {kind: own for kind in KINDS if (own := [row for row in rows if row.kind == kind])}


def rows_by_intent(rows: Sequence[RowScore]) -> dict[str, list[RowScore]]:
    """The rows of each expected intent, sorted by name."""
    groups: dict[str, list[RowScore]] = defaultdict(list)
    for row in rows:
        groups[row.expected_intent].append(row)
    return dict(sorted(groups.items()))


def intent_counts(rows: Sequence[RowScore]) -> dict[str, dict[str, float]]:
    """For each expected intent: rows, how many are correct, mean reply quality."""
    found = {}
    for intent, own in rows_by_intent(rows).items():
        quality = sum(row.quality for row in own) / len(own)
        found[intent] = {"rows": len(own), "correct": sum(row.intent_correct for row in own), "quality": quality}
    return found


def confusions(rows: Sequence[RowScore]) -> list[tuple[str, str, int]]:
    """Expected intent, predicted intent, how often; the most frequent first."""
    counts = Counter((row.expected_intent, row.predicted_intent) for row in rows if not row.intent_correct)
    return sorted(((*pair, count) for pair, count in counts.items()), key=lambda found: (-found[2], found[:2]))


def print_intents(rows: Sequence[RowScore], *, kind: str) -> None:
    """A line per expected intent, and the confusions."""
    table = Table(f"intent ({kind}s)", "rows", "correct", "reply quality")
    for intent, own in intent_counts(rows).items():
        table.add_row(Text(printable(intent)), f"{own['rows']:.0f}", f"{own['correct']:.0f}", f"{own['quality']:.2f}")
    CONSOLE.print(table)
    for expected, predicted, count in confusions(rows):
        print_line(f"confused ({kind}s): {expected} taken for {predicted}, {count} times")


def print_failures(rows: Sequence[RowScore]) -> None:
    """Every row with an incorrect intent, a missing fact or a wrong one: the ticket, what was expected, what came."""
    for row in rows:
        if row.intent_correct and not row.missing_facts and not row.wrong_facts:
            continue
        print_line("")
        print_line(f"{row.id} ({row.kind}), quality {row.quality:.2f}", style="bold")
        lines = {
            "ticket": row.ticket,
            "intent": "" if row.intent_correct else f"expected {row.expected_intent}, got {row.predicted_intent}",
            "missing": "; ".join(" | ".join(group) for group in row.missing_facts),
            "must not say": "; ".join(row.wrong_facts),
            "expected": row.ideal_reply,
            "got": row.reply,
        }
        for name, value in lines.items():
            if value:
                print_line(f"  {name}: {value}")
