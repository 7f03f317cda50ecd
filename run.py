"""Learns a support train_set from about thirty labelled tickets and answers new ones.

    python run.py --train train.jsonl --val val.jsonl --weights DIR --output results.json

Parses, checks, calls the stages in their order, writes the results; every decision is made in the modules it calls. Heavy
imports stand inside of functions: `--help` and a mistyped path should not wait for torch.

Exit status: 0 done; 1 a model that was named cannot be loaded, or a file cannot be written; 2 something is wrong with the
input, all of it said at once.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.base_names import base_problems
from retrieval.console import STARTED, Clock, elapsed
from retrieval.encoder import Encoder, ModelUnavailable, SentenceEncoder, encoder_problems
from retrieval.paths import RUN_FILES, path_problems, remove_adapter
from retrieval.runtime import RANK, WorkerLost, configure, deterministic_kernels
from retrieval.tickets import InputProblems, LabelledTicket, Ticket, input_warnings, read_train, read_val

if TYPE_CHECKING:
    from finetune.base_model import BaseModel
    from finetune.distributed import Processes
    from finetune.fit import FineTuned
    from retrieval.gate import Gate
    from retrieval.intent_classifier import IntentClassifier
    from retrieval.results import Answer

LOADING, EVIDENCE, TRAINING, WRITING = 0.4, 0.5, 0.75, 0.95  # shares of the time budget at which a stage is timed_out


@dataclass(frozen=True, slots=True)
class Settings:
    """The command line."""

    train: Path
    val: Path
    weights: Path
    output: Path
    base_model: str
    encoder: str | None
    seed: int
    time_budget_s: float

    def deadline(self, share: float) -> float:
        """`time.monotonic()` when so much of the budget is gone, counted from the start of the process."""
        return STARTED + share * self.time_budget_s


@dataclass(frozen=True, slots=True)
class Learnt:
    """What was learnt from the train rows: the intent_scores, and the language model if there is one, or the reasons why
    not."""

    classifier: "IntentClassifier"
    base: "BaseModel | None" = None
    tuned: "FineTuned | None" = None
    reasons: tuple[str, ...] = ()
    out_of_memory: bool = False
    processes: "Processes | None" = None

    @property
    def timeouts(self) -> tuple[str, ...]:
        """What cut learning short in a way that a second run may not repeat, a sentence each."""
        timed_out = self.tuned is not None and self.tuned.timed_out
        short = ("memory ran out while loading or tuning",) if self.out_of_memory else ()
        return (*(("the time budget cut the training or its measuring short",) if timed_out else ()), *short)


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    found = argparse.ArgumentParser(
        prog="run.py", description="Learns a support train_set from about thirty labelled tickets and answers new ones."
    )
    add = found.add_argument
    add(
        "--train",
        type=Path,
        required=True,
        metavar="FILE",
        help="JSONL with id, ticket, intent, ideal_reply: what to learn from",
    )
    add("--val", type=Path, required=True, metavar="FILE", help="JSONL with id, ticket: what to answer")
    add("--weights", type=Path, required=True, metavar="DIR", help="folder for adapter, index and records; made if missing")
    add("--output", type=Path, required=True, metavar="FILE", help="the result, one JSON object; replaced if it is there")
    base = "language model: auto (what the machine carries), ORG/NAME[@REVISION] on a hub, a checkpoint folder, a .gguf file"
    add("--base-model", default="auto", metavar="BASE", help=f"{base}, or none for retrieval alone (default: auto)")
    add(
        "--encoder",
        metavar="ENCODER",
        help="sentence-transformers folder or hub id (default: the embedded all-MiniLM-L6-v2)",
    )
    add("--seed", type=_seed, default=0, help="the same seed gives the same answers on one machine (default: 0)")
    budget = "seconds from the start of the process; training and writing are cut short to keep it (default: 1500)"
    add("--time-budget-s", type=_seconds, default=1500.0, metavar="S", help=budget)
    return found


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"found {text}, expected a whole number from 0 to 4294967295")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"found {text}, expected a number of seconds above 0")
    return seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; the one place where errors become sentences."""
    settings = Settings(**vars(parser().parse_args(arguments)))
    try:
        run(settings)
    except InputProblems as error:
        return _failed(2, *error.problems, f"{len(error.problems)} problem(s) found; nothing was written")
    except (ModelUnavailable, WorkerLost) as error:
        return _failed(1, f"error: {error}")
    except OSError as error:
        return _failed(1, f"error: {error.filename or 'a file'} cannot be read or written: {error.strerror or error}")
    except KeyboardInterrupt:
        return _failed(130, "stopped; no result was written")
    return 0


