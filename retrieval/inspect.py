"""python -m retrieval.inspect: which neighbours voted, and what would stand in the prompt?

    python -m retrieval.inspect --weights DIR --id v-003                             what the run decided about a row
    python -m retrieval.inspect --weights DIR --ticket "do guests need a seat?"      what it would say about another ticket
    python -m retrieval.inspect --train T --val V --id v-003 --prompt                no run needed
    python -m retrieval.inspect --weights DIR                                        asks for tickets until an empty line
    python -m retrieval.inspect --weights DIR --val V --map map.png                  a picture of all of them

Shows what `run.py` decides by, from the same code: neighbours with their share in the vote and the words that matched, the
output of every scorer, the in-scope score, the exemplars in prompt order, and the prompt's words. What a run decided comes from
its record, with LM scores, the reply, and a draft that was not given and why; no model is loaded. All else needs the encoder,
and leaves LM scores out, for no language model is loaded either. A prompt that is too long for the base's `max_length` is shown
uncut. The prompt of a finished run has as many exemplars as that run's; without one it has four, as with a large base on a GPU.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrieval.classifier_files import load_classifier
from retrieval.compose import with_composed_replies
from retrieval.encoder import AUTO, SentenceEncoder, load_encoder
from retrieval.errors import ModelUnavailable, memory_sentence
from retrieval.exemplars import EXEMPLARS
from retrieval.inspect_input import Given, parser, read_input
from retrieval.inspect_tables import print_retrieval
from retrieval.intent_classifier import IntentClassifier, ScorerWeights, fit_classifier
from retrieval.label_names import embed_and_test_labels
from retrieval.map import MapPoint, NoPlots, draw_map
from retrieval.prediction import retrieval_record
from retrieval.prompt_text import reply_prompt_text
from retrieval.recorded import RecordedAnswer
from retrieval.retrieve import Retrieval, retrieve
from retrieval.runtime import configure
from retrieval.saved_run import load_encoder_of, unchanged
from retrieval.tickets import InputProblems, Ticket


@dataclass(frozen=True, slots=True)
class Shown:
    """What the tables and the prompt of every ticket have in common."""

    weights: ScorerWeights  # for the heads
    descriptions: Mapping[str, str]  # of the intents, by name
    exemplars: int  # most of them in a prompt


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command."""
    options = parser((__doc__ or "").splitlines()[0]).parse_args(arguments)
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
    """Shows what a finished run decided, or retrieves for the tickets and shows what is found.

    Raises:
        InputProblems: something is wrong with what the user gave.
        ModelUnavailable: the encoder, or a file of the run, cannot be loaded.
        NoPlots: --map without matplotlib.
    """
    given = read_input(options)
    exemplars = given.run.exemplars if given.run else EXEMPLARS
    if given.answer:
        show(given.answer.retrieval, Shown(ScorerWeights(), given.answer.descriptions, exemplars), options, given.answer)
    else:
        inspect_anew(given, options, exemplars)


def inspect_anew(given: Given, options: argparse.Namespace, exemplars: int) -> None:
    """Retrieves for the tickets that were given, or for those that a person types."""
    configure()
    run = given.run
    encoder = load_encoder_of(run, options.encoder) if run else load_encoder(options.encoder or AUTO)
    for warning in encoder.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if run and (run.lm_weight or "lm_scores" in run.record.get("remote", {})):
        where = "; --id ID without --val shows what the run decided" if options.val else ""
        print(f"note: the run added LM intent scores for unsure tickets, which are not loaded here{where}", file=sys.stderr)
    classifier = classifier_of(given, encoder)
    what = Shown(classifier.weights, classifier.train_set.descriptions, exemplars)
    shown: list[Retrieval] = []
    for batch in [given.tickets] if given.tickets else typed_tickets():
        vectors = encoder.encode([ticket.text for ticket in batch])
        found = with_composed_replies(retrieve(classifier, batch, vectors), vectors, encoder)
        shown += found
        for retrieval in found:
            show(retrieval, what, options)
    if options.map:
        save_map(classifier, shown, encoder, options.map)


def classifier_of(given: Given, encoder: SentenceEncoder) -> IntentClassifier:
    """The classifier of a finished run, or one that is fitted as a run fits it."""
    if given.run:
        with unchanged(given.run):
            return load_classifier(given.run.folder, given.run.encoder_name)
    train_set, gates = embed_and_test_labels(given.rows, encoder, given.taxonomy, seed=0)
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


def show(found: Retrieval, what: Shown, options: argparse.Namespace, answer: RecordedAnswer | None = None) -> None:
    """One ticket, for a reader or a script; `answer` is what the run recorded about it."""
    prompt = None
    if options.prompt:
        stored = found.exemplars[: what.exemplars]
        prompt = reply_prompt_text(found.ticket.text, stored, intent=found.intent, descriptions=what.descriptions)
    if options.json:
        words = {"prompt": {"system": prompt.system, "user": prompt.user, "assistant": prompt.assistant}} if prompt else {}
        print(json.dumps({**(answer.line if answer else retrieval_record(found)), **words}, ensure_ascii=False))
    else:
        print_retrieval(found, what.weights, prompt=prompt, reply=answer.reply if answer else None)


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
