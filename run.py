"""Learns from about thirty labelled support tickets of one product and answers new ones.

    python run.py --train train.jsonl --val val.jsonl --weights DIR --output results.json
    python run.py --val more.jsonl --weights DIR --output more.json      the same answers again, from the run in DIR

Reads, embeds and indexes, fine-tunes, answers, writes: this file calls the stages in their order, every decision is made in the
modules it calls. Heavy imports stand inside of functions: `--help` and a mistyped path should not wait for torch.

Exit status: 0 done; 1 a model cannot be loaded, a file cannot be written, memory ran out, or a process is gone; 2 something is
wrong with the input, all of it reported at once; 130 stopped by Ctrl-C.
"""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from finetune.base_selection import base_problems
from finetune.remote.endpoint import NONE, endpoint_of, remote_problems
from retrieval.columns import parse_columns
from retrieval.command_line import Settings, parse, training_only_problems
from retrieval.console import Clock, Verbosity, display, expect, leave_out, print_summary, say_more
from retrieval.defaults_file import name_the_file
from retrieval.errors import ModelUnavailable, memory_sentence
from retrieval.masking import masking_warnings
from retrieval.paths import path_problems
from retrieval.progress import plan_of
from retrieval.runtime import PROCESS_INDEX, WorkerLost, check_address_space, configure
from retrieval.taxonomy import Taxonomy, read_train_and_taxonomy
from retrieval.tickets import InputProblems, LabelledTicket, Ticket, read_val

if TYPE_CHECKING:
    from finetune.language_model import LanguageModel
    from finetune.remote.remote_model import RemoteModel
    from retrieval.encoder import Encoder, SentenceEncoder
    from retrieval.gate import Gate
    from retrieval.intent_classifier import IntentClassifier

