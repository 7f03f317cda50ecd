"""The findings of an audit as tables for a terminal."""

from collections import Counter
from collections.abc import Sequence

from rich.table import Column, Table
from rich.text import Text

from evaluation.audit.findings import HEADS, Finding
from evaluation.score.tables import CONSOLE, print_line
from retrieval.tickets import printable

MAX_SHOWN = 10  # findings of a kind; --json has all
MAX_CHARACTERS = 240  # of a text in a table


def print_findings(findings: Sequence[Finding], *, counts: str) -> None:
    """How many of each kind, then each finding with its rows.

    Args:
        findings: of all kinds.
        counts: what was audited, a line.
    """
    found = Counter(finding.kind for finding in findings)
    print_line(counts)
    table = Table("finding", "how many")
    for kind, head in HEADS.items():
        table.add_row(head, str(found[kind]))
    CONSOLE.print(table)
    for kind, head in HEADS.items():
        own = [finding for finding in findings if finding.kind == kind]
        if own:
            print_line("")
            print_line(head, style="bold")
        for finding in own[:MAX_SHOWN]:
            _print_finding(finding)
        if len(own) > MAX_SHOWN:
            print_line(f"and {len(own) - MAX_SHOWN} more, which --json prints")


def _print_finding(finding: Finding) -> None:
    print_line(f"{finding.what}: {finding.advice}")
    reply = any(row.reply for row in finding.rows)
    table = Table(
        Column("row", no_wrap=True), "label", "note", Column("ticket", ratio=1), *([Column("reply", ratio=1)] if reply else [])
    )
    for row in finding.rows:
        cells = (row.id, row.intent, row.note, row.ticket, *([row.reply] if reply else []))
        table.add_row(*(Text(printable(_cut(cell))) for cell in cells))
    CONSOLE.print(table)


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_CHARACTERS else line[: MAX_CHARACTERS - 1] + "…"