def _failed(status: int, *said: str) -> int:
    """Says what went wrong, in the first process alone; the others wait a moment, for a launcher stops all with one."""
    if RANK:
        time.sleep(3.0)
    else:
        print(*said, sep="\n", file=sys.stderr)
    return status


def run(settings: Settings) -> None:
    """The stages in their order.

    Raises:
        InputProblems: something is wrong with what the user gave; nothing was written.
        ModelUnavailable: a model that was named cannot be loaded.
        WorkerLost: another process of the run is gone.
    """
    clock = Clock()
    with clock.stage("read", f"read {settings.train} and {settings.val}"):
        rows, tickets = read_input(settings)
    with clock.stage("start", f"{len(rows)} train rows, {len(tickets)} tickets; start the libraries, load the encoder"):
        threads = configure()
        encoder = SentenceEncoder(settings.encoder)
    classifier, names = index(settings, rows, encoder, clock)
    learnt = learn(settings, classifier, encoder, clock)
    training = training_figures(learnt, clock)
    answers, timeouts = answer(settings, tickets, encoder, learnt, clock)
    if RANK:  # the first process writes for all
        return
    with clock.stage("check", "look for odd rows"):
        warnings = [
            *input_warnings_of(classifier, tickets),
            *learnt.reasons,
            *(learnt.tuned.warnings if learnt.tuned else ()),
            *timeouts,
        ]
    record = {
        "settings": {key: str(value) if isinstance(value, Path) else value for key, value in asdict(settings).items()},
        "deterministic": not timeouts,
        "threads": threads,
        "encoder": {"name": encoder.name, "digest": encoder.digest},
        **describe(learnt),
        "training": training,
        "gates": [asdict(gate) for gate in (names, *(learnt.tuned.gates if learnt.tuned else ()))],
        "warnings": warnings,
    }
    write(settings, record, answers, learnt, clock)
    summarise(settings, record, answers, learnt)


def read_input(settings: Settings) -> tuple[tuple[LabelledTicket, ...], tuple[Ticket, ...]]:
    """Reads both files, checks all settings, makes the weights folder.

    Raises:
        InputProblems: with all that is wrong.
    """
    rows, train_problems = read_train(settings.train)
    tickets, val_problems = read_val(settings.val)
    paths = {"train": settings.train, "val": settings.val, "weights": settings.weights, "output": settings.output}
    problems = [*train_problems, *val_problems, *path_problems(**paths)]
    problems += [*base_problems(settings.base_model, settings.weights), *encoder_problems(settings.encoder)]
    if problems:
        raise InputProblems(problems)
    try:
        settings.weights.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputProblems([f"--weights {settings.weights}: cannot be made ({error.strerror})"]) from error
    return rows, tickets


def index(
    settings: Settings, rows: Sequence[LabelledTicket], encoder: Encoder, clock: Clock
) -> "tuple[IntentClassifier, Gate]":
    """Embeds the train_set, gates the intent names, fits the intent_scores."""
    from retrieval.intent_classifier import fit_classifier
    from retrieval.label_names import label_names_gate
    from retrieval.train_set import embed_train_set

    with clock.stage("index", "embed and index the train rows, fit the intent_scores"):
        train_set = embed_train_set(rows, encoder)
        names = label_names_gate(train_set, seed=settings.seed)
        return fit_classifier(train_set, with_names=names.passed), names


def learn(settings: Settings, classifier: "IntentClassifier", encoder: Encoder, clock: Clock) -> Learnt:
    """Finds a base that this machine carries, trains and judges its adapter; `auto` may end at no base, with the reasons.

    Raises:
        ModelUnavailable: a base that was named cannot be loaded.
        WorkerLost: another process of the run is gone.
    """
    if settings.base_model == "none":
        return Learnt(classifier)
    from finetune.distributed import join
    from finetune.fallback import fit_with_fallback
    from finetune.fit import Deadlines

    with clock.stage("tune", "find a base and tune it"):
        deterministic_kernels()
        processes = join(patience_s=settings.time_budget_s)
        deadlines = Deadlines(*(settings.deadline(share) for share in (LOADING, EVIDENCE, TRAINING)))
        found = fit_with_fallback(
            settings.base_model, classifier, encoder, seed=settings.seed, deadlines=deadlines, processes=processes
        )
    return Learnt(classifier, found.base, found.tuned, found.reasons, found.out_of_memory, processes)


def training_figures(learnt: Learnt, clock: Clock) -> dict[str, Any]:
    """The `training` object of the result; without an adapter, the losses are those of the intents."""
    from retrieval.cross_validation import intent_losses

    if learnt.tuned and learnt.tuned.tuning:
        tuning = learnt.tuned.tuning
        steps, train_loss, val_loss = tuning.steps, tuning.train_loss, learnt.tuned.val_loss
    else:
        with clock.stage("losses", "hold rows out to measure the intents' losses"):
            steps, (train_loss, val_loss) = 0, intent_losses(learnt.classifier)
    return {"steps": steps, "train_loss": train_loss, "val_loss": val_loss, "wall_clock_s": round(elapsed(), 3)}


