"""A score as tables for a terminal.

What it does not know: how it was computed.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evaluation.grading import Prediction, RowScore
from evaluation.labels import Label
from evaluation.parts import WEIGHTS, Part
from retrieval.tickets import printable

CONSOLE = Console(width=120, highlight=False, emoji=False)


QUALITY = "reply quality is our reading: half similarity (mean of cosine and ROUGE-L, or the judge's grade), half facts"


def print_parts(parts: Sequence[Part], kinds: Mapping[str, Sequence[RowScore]]) -> None:
    """The parts with their intervals, how they are made, and the figures under them for each kind of row."""
    table = Table("part", "weight", "score", "95 % interval", "rows")
    for part in parts:
        interval = f"{part.low:.3f} .. {part.high:.3f}" if part.n else ""
        table.add_row(part.name, f"{part.weight:.3f}", f"{part.value:.3f}", interval, str(part.n or ""))
    CONSOLE.print(table)
    if absent := [name for name in WEIGHTS if name not in {part.name for part in parts}]:
        CONSOLE.print(f"not measured: {', '.join(absent)}; the total is the weighted mean of the others")
    CONSOLE.print(QUALITY)
    for kind, rows in kinds.items():
        _print_figures(rows, kind=kind)


def _print_figures(rows: Sequence[RowScore], *, kind: str) -> None:
    missing, facts = sum(len(row.missing) for row in rows), sum(row.facts for row in rows)
    wrong = sum(len(row.wrong_facts) for row in rows)
    cosine, rouge = (sum(getattr(row, name) for row in rows) / len(rows) for name in ("cosine", "rouge_l"))
    CONSOLE.print(f"{kind}s: must-mention {facts - missing} of {facts} groups, must-not-mention {wrong} found")
    CONSOLE.print(f"{kind}s: cosine to the ideal reply {cosine:.3f}, ROUGE-L {rouge:.3f}")


def by_intent(rows: Sequence[RowScore]) -> dict[str, dict[str, float]]:
    """For each expected intent: rows, how many are right, mean reply quality."""
    groups: dict[str, list[RowScore]] = defaultdict(list)
    for row in rows:
        groups[row.expected].append(row)
    return {
        intent: {
            "rows": len(own),
            "right": sum(row.intent_right for row in own),
            "quality": sum(row.quality for row in own) / len(own),
        }
        for intent, own in sorted(groups.items())
    }


def confusions(rows: Sequence[RowScore]) -> list[tuple[str, str, int]]:
    """Expected intent, predicted intent, how often; the most frequent first."""
    counts = Counter((row.expected, row.intent) for row in rows if not row.intent_right)
    return sorted(((*pair, count) for pair, count in counts.items()), key=lambda found: (-found[2], found[:2]))


def print_intents(rows: Sequence[RowScore], *, kind: str) -> None:
    """A line per expected intent, and the confusions."""
    table = Table(f"intent ({kind}s)", "rows", "right", "reply quality")
    for intent, own in by_intent(rows).items():
        table.add_row(_text(intent), f"{own['rows']:.0f}", f"{own['right']:.0f}", f"{own['quality']:.2f}")
    CONSOLE.print(table)
    for expected, got, count in confusions(rows):
        CONSOLE.print(_text(f"confused ({kind}s): {expected} taken for {got}, {count} times"))


def print_failures(rows: Sequence[RowScore], labels: Mapping[str, Label], predictions: Mapping[str, Prediction]) -> None:
    """Every row with a wrong intent, a missing fact or a wrong one: the ticket, what was expected, what came."""
    for row in rows:
        if row.intent_right and not row.missing and not row.wrong_facts:
            continue
        CONSOLE.print()
        CONSOLE.print(_text(f"{row.id} ({row.kind}), quality {row.quality:.2f}"), style="bold")
        lines = {
            "ticket": labels[row.id].ticket,
            "intent": "" if row.intent_right else f"expected {row.expected}, got {row.intent}",
            "missing": "; ".join(" | ".join(group) for group in row.missing),
            "must not say": "; ".join(row.wrong_facts),
            "expected": labels[row.id].ideal_reply,
            "got": predictions[row.id].reply,
        }
        for name, value in lines.items():
            if value:
                CONSOLE.print(_text(f"  {name}: {value}"))


def _text(text: str) -> Text:
    return Text(printable(text))
