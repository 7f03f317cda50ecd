"""python -m retrieval.inspect: which neighbours voted, and what would stand in the prompt?

    python -m retrieval.inspect --weights DIR --ticket "do guests need a seat?"      a finished run, one ticket
    python -m retrieval.inspect --train T --val V --id v-003 --prompt                no run needed
    python -m retrieval.inspect --weights DIR                                        asks for tickets until an empty line
    python -m retrieval.inspect --weights DIR --val V --map map.png                  a picture of all of them

Shows what `run.py` decided by, from the same code: neighbours with their scores and the words that matched, every view's vote
and the pool, familiarity, exemplars in prompt order, and the prompt's words. No language model is loaded.

What it does not know: how long the prompt is in a base's tokens, and so whether an exemplar had to go.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from retrieval.encoder import Encoder, ModelUnavailable, SentenceEncoder, encoder_problems
from retrieval.lookup import Lookup, look_up
from retrieval.map import NoPlots, Placed, draw_map
from retrieval.results import lookup_record
from retrieval.runtime import settle
from retrieval.show import show_lookup
from retrieval.store import RunSettings, load_desk, load_settings
from retrieval.tickets import InputProblems, LabelledTicket, Ticket, read_train, read_val
from retrieval.voting import IntentPool, fit_pool
from retrieval.wording import wording


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    found = argparse.ArgumentParser(prog="python -m retrieval.inspect", description=(__doc__ or "").splitlines()[0])
    desk = found.add_mutually_exclusive_group(required=True)
    desk.add_argument("--train", type=Path, metavar="FILE", help="train rows, as for run.py")
    desk.add_argument("--weights", type=Path, metavar="DIR", help="weights folder of a finished run")
    asked = found.add_mutually_exclusive_group()
    asked.add_argument("--ticket", metavar="TEXT", help="one ticket (without it and --val: asks for tickets)")
    asked.add_argument("--val", type=Path, metavar="FILE", help="tickets, as for run.py")
    found.add_argument("--id", metavar="ID", help="only this row of --val")
    found.add_argument("--prompt", action="store_true", help="show the words of the prompt too")
    found.add_argument("--json", action="store_true", help="one JSON object per ticket on stdout")
    found.add_argument("--map", type=Path, metavar="FILE", help="draw train rows and tickets on a plane (.png or .svg)")
    found.add_argument("--encoder", metavar="ENCODER", help="as for run.py; with --weights the run's own is the default")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command."""
    options = parser().parse_args(arguments)
    try:
        inspect(options)
    except InputProblems as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return 2
    except (ModelUnavailable, NoPlots) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.filename or 'a file'} cannot be read or written: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def inspect(options: argparse.Namespace) -> None:
    """Looks tickets up and shows what is found.

    Raises:
        InputProblems: something is wrong with what the user gave.
        ModelUnavailable: the encoder cannot be loaded.
        NoPlots: --map without matplotlib.
    """
    rows, tickets, settings = read_input(options)
    settle()
    encoder = SentenceEncoder(options.encoder or settings.encoder)
    pool = pool_of(options, rows, encoder, seed=settings.seed)
    shown: list[Lookup] = []
    for batch in [tickets] if tickets else typed():
        found = look_up(pool, batch, encoder.encode([ticket.text for ticket in batch]))
        shown += found
        for lookup in found:
            print_lookup(lookup, pool, options)
    if options.map:
        save_map(pool, shown, encoder, options.map)


def read_input(options: argparse.Namespace) -> tuple[tuple[LabelledTicket, ...], tuple[Ticket, ...], RunSettings]:
    """Train rows (none with --weights), tickets (none: ask for them), and the settings of the run.

    Raises:
        InputProblems: with all that is wrong.
    """
    problems = encoder_problems(options.encoder)
    rows, found = read_train(options.train) if options.train else ((), [])
    problems += found
    settings, found = load_settings(options.weights) if options.weights else (RunSettings(), [])
    problems += found
    tickets, found = read_val(options.val) if options.val else ((), [])
    problems += found
    if options.id and not options.val:
        problems.append("--id: found no --val, expected the file in which the row stands")
    elif options.id:
        tickets = tuple(ticket for ticket in tickets if ticket.id == options.id)
        problems += [] if tickets or found else [f"--id {options.id}: found no such row in {options.val}"]
    if options.ticket is not None:
        tickets = (Ticket("ticket", options.ticket),)
        problems += [] if options.ticket.strip() else ["--ticket: found an empty text, expected a ticket"]
    if options.map and options.map.suffix not in (".png", ".svg"):
        problems.append(f"--map {options.map}: found no .png or .svg, expected one of them")
    if problems:
        raise InputProblems(problems)
    return rows, tickets, settings


def pool_of(options: argparse.Namespace, rows: Sequence[LabelledTicket], encoder: Encoder, *, seed: int) -> IntentPool:
    """The pool as a run makes it; the vectors of a finished run are taken from its folder."""
    from retrieval.desk import embed_desk
    from retrieval.names import names_gate

    desk = load_desk(options.weights) if options.weights else embed_desk(rows, encoder)
    return fit_pool(desk, with_names=names_gate(desk, seed=seed).passed)


def typed() -> Iterator[tuple[Ticket, ...]]:
    """Tickets that a person types, one a line, until an empty line or the end of the input."""
    number = 0
    while True:
        print("ticket> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line.strip():
            return
        number += 1
        yield (Ticket(f"typed-{number}", line.strip()),)


def print_lookup(found: Lookup, pool: IntentPool, options: argparse.Namespace) -> None:
    """One ticket, for a reader or a script."""
    prompt = wording(found.ticket.text, found.exemplars, intent=found.intent) if options.prompt else None
    if options.json:
        words = {"prompt": {"system": prompt.system, "user": prompt.user, "assistant": prompt.assistant}} if prompt else {}
        print(json.dumps(lookup_record(found) | words, ensure_ascii=False))
    else:
        show_lookup(found, pool.weights, prompt)


def save_map(pool: IntentPool, found: Sequence[Lookup], encoder: Encoder, path: Path) -> None:
    """Draws the desk and the tickets."""
    vectors = encoder.encode([lookup.ticket.text for lookup in found])
    placed = [
        Placed(lookup.ticket.id, lookup.intent, vector, tuple(near.row.id for near in lookup.neighbours[:3]))
        for lookup, vector in zip(found, vectors, strict=True)
    ]
    draw_map(pool.desk, placed, path, file_format=path.suffix[1:])
    print(f"the map stands in {path}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