def answer(
    settings: Settings, tickets: Sequence[Ticket], encoder: Encoder, learnt: Learnt, clock: Clock
) -> "tuple[tuple[Answer, ...], list[str]]":
    """Answers the tickets, with the language model where there is one; says what cut the run short, if anything did."""
    from retrieval.answered import answer_by_copying, timed

    with clock.stage("embed", "embed the tickets"):
        vectors = encoder.encode([ticket.text for ticket in tickets])
    with clock.stage("answer", "score on intents, choose exemplars, answer"):
        if learnt.base and learnt.tuned and learnt.processes:
            from finetune.answering import answer_with

            deadline, tuned = settings.deadline(WRITING), learnt.tuned
            found = answer_with(
                learnt.classifier, tickets, vectors, learnt.base, tuned, deadline=deadline, processes=learnt.processes
            )
        else:
            found = answer_by_copying(learnt.classifier, tickets, vectors)
    timeouts = [*learnt.timeouts, *found.timeouts]
    if timeouts:
        timeouts.append(
            f"a second run may answer otherwise: the time budget of {settings.time_budget_s:g} s, or memory, decided"
        )
    return timed(found, clock.seconds["embed"] + clock.seconds["answer"]), timeouts


def input_warnings_of(classifier: "IntentClassifier", tickets: Sequence[Ticket]) -> list[str]:
    """Warnings about input that is valid and looks wrong."""
    from retrieval.train_set import near_duplicates

    return [*input_warnings(classifier.train_set.rows, tickets), *near_duplicates(classifier.train_set)]


def describe(learnt: Learnt) -> dict[str, Any]:
    """What a language model's part of the record says: the base, where the same weights are, and how it was tuned."""
    if learnt.base is None:
        return {"base": {"name": "none"}, "losses": [], "processes": 1}
    keys = ("name", "source", "revision", "digest", "parameters", "max_length", "precision")
    tuning = learnt.tuned.tuning if learnt.tuned else None
    return {
        "base": {key: getattr(learnt.base, key) for key in keys},
        "losses": list(tuning.losses) if tuning else [],
        "fit": asdict(tuning.fit) if tuning else None,
        "scale": learnt.tuned.scale if learnt.tuned else None,
        "processes": learnt.processes.size if learnt.processes else 1,
    }


def write(settings: Settings, record: dict[str, Any], answers: "Sequence[Answer]", learnt: Learnt, clock: Clock) -> None:
    """Writes the weights folder, and the result last: where it stands, all else does."""
    from retrieval.files import write_json, write_jsonl
    from retrieval.results import digests, versions
    from retrieval.store import save_train_set

    with clock.stage("write", f"write {settings.weights} and {settings.output}"):
        remove_adapter(settings.weights)
        if learnt.base and learnt.tuned and learnt.tuned.model:
            from finetune.artifacts import save_adapter

            save_adapter(learnt.tuned.model, learnt.base, settings.weights, scale=learnt.tuned.scale)
        save_train_set(learnt.classifier.train_set, learnt.classifier.ticket_index, settings.weights)
        write_jsonl(settings.weights / "predictions.jsonl", (answer.explanation() for answer in answers))
    digest = digests(settings.weights, [name for name in RUN_FILES if name != "run.json"])
    record |= {"versions": versions(), "sha256": digest, "seconds": clock.seconds, "wall_clock_s": round(elapsed(), 3)}
    write_json(settings.weights / "run.json", record)
    result = {"training": record["training"], "predictions": [answer.prediction() for answer in answers]}
    write_json(settings.output.resolve(), result)  # through a link, not in its place


def summarise(settings: Settings, record: dict[str, Any], answers: "Sequence[Answer]", learnt: Learnt) -> None:
    """Prints the table."""
    from retrieval.summary import print_summary

    figures = "{steps} steps, train loss {train_loss:.3f}, held-out loss {val_loss:.3f}".format(**record["training"])
    facts = [("base", record["base"]["name"]), ("training", figures)]
    facts += [(f"gate: {gate['name']}", f"{gate['decision']} ({gate['why']})") for gate in record["gates"]]
    facts += [("result", str(settings.output)), ("weights", str(settings.weights)), ("time", f"{elapsed():.0f} s")]
    print_summary(answers, learnt.classifier.train_set, facts=facts, warnings=record["warnings"])


if __name__ == "__main__":
    sys.exit(main())
