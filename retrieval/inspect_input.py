"""What `retrieval.inspect` is asked: its options, and what they name, read and checked before any model is loaded."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from retrieval.columns import add_columns_option, parse_columns
from retrieval.encoder import AUTO, encoder_problems
from retrieval.recorded import RecordedAnswer, recorded_answer
from retrieval.saved_run import SavedRun, checked_run, collected, reading
from retrieval.taxonomy import Taxonomy, read_train_and_taxonomy
from retrieval.tickets import InputProblems, LabelledTicket, Ticket, read_val


@dataclass(frozen=True, slots=True)
class Given:
    """What the options name."""

    rows: tuple[LabelledTicket, ...]  # the train rows, none with --weights
    taxonomy: Taxonomy | None  # beside them
    tickets: tuple[Ticket, ...]  # none: a person is asked, or the record answers
    run: SavedRun | None  # None with --train
    answer: RecordedAnswer | None  # what the run decided about the row of --id, where that is asked


def parser(description: str) -> argparse.ArgumentParser:
    """The command line's options."""
    found = argparse.ArgumentParser(prog="python -m retrieval.inspect", description=description)
    source = found.add_mutually_exclusive_group(required=True)
    source.add_argument("--train", type=Path, metavar="FILE", help="train rows, as for run.py")
    source.add_argument("--weights", type=Path, metavar="DIR", help="weights folder of a finished run")
    tickets = found.add_mutually_exclusive_group()
    tickets.add_argument("--ticket", metavar="TEXT", help="one ticket (without it and --val: asks for tickets)")
    tickets.add_argument("--val", type=Path, metavar="FILE", help="tickets, as for run.py")
    add_columns_option(found)
    found.add_argument("--taxonomy", type=Path, metavar="FILE", help="as for run.py; with --weights the run's own is used")
    found.add_argument("--id", metavar="ID", help="only this row of --val; with --weights alone, what the run decided about it")
    found.add_argument("--prompt", action="store_true", help="show the words of the prompt too")
    found.add_argument("--json", action="store_true", help="one JSON object per ticket on stdout")
    found.add_argument("--map", type=Path, metavar="FILE", help="draw train rows and tickets on a plane (.png or .svg)")
    found.add_argument("--encoder", metavar="ENCODER", help="as for run.py; with --weights the run's own is the default")
    return found


def read_input(options: argparse.Namespace) -> Given:
    """Reads what the options name.

    Raises:
        InputProblems: with all that is wrong.
    """
    columns, problems = parse_columns(options.columns)
    problems += encoder_problems(options.encoder or AUTO)
    rows: tuple[LabelledTicket, ...] = ()
    taxonomy, found = None, list[str]()
    if options.train:
        rows, taxonomy, found = read_train_and_taxonomy(options.train, options.taxonomy, columns=columns)
    elif options.taxonomy:
        problems.append(f"--taxonomy {options.taxonomy}: found --weights, whose run has its own; expected --train")
    run, answer, more = run_and_answer(options)
    problems += [*found, *more]
    tickets, found = tickets_of(options, columns)
    problems += [*found, *option_problems(options)]
    if problems:
        raise InputProblems(problems)
    return Given(rows, taxonomy, tickets, run, answer)


def run_and_answer(options: argparse.Namespace) -> tuple[SavedRun | None, RecordedAnswer | None, list[str]]:
    """The finished run that the options name, what it decided about a row where that is asked, a sentence for every problem."""
    run, answer, problems = None, None, list[str]()
    if options.weights:
        with collected(options.weights, problems), reading(options.weights):
            run = checked_run(options.weights)
            answer = recorded_answer(run.folder, options.id) if from_the_record(options) else None
    return run, answer, problems


def tickets_of(options: argparse.Namespace, columns: Mapping[str, str]) -> tuple[tuple[Ticket, ...], list[str]]:
    """The tickets that the options name, none where a person is asked or the record answers; a sentence for every problem."""
    if options.ticket is not None:
        problems = [] if options.ticket.strip() else ["--ticket: found an empty text, expected a ticket"]
        return (Ticket("ticket", options.ticket),), problems
    if not options.val:
        return (), []
    tickets, problems = read_val(options.val, columns=columns)
    if not options.id:
        return tickets, problems
    tickets = tuple(ticket for ticket in tickets if ticket.id == options.id)
    return tickets, problems or ([] if tickets else [f"--id {options.id}: found no such row in {options.val}"])


def from_the_record(options: argparse.Namespace) -> bool:
    """Whether a row is asked for that the finished run answered, by its id alone."""
    return bool(options.weights and options.id and options.id.strip()) and options.val is None and options.ticket is None


def option_problems(options: argparse.Namespace) -> list[str]:
    """What is wrong with the options among themselves."""
    found = []
    if options.id and options.ticket is not None:
        found.append("--id: found --ticket, expected the one or the other")
    elif options.id and not options.val and not options.weights:
        found.append("--id: found no --val, expected the file in which the row stands")
    elif options.id is not None and not options.id.strip():
        found.append("--id: found an empty text, expected the id of a row")
    if options.map and options.map.suffix not in (".png", ".svg"):
        found.append(f"--map {options.map}: found no .png or .svg, expected one of them")
    if from_the_record(options):
        needless = [name for name in ("map", "encoder", "columns") if getattr(options, name)]
        found += [
            f"--{name}: found --id without --val, for which the run's own record is read; expected --val" for name in needless
        ]
    return found