LOADING = 0.3  # share of the time budget by which downloads of the encoder, or of what a finished run needs, end
ANSWERING = 0.95  # share by which a finished run stops writing replies


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; the one place where errors become sentences."""
    settings, verbosity = parse(arguments)
    try:
        check_address_space()
        with display(verbosity=verbosity):
            run(settings, verbose=verbosity == Verbosity.VERBOSE)
    except InputProblems as error:
        return _failed(2, *error.problems, f"{len(error.problems)} problem(s) found; nothing was written")
    except (ModelUnavailable, WorkerLost) as error:
        return _failed(1, f"error: {error}")
    except OSError as error:
        return _failed(1, f"error: {error.filename or 'a file'} cannot be read or written: {error.strerror or error}")
    except MemoryError as error:
        return _failed(1, f"error: {memory_sentence(error)}")
    except KeyboardInterrupt:
        return _failed(130, "stopped")
    return 0


def _failed(status: int, *sentences: str) -> int:
    """Prints what went wrong, in the first process alone; the others wait a moment: a launcher kills all when one exits."""
    if PROCESS_INDEX:
        time.sleep(3.0)
    else:
        print(*sentences, sep="\n", file=sys.stderr)
    return status


def run(settings: Settings, *, verbose: bool = False) -> None:
    """Trains and answers, or answers again; `verbose` lets the libraries print their warnings.

    Raises:
        InputProblems: something is wrong with what the user gave; nothing was written.
        ModelUnavailable: a model that was named cannot be loaded.
        WorkerLost: another process of the run is gone.
        MemoryError: embedding does not fit into memory.
        OSError: a file cannot be read or written.
    """
    if settings.train is None:
        answer_again(settings, verbose=verbose)
    else:
        train_and_answer(settings, verbose=verbose)


def train_and_answer(settings: Settings, *, verbose: bool) -> None:
    """The stages of a run in their order; raises as `run` does."""
    from finetune.run_record import record_of, summary_lines, training_record, warnings_of
    from finetune.run_writer import write_run
    from finetune.support_model import SupportModel

    clock = Clock()
    with clock.stage("read", f"read {settings.train} and {settings.val}"):
        rows, tickets, taxonomy = read_input(settings)
    expect(plan_of(len(rows), len(tickets), model=settings.base_model != "none"))
    with clock.stage("start", f"{len(rows)} train rows, {len(tickets)} tickets; start the libraries, load the encoder"):
        threads, encoder = start(settings, verbose=verbose)
    with clock.stage("index", "embed and index the train rows, fit the intent classifier"):
        classifier, label_gates = fit_classifier_on(rows, encoder, taxonomy, seed=settings.seed)
    model = fine_tune(settings, classifier, encoder, clock)
    remote = try_remote(settings, classifier, encoder, tickets, clock)
    training = training_record(model, classifier, clock)
    support = SupportModel(encoder, classifier, model, remote)
    predictions = support.answer(tickets, clock=clock)
    if PROCESS_INDEX:  # the first process writes for all
        return
    with clock.stage("check", "look for input that is probably wrong"):
        warnings = [*warnings_of(settings, encoder, support, tickets, predictions), *masking_warnings(rows)]
    record = record_of(
        settings,
        encoder,
        support,
        label_gates=label_gates,
        taxonomy=taxonomy,
        threads=threads,
        training=training,
        warnings=warnings,
    )
    write_run(settings, record, support, predictions, clock)
    print_summary(predictions, facts=summary_lines(settings, record, support), warnings=warnings)


def answer_again(settings: Settings, *, verbose: bool) -> None:
    """Answers with the finished run in the weights folder, which is only read; raises as `run` does."""
    from finetune.run_record import summary_lines
    from finetune.run_writer import write_result
    from finetune.support_model import SupportModel, expect_answers

    clock = Clock()
    with clock.stage("read", f"read {settings.val}, check the run in {settings.weights}"):
        tickets = read_tickets(settings)
    with clock.stage("start", f"{len(tickets)} tickets; start the libraries, load the run"):
        deadlines = {"loaded_by": settings.deadline(LOADING), "answered_by": settings.deadline(ANSWERING)}
        support = SupportModel.load(settings.weights, **deadlines, verbose=verbose)
    expect_answers(support, tickets)
    predictions = support.answer(tickets, clock=clock)
    if PROCESS_INDEX:
        return
    with clock.stage("write", f"write {settings.output}"):
        write_result(settings.output, support.record, predictions)
    print_summary(predictions, facts=summary_lines(settings, support.record, support), warnings=support.limits())


def read_input(settings: Settings) -> tuple[tuple[LabelledTicket, ...], tuple[Ticket, ...], Taxonomy | None]:
    """Reads the files, checks all settings, makes the weights folder.

    Raises:
        InputProblems: with all that is wrong.
    """
    from retrieval.encoder import encoder_problems

    if settings.train is None:
        raise ValueError("found no train rows, expected a file")
    columns, column_problems = parse_columns(settings.columns)
    rows, taxonomy, train_problems = read_train_and_taxonomy(settings.train, settings.taxonomy, columns=columns)
    tickets, val_problems = read_val(settings.val, columns=columns)
    paths = {"train": settings.train, "val": settings.val, "weights": settings.weights, "output": settings.output}
    problems = [*column_problems, *train_problems, *val_problems, *path_problems(**paths, taxonomy=settings.taxonomy)]
    problems += [*base_problems(settings.base_model, settings.weights), *encoder_problems(settings.encoder)]
    problems += remote_problems(settings.remote_model)
    if problems:
        raise InputProblems(name_the_file(problems, settings.origins))
    try:
        settings.weights.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputProblems([f"--weights {settings.weights}: cannot be made ({error.strerror})"]) from error
    return rows, tickets, taxonomy


def read_tickets(settings: Settings) -> tuple[Ticket, ...]:
    """Reads the tickets, checks all settings and the run in the weights folder, of which nothing is loaded yet.

    Raises:
        InputProblems: with all that is wrong.
    """
    from finetune.support_model import run_problems

    columns, problems = parse_columns(settings.columns)
    tickets, val_problems = read_val(settings.val, columns=columns)
    paths = path_problems(train=None, val=settings.val, weights=settings.weights, output=settings.output)
    problems = [*problems, *val_problems, *paths, *training_only_problems(settings), *run_problems(settings.weights)]
    if problems:
        raise InputProblems(name_the_file(problems, settings.origins))
    return tickets


def start(settings: Settings, *, verbose: bool) -> "tuple[int, SentenceEncoder]":
    """Starts the libraries and loads the encoder; returns the number of threads, too.

    Raises:
        ModelUnavailable: the encoder cannot be had or loaded.
    """
    threads = configure(verbose=verbose)
    from retrieval.encoder import load_encoder

    encoder = load_encoder(settings.encoder, deadline=settings.deadline(LOADING))
    say_more(f"encoder {encoder.name} ({encoder.files.source}): {encoder.files.path}")
    return threads, encoder


def fit_classifier_on(
    rows: Sequence[LabelledTicket], encoder: "Encoder", taxonomy: Taxonomy | None, *, seed: int
) -> "tuple[IntentClassifier, tuple[Gate, ...]]":
    """Embeds the train rows, tests the label names and descriptions, fits the classifier."""
    from retrieval.intent_classifier import fit_classifier
    from retrieval.label_names import embed_and_test_labels

    train_set, gates = embed_and_test_labels(rows, encoder, taxonomy, seed=seed)
    return fit_classifier(train_set, with_names=gates[-1].passed), gates


def fine_tune(settings: Settings, classifier: "IntentClassifier", encoder: "Encoder", clock: Clock) -> "LanguageModel | None":
    """Fine-tunes the best base that this machine can run and measures what it is good for; None with --base-model none.

    Raises:
        ModelUnavailable: a base that was named cannot be loaded.
        WorkerLost: another process of the run is gone.
    """
    if settings.base_model == "none":
        return None
    from finetune.language_model import fit_language_model

    with clock.stage("fine-tune", "find a base model and fine-tune it"):
        model = fit_language_model(settings, classifier, encoder)
    leave_out(*model.left_out)
    if model.base:
        say_more(f"base {model.base.name} ({model.base.source}): {model.base.path}")
    return model


def try_remote(
    settings: Settings, classifier: "IntentClassifier", encoder: "Encoder", tickets: Sequence[Ticket], clock: Clock
) -> "RemoteModel | None":
    """Tries the remote model on train rows; None unless one is named, and then nothing leaves this machine."""
    if settings.remote_model == NONE:
        return None
    from finetune.remote.remote_model import try_remote_model

    where = f"{settings.remote_model} at {endpoint_of(settings.remote_model).host}"
    with clock.stage(
        "remote", f"try {where} on train rows, which are sent there, for {settings.remote_budget_usd:g} USD at most"
    ):
        return try_remote_model(settings, classifier, encoder, tickets)


if __name__ == "__main__":
    sys.exit(main())
