"""python -m retrieval.inspect: which neighbours voted, and what would stand in the prompt?

    python -m retrieval.inspect --weights DIR --ticket "do guests need a seat?"      a finished run, one ticket
    python -m retrieval.inspect --train T --val V --id v-003 --prompt                no run needed
    python -m retrieval.inspect --weights DIR                                        asks for tickets until an empty line
    python -m retrieval.inspect --weights DIR --val V --map map.png                  a picture of all of them

Shows what `run.py` decided by, from the same code: neighbours with their share in the vote and the words that matched, the
output of every scorer, the in-scope score, the exemplars in prompt order, and the prompt's words. No language model is loaded,
so LM scores are left out, and a prompt that is too long for the base's `max_length` is shown uncut. The prompt of a finished
run has as many exemplars as that run's; without one it has four, as with a base of a billion parameters on a GPU.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from retrieval.classifier_files import load_classifier
from retrieval.columns import add_columns_option, parse_columns
from retrieval.compose import with_composed_replies
from retrieval.encoder import AUTO, SentenceEncoder, encoder_problems, load_encoder
from retrieval.errors import ModelUnavailable, memory_sentence
from retrieval.exemplars import EXEMPLARS
from retrieval.inspect_tables import print_retrieval
from retrieval.intent_classifier import IntentClassifier, fit_classifier
from retrieval.label_names import embed_and_test_labels
from retrieval.map import MapPoint, NoPlots, draw_map
from retrieval.prediction import retrieval_record
from retrieval.prompt_text import reply_prompt_text
from retrieval.retrieve import Retrieval, retrieve
from retrieval.runtime import configure
from retrieval.saved_run import SavedRun, checked_run, find_run, load_encoder_of, reading
from retrieval.taxonomy import Taxonomy, read_train_and_taxonomy
from retrieval.tickets import InputProblems, LabelledTicket, Ticket, read_val


def parser() -> argparse.ArgumentParser:
    """The command line's options."""
    found = argparse.ArgumentParser(prog="python -m retrieval.inspect", description=(__doc__ or "").splitlines()[0])
    source = found.add_mutually_exclusive_group(required=True)
    source.add_argument("--train", type=Path, metavar="FILE", help="train rows, as for run.py")
    source.add_argument("--weights", type=Path, metavar="DIR", help="weights folder of a finished run")
    tickets = found.add_mutually_exclusive_group()
    tickets.add_argument("--ticket", metavar="TEXT", help="one ticket (without it and --val: asks for tickets)")
    tickets.add_argument("--val", type=Path, metavar="FILE", help="tickets, as for run.py")
    add_columns_option(found)
    found.add_argument("--taxonomy", type=Path, metavar="FILE", help="as for run.py; with --weights the run's own is used")
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
    except MemoryError as error:
        print(f"error: {memory_sentence(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def inspect(options: argparse.Namespace) -> None:
    """Retrieves for the tickets and shows what is found.

    Raises:
        InputProblems: something is wrong with what the user gave.
        ModelUnavailable: the encoder, or a file of the run, cannot be loaded.
        NoPlots: --map without matplotlib.
    """
    rows, taxonomy, tickets, run = read_input(options)
    configure()
    encoder = load_encoder_of(run, options.encoder) if run else load_encoder(options.encoder or AUTO)
    for warning in encoder.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if run and (run.lm_weight or "lm_scores" in run.record.get("remote", {})):
        where = f"{options.weights}/predictions.jsonl has what the run decided"
        print(f"note: the run added LM intent scores for unsure tickets, which are not loaded here; {where}", file=sys.stderr)
    classifier = classifier_of(run, rows, taxonomy, encoder)
    shown: list[Retrieval] = []
    for batch in [tickets] if tickets else typed_tickets():
        vectors = encoder.encode([ticket.text for ticket in batch])
        found = with_composed_replies(retrieve(classifier, batch, vectors), vectors, encoder)
        shown += found
        for retrieval in found:
            show(retrieval, classifier, options, exemplars=run.exemplars if run else EXEMPLARS)
    if options.map:
        save_map(classifier, shown, encoder, options.map)


def read_input(
    options: argparse.Namespace,
) -> tuple[tuple[LabelledTicket, ...], Taxonomy | None, tuple[Ticket, ...], SavedRun | None]:
    """Train rows and taxonomy (none with --weights), tickets (none: ask for them), and the finished run (none with --train).

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
    problems += found
    run, found = find_run(options.weights) if options.weights else (None, [])
    problems += found
    tickets, found = read_val(options.val, columns=columns) if options.val else ((), [])
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
    return rows, taxonomy, tickets, run


def classifier_of(
    run: SavedRun | None, rows: Sequence[LabelledTicket], taxonomy: Taxonomy | None, encoder: SentenceEncoder
) -> IntentClassifier:
    """The classifier of a finished run, or one that is fitted as a run fits it."""
    if run:
        with reading(run.folder):
            if checked_run(run.folder).record != run.record:
                raise ModelUnavailable(f"the run in {run.folder} was replaced meanwhile: ask again")
            return load_classifier(run.folder, run.encoder_name)
    train_set, gates = embed_and_test_labels(rows, encoder, taxonomy, seed=0)
    return fit_classifier(train_set, with_names=gates[-1].passed)


def typed_tickets() -> Iterator[tuple[Ticket, ...]]:
    """Tickets that a person types, one a line, until an empty line or the end of the input."""
    number = 0
    while True:
        print("ticket> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line.strip():
            return
        number += 1
        yield (Ticket(f"typed-{number}", line.strip()),)


def show(found: Retrieval, classifier: IntentClassifier, options: argparse.Namespace, *, exemplars: int) -> None:
    """One ticket, for a reader or a script; `exemplars` is how many may stand in the prompt."""
    prompt = None
    if options.prompt:
        texts = classifier.train_set.descriptions
        stored = found.exemplars[:exemplars]
        prompt = reply_prompt_text(found.ticket.text, stored, intent=found.intent, descriptions=texts)
    if options.json:
        words = {"prompt": {"system": prompt.system, "user": prompt.user, "assistant": prompt.assistant}} if prompt else {}
        print(json.dumps(retrieval_record(found) | words, ensure_ascii=False))
    else:
        print_retrieval(found, classifier.weights, prompt)


def save_map(classifier: IntentClassifier, found: Sequence[Retrieval], encoder: SentenceEncoder, path: Path) -> None:
    """Draws the train rows and the tickets."""
    vectors = encoder.encode([retrieval.ticket.text for retrieval in found])
    points = [
        MapPoint(retrieval.ticket.id, retrieval.intent, vector, tuple(near.row.id for near in retrieval.neighbours[:3]))
        for retrieval, vector in zip(found, vectors, strict=True)
    ]
    draw_map(classifier.train_set, points, path, file_format=path.suffix[1:])
    print(f"the map stands in {path}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
