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
from evaluation.parts import Part
from retrieval.tickets import printable

CONSOLE = Console(width=120, highlight=False, emoji=False)


def print_parts(parts: Sequence[Part], rows: Sequence[RowScore]) -> None:
    """The parts with their intervals, and the figures under them."""
    table = Table("part", "weight", "score", "95 % interval", "rows")
    for part in parts:
        interval = f"{part.low:.3f} .. {part.high:.3f}" if part.n else ""
        table.add_row(part.name, f"{part.weight:.3f}", f"{part.value:.3f}", interval, str(part.n or ""))
    CONSOLE.print(table)
    missing, facts = sum(len(row.missing) for row in rows), sum(row.facts for row in rows)
    wrong = sum(len(row.wrong_facts) for row in rows)
    CONSOLE.print(f"must-mention {facts - missing} of {facts} groups, must-not-mention {wrong} found")
    cosine, rouge = (sum(getattr(row, name) for row in rows) / len(rows) for name in ("cosine", "rouge_l"))
    CONSOLE.print(f"cosine to the ideal reply {cosine:.3f}, ROUGE-L {rouge:.3f}")


def print_intents(rows: Sequence[RowScore]) -> None:
    """A line per expected intent, and the confusions."""
    groups: dict[str, list[RowScore]] = defaultdict(list)
    for row in rows:
        groups[row.expected].append(row)
    table = Table("intent", "rows", "right", "reply quality")
    for intent, own in sorted(groups.items()):
        quality = sum(row.quality for row in own) / len(own)
        table.add_row(_text(intent), str(len(own)), str(sum(row.intent_right for row in own)), f"{quality:.2f}")
    CONSOLE.print(table)
    confusions = Counter((row.expected, row.intent) for row in rows if not row.intent_right)
    for (expected, got), count in sorted(confusions.items(), key=lambda item: (-item[1], item[0])):
        CONSOLE.print(_text(f"confused: {expected} taken for {got}, {count} times"))


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
