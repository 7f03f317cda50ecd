"""Learns from about thirty labelled support tickets of one product and answers new ones.

    python run.py --train train.jsonl --val val.jsonl --weights DIR --output results.json

Reads, embeds and indexes, fine-tunes, answers, writes: this file calls the stages in their order, every decision is made in the
modules it calls. Heavy imports stand inside of functions: `--help` and a mistyped path should not wait for torch.

Exit status: 0 done; 1 a model that was named cannot be loaded, a file cannot be written, or memory ran out; 2 something is
wrong with the input, all of it reported at once; 130 stopped by Ctrl-C.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.base_selection import base_problems
from retrieval.columns import parse_columns
from retrieval.command_line import Settings, parse
from retrieval.console import Clock, Verbosity, display, elapsed, expect, print_summary, say_more
from retrieval.defaults_file import name_the_file
from retrieval.errors import ModelUnavailable, memory_sentence
from retrieval.files import write_json, write_jsonl
from retrieval.paths import path_problems
from retrieval.progress import plan_of
from retrieval.run_files import PREDICTIONS, kept_files, publish, versions
from retrieval.runtime import PROCESS_INDEX, WorkerLost, check_address_space, configure
from retrieval.tickets import InputProblems, LabelledTicket, Ticket, input_warnings, read_train, read_val

if TYPE_CHECKING:
    from finetune.language_model import LanguageModel
    from finetune.remote.remote_model import RemoteModel
    from retrieval.encoder import Encoder, SentenceEncoder
    from retrieval.gate import Gate
    from retrieval.intent_classifier import IntentClassifier
    from retrieval.prediction import Prediction, Reply
    from retrieval.retrieve import Retrieval

LOADING_ENCODER = 0.3  # of the time budget is gone when a download of the encoder ends


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
    """Prints what went wrong, in the first process alone; the others wait a moment, for a launcher stops all with one."""
    if PROCESS_INDEX:
        time.sleep(3.0)
    else:
        print(*sentences, sep="\n", file=sys.stderr)
    return status


def run(settings: Settings, *, verbose: bool = False) -> None:
    """The stages in their order; `verbose` lets the libraries print their warnings.

    Raises:
        InputProblems: something is wrong with what the user gave; nothing was written.
        ModelUnavailable: a model that was named cannot be loaded.
        WorkerLost: another process of the run is gone.
    """
    from retrieval.encoder import encoder_record

    clock = Clock()
    with clock.stage("read", f"read {settings.train} and {settings.val}"):
        rows, tickets = read_input(settings)
    expect(plan_of(len(rows), len(tickets), model=settings.base_model != "none"))
    with clock.stage("start", f"{len(rows)} train rows, {len(tickets)} tickets; start the libraries, load the encoder"):
        threads, encoder = start(settings, verbose=verbose)
    with clock.stage("index", "embed and index the train rows, fit the intent classifier"):
        classifier, names_gate = fit_classifier_on(rows, encoder, seed=settings.seed)
    model = fine_tune(settings, classifier, encoder, clock)
    remote = try_remote(settings, classifier, encoder, tickets, clock)
    training = training_record(model, classifier, clock)
    predictions = answer(tickets, encoder, classifier, model, clock, remote=remote)
    limits = model.limits() if model else ()
    if PROCESS_INDEX:  # the first process writes for all
        return
    with clock.stage("check", "look for input that is probably wrong"):
        warnings = [*encoder.warnings, *warnings_of(classifier, tickets), *(model.warnings if model else ()), *limits]
        warnings += kept_warnings(settings.weights, model)
        warnings += remote.warnings if remote else ()
    record = {
        **settings.record(),
        # Another encoder was wanted, and may be there next time; a remote model may answer otherwise at any time.
        "deterministic": not (limits or encoder.warnings or (remote and remote.varies)),
        "threads": threads,
        "encoder": encoder_record(encoder.files),
        **(model.record() if model else {"base": {"name": "none"}, "losses": [], "processes": 1}),
        **(remote.record() if remote else {}),
        "training": training,
        "gates": [asdict(gate) for gate in (names_gate, *(model.gates if model else ()), *(remote.gates if remote else ()))],
        "warnings": warnings,
    }
    write(settings, record, predictions, partial(save_parts, classifier, model, record), clock)
    print_summary(predictions, facts=facts(settings, record, classifier, remote), warnings=warnings)


def read_input(settings: Settings) -> tuple[tuple[LabelledTicket, ...], tuple[Ticket, ...]]:
    """Reads both files, checks all settings, makes the weights folder.

    Raises:
        InputProblems: with all that is wrong.
    """
    from retrieval.encoder import encoder_problems

    columns, column_problems = parse_columns(settings.columns)
    rows, train_problems = read_train(settings.train, columns=columns)
    tickets, val_problems = read_val(settings.val, columns=columns)
    paths = {"train": settings.train, "val": settings.val, "weights": settings.weights, "output": settings.output}
    problems = [*column_problems, *train_problems, *val_problems, *path_problems(**paths)]
    problems += [*base_problems(settings.base_model, settings.weights), *encoder_problems(settings.encoder)]
    if settings.remote_model != "none":
        from finetune.remote.endpoint import remote_problems

        problems += remote_problems(settings.remote_model)
    if problems:
        raise InputProblems(name_the_file(problems, settings.origins))
    try:
        settings.weights.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputProblems([f"--weights {settings.weights}: cannot be made ({error.strerror})"]) from error
    return rows, tickets


def start(settings: Settings, *, verbose: bool) -> "tuple[int, SentenceEncoder]":
    """Starts the libraries and loads the encoder; returns the number of threads, too.

    Raises:
        ModelUnavailable: the encoder cannot be had or loaded.
    """
    threads = configure(verbose=verbose)
    from retrieval.encoder import load_encoder

    encoder = load_encoder(settings.encoder, deadline=settings.deadline(LOADING_ENCODER))
    say_more(f"encoder {encoder.name} ({encoder.files.source}): {encoder.files.path}")
    return threads, encoder


def fit_classifier_on(rows: Sequence[LabelledTicket], encoder: "Encoder", *, seed: int) -> "tuple[IntentClassifier, Gate]":
    """Embeds the train rows, tests the label names, fits the classifier."""
    from retrieval.intent_classifier import fit_classifier
    from retrieval.label_names import label_names_gate
    from retrieval.train_set import embed_train_set

    train_set = embed_train_set(rows, encoder)
    names_gate = label_names_gate(train_set, seed=seed)
    return fit_classifier(train_set, with_names=names_gate.passed), names_gate


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
    if model.base:
        say_more(f"base {model.base.name} ({model.base.source}): {model.base.path}")
    return model


def try_remote(
    settings: Settings, classifier: "IntentClassifier", encoder: "Encoder", tickets: Sequence[Ticket], clock: Clock
) -> "RemoteModel | None":
    """Tries the remote model on train rows; None unless one is named, and then nothing leaves this machine."""
    if settings.remote_model == "none":
        return None
    from finetune.remote.endpoint import endpoint_of
    from finetune.remote.remote_model import try_remote_model

    where = f"{settings.remote_model} at {endpoint_of(settings.remote_model).host}"
    with clock.stage(
        "remote", f"try {where} on train rows, which are sent there, for {settings.remote_budget_usd:g} USD at most"
    ):
        return try_remote_model(settings, classifier, encoder, tickets)


def training_record(model: "LanguageModel | None", classifier: "IntentClassifier", clock: Clock) -> dict[str, Any]:
    """The `training` object of the record; without completion losses, the two losses are those of the classifier."""
    from retrieval.cross_validation import INTENT_LOSS, intent_losses

    if model and (measured := model.losses()):
        losses, kind = measured
    else:
        with clock.stage("losses", "measure the intent classifier's losses"):
            losses, kind = intent_losses(classifier), INTENT_LOSS
    run = model.tuned.run if model and model.tuned else None
    figures = {"steps": run.steps if run else 0, "train_loss": losses[0], "val_loss": losses[1]}
    return figures | {"wall_clock_s": round(elapsed(), 3), "loss": kind}


def answer(
    tickets: Sequence[Ticket],
    encoder: "Encoder",
    classifier: "IntentClassifier",
    model: "LanguageModel | None",
    clock: Clock,
    *,
    remote: "RemoteModel | None" = None,
) -> "tuple[Prediction, ...]":
    """Classifies and answers the tickets."""
    from retrieval.compose import with_composed_replies
    from retrieval.prediction import predictions
    from retrieval.retrieve import retrieve

    with clock.stage("embed", "embed the tickets"):
        vectors = encoder.encode([ticket.text for ticket in tickets])
    with clock.stage("answer", "classify the tickets, choose exemplars, answer"):
        scorer = model.intent_scorer() if model else None
        if remote:
            found = remote.retrieve(tickets, vectors, local=scorer)
        else:
            found = retrieve(classifier, tickets, vectors, lm_scorer=scorer)
        found = with_composed_replies(found, vectors, encoder)
        replies = replies_to(found, model, remote)
    if model and scorer:
        model.cut_short += scorer.limits
    return predictions(found, replies, seconds=clock.seconds["embed"] + clock.seconds["answer"])


def replies_to(
    found: "Sequence[Retrieval]", model: "LanguageModel | None", remote: "RemoteModel | None"
) -> "tuple[Reply, ...]":
    """The replies of the remote model where its gate lets it write, the local ones for the rest."""
    from retrieval.prediction import copy_reply

    written = remote.write_replies(found) if remote else {}
    rest = [one for one in found if one.ticket.id not in written]
    local = (model.write_replies(rest) if model and rest else None) or [copy_reply(one) for one in rest]
    written |= {one.ticket.id: reply for one, reply in zip(rest, local, strict=True)}
    return tuple(written[one.ticket.id] for one in found)


def warnings_of(classifier: "IntentClassifier", tickets: Sequence[Ticket]) -> list[str]:
    """Warnings about input that is valid and looks wrong."""
    from retrieval.train_set import near_duplicates

    return [*input_warnings(classifier.train_set.rows, tickets), *near_duplicates(classifier.train_set)]


def kept_warnings(weights: Path, model: "LanguageModel | None") -> list[str]:
    """Which files of somebody else stay where the adapter's own would be, a sentence each."""
    kept = kept_files(weights) if model and model.has_adapter else ()
    why = "was not left there by a run of this program: it stays, and the adapter's own is not written"
    return [f"{weights / name} {why}" for name in kept]


