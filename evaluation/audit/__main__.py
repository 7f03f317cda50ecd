"""python -m evaluation.audit: which train rows are probably wrong, and which rows are missing?

    python -m evaluation.audit --train T [--val V] [--columns ...] [--json]

Labels that disagree with out-of-fold probabilities, near-duplicates with different labels, different numbers for one thing,
personal data in replies, intents that are alike or have too few rows, and val tickets that are worth labelling, each beside the
rows that show it. The encoder is that of a run; no language model is loaded. Findings are questions to a person: the exit
status is 0 whatever is found.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from evaluation.command import new_parser, run_command
from retrieval.columns import add_columns_option, parse_columns
from retrieval.encoder import load_encoder
from retrieval.runtime import configure
from retrieval.tickets import InputProblems, LabelledTicket, Ticket, read_train, read_val


def main(arguments: Sequence[str] | None = None) -> int:
    """Audits train rows and prints what is found."""
    parser = new_parser("evaluation.audit", __doc__)
    parser.add_argument("--train", type=Path, required=True, metavar="FILE", help="train rows, as for run.py")
    parser.add_argument("--val", type=Path, metavar="FILE", help="tickets, as for run.py: say which are worth labelling")
    add_columns_option(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout instead of tables")
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Reads, measures, prints."""
    from evaluation.audit.audit import audit
    from evaluation.audit.evidence import gather
    from evaluation.audit.tables import print_findings

    rows, tickets = read_input(options)
    configure()
    encoder = load_encoder()
    for warning in encoder.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    evidence = gather(rows, tickets, encoder)
    findings = audit(evidence, encoder)
    if options.json:
        counts = {
            "rows": len(rows),
            "intents": len(evidence.train_set.intents),
            "tickets": len(tickets),
            "encoder": encoder.name,
        }
        print(json.dumps(counts | {"findings": [asdict(one) for one in findings]}, ensure_ascii=False, indent=1))
    else:
        counts_line = f"{len(rows)} train rows, {len(evidence.train_set.intents)} intents, {len(tickets)} val tickets"
        print_findings(findings, counts=counts_line)
    return 0


def read_input(options: argparse.Namespace) -> tuple[tuple[LabelledTicket, ...], tuple[Ticket, ...]]:
    """Train rows and val tickets, none without --val; raises InputProblems with all that is wrong."""
    columns, problems = parse_columns(options.columns)
    rows, train_problems = read_train(options.train, columns=columns)
    tickets, val_problems = read_val(options.val, columns=columns) if options.val else ((), [])
    problems += [*train_problems, *val_problems]
    if problems:
        raise InputProblems(problems)
    return rows, tickets


if __name__ == "__main__":
    sys.exit(main())