def save_parts(classifier: "IntentClassifier", model: "LanguageModel | None", record: Mapping[str, Any], folder: Path) -> None:
    """Writes the train set and, if there is one, the adapter with its model card into a folder."""
    from retrieval.train_set_files import save_train_set

    save_train_set(classifier.train_set, classifier.ticket_index, folder)
    if model and model.has_adapter:
        from finetune.model_card import save_model_card

        model.save(folder)
        train_set = classifier.train_set
        save_model_card(folder, record, rows=len(train_set.rows), intents=len(train_set.intents))


def write(
    settings: Settings, record: dict[str, Any], predictions: "Sequence[Prediction]", save: Callable[[Path], None], clock: Clock
) -> None:
    """Writes the weights folder, and the result last: where it stands, all else does."""
    with (
        clock.stage("write", f"write {settings.weights} and {settings.output}"),
        tempfile.TemporaryDirectory(dir=settings.weights, prefix=".unfinished-") as name,
    ):
        save(Path(name))
        write_jsonl(Path(name) / PREDICTIONS, (prediction.explanation() for prediction in predictions))
        times = {"seconds": clock.seconds, "wall_clock_s": round(elapsed(), 3)}
        publish(Path(name), settings.weights, record | {"versions": versions()} | times)
    training = {key: value for key, value in record["training"].items() if key != "loss"}
    result = {"training": training, "predictions": [prediction.result() for prediction in predictions]}
    write_json(settings.output.resolve(), result)  # through a link, not in its place


def facts(
    settings: Settings, record: dict[str, Any], classifier: "IntentClassifier", remote: "RemoteModel | None"
) -> list[tuple[str, str]]:
    """The lines of the summary that do not come from the predictions."""
    train_set, training = classifier.train_set, record["training"]
    losses = f"train loss {training['train_loss']:.3f}, out-of-fold loss {training['val_loss']:.3f}"
    return [
        ("train", f"{len(train_set.rows)} rows, {len(train_set.intents)} intents"),
        ("base", record["base"]["name"]),
        ("training", f"{training['steps']} steps, {losses} ({training['loss']})"),
        *((f"gate: {gate['name']}", f"{gate['decision']} ({gate['reason']})") for gate in record["gates"]),
        *([("remote", remote.summary())] if remote else []),
        ("result", str(settings.output)),
        ("weights", str(settings.weights)),
        ("time", f"{elapsed():.0f} s"),
    ]


if __name__ == "__main__":
    sys.exit(main())
