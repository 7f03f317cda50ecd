"""Learns a support desk from about thirty labelled tickets and answers new ones.

    python run.py --train train.jsonl --val val.jsonl --weights DIR --output results.json

Parses, checks, calls the stages in their order, writes the results; every decision is made in the modules it calls. Heavy
imports stand inside of functions: `--help` and a mistyped path should not wait for torch.

Exit status: 0 done; 1 a model that was named cannot be loaded, or a file cannot be written; 2 something is wrong with the
input, all of it said at once.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.base_choice import base_problems
from retrieval.encoder import Encoder, ModelUnavailable, SentenceEncoder, encoder_problems
from retrieval.places import WRITTEN, place_problems, remove_adapter
from retrieval.progress import STARTED, Clock, elapsed
from retrieval.tickets import InputProblems, LabelledTicket, Ticket, doubts, read_train, read_val

if TYPE_CHECKING:
    from finetune.adapt import Adapted
    from finetune.base_model import BaseModel
    from retrieval.gate import Gate
    from retrieval.lookup import Lookup
    from retrieval.results import Answer
    from retrieval.voting import IntentPool

EVIDENCE, TRAINING, WRITING = 0.45, 0.75, 0.95  # shares of the time budget at which a stage is braked


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
    """What was learnt from the train rows: the votes, and the language model if there is one, or the reasons why not."""

    pool: "IntentPool"
    base: "BaseModel | None"
    adapted: "Adapted | None"
    reasons: tuple[str, ...]


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    found = argparse.ArgumentParser(
        prog="run.py", description="Learns a support desk from about thirty labelled tickets and answers new ones."
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
    base = "language model: auto (the embedded one), ORG/NAME[@REVISION] on a hub, a checkpoint folder, a .gguf file, or none"
    add("--base-model", default="auto", metavar="BASE", help=f"{base} for retrieval alone (default: auto)")
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
        print(*error.problems, f"{len(error.problems)} problem(s) found; nothing was written", sep="\n", file=sys.stderr)
        return 2
    except ModelUnavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.filename or 'a file'} cannot be read or written: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; no result was written", file=sys.stderr)
        return 130
    return 0


def run(settings: Settings) -> None:
    """The stages in their order.

    Raises:
        InputProblems: something is wrong with what the user gave; nothing was written.
        ModelUnavailable: a model that was named cannot be loaded.
    """
    clock = Clock()
    with clock.stage("read", f"read {settings.train} and {settings.val}"):
        rows, tickets = read_input(settings)
    with clock.stage("start", f"{len(rows)} train rows, {len(tickets)} tickets; start the libraries, load the encoder"):
        from retrieval.runtime import settle

        threads = settle()
        encoder = SentenceEncoder(settings.encoder)
    pool, names = index(settings, rows, encoder, clock)
    lookups = vote(pool, tickets, encoder, clock)
    learnt = learn(settings, pool, encoder, clock)
    training = training_figures(learnt, clock)
    answers, late = reply(settings, lookups, learnt, clock)
    adapted = learnt.adapted
    braked = late or (adapted is not None and adapted.braked)
    with clock.stage("check", "look for odd rows"):
        warnings = odd_rows(pool, tickets)
    warnings += [*learnt.reasons, *(adapted.warnings if adapted else ())]
    if braked:
        warnings.append(f"the time budget of {settings.time_budget_s:g} s cut the run short: a second run may answer otherwise")
    record = {
        "settings": {key: str(value) if isinstance(value, Path) else value for key, value in asdict(settings).items()},
        "deterministic": not braked,
        "threads": threads,
        "encoder": {"name": encoder.name, "digest": encoder.digest},
        "base": describe(learnt.base),
        "training": training,
        "losses": list(adapted.tuning.losses) if adapted and adapted.tuning else [],
        "gates": [asdict(gate) for gate in ((names, adapted.gate) if adapted else (names,))],
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
    places = {"train": settings.train, "val": settings.val, "weights": settings.weights, "output": settings.output}
    problems = [*train_problems, *val_problems, *place_problems(**places)]
    problems += [*base_problems(settings.base_model, settings.weights), *encoder_problems(settings.encoder)]
    if problems:
        raise InputProblems(problems)
    try:
        settings.weights.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputProblems([f"--weights {settings.weights}: cannot be made ({error.strerror})"]) from error
    return rows, tickets


def index(settings: Settings, rows: Sequence[LabelledTicket], encoder: Encoder, clock: Clock) -> "tuple[IntentPool, Gate]":
    """Embeds the desk, gates the intent names, fits the votes."""
    from retrieval.desk import embed_desk
    from retrieval.names import names_gate
    from retrieval.voting import fit_pool

    with clock.stage("index", "embed and index the train rows, fit the votes"):
        desk = embed_desk(rows, encoder)
        names = names_gate(desk, seed=settings.seed)
        return fit_pool(desk, with_names=names.passed), names


def vote(pool: "IntentPool", tickets: Sequence[Ticket], encoder: Encoder, clock: Clock) -> "tuple[Lookup, ...]":
    """Embeds the new tickets, votes on their intents, chooses their exemplars."""
    from retrieval.lookup import look_up

    with clock.stage("vote", "vote on intents, choose exemplars"):
        vectors = encoder.encode([ticket.text for ticket in tickets])
        return look_up(pool, tickets, vectors)


def learn(settings: Settings, pool: "IntentPool", encoder: Encoder, clock: Clock) -> Learnt:
    """Loads the base and trains and judges its adapter; `auto` may end at no base, with the reason.

    Raises:
        ModelUnavailable: a base that was named cannot be loaded.
    """
    if settings.base_model == "none":
        return Learnt(pool, None, None, ())
    from finetune.adapt import Deadlines, adapt
    from finetune.base_model import load_base
    from finetune.lessons import plan_for
    from retrieval.runtime import deterministic_kernels

    deterministic_kernels()

    with clock.stage("load", "load the language model"):
        try:
            base = load_base(settings.base_model)
        except ModelUnavailable as error:
            if settings.base_model != "auto":
                raise
            return Learnt(pool, None, None, (f"retrieval alone: {error}",))
    deadlines = Deadlines(*(settings.deadline(share) for share in (EVIDENCE, TRAINING)))
    with clock.stage("tune", f"tune {base.name}, on halves first"):
        adapted = adapt(pool, base, encoder, plan=plan_for(large=base.large), seed=settings.seed, deadlines=deadlines)
    return Learnt(pool, base, adapted, ())


def training_figures(learnt: Learnt, clock: Clock) -> dict[str, Any]:
    """The `training` object of the result; without an adapter, the losses are those of the intents."""
    from retrieval.heldout import intent_losses

    if learnt.adapted and learnt.adapted.tuning:
        tuning = learnt.adapted.tuning
        steps, train_loss, val_loss = tuning.steps, tuning.train_loss, learnt.adapted.val_loss
    else:
        with clock.stage("losses", "hold rows out to measure the intents' losses"):
            steps, (train_loss, val_loss) = 0, intent_losses(learnt.pool)
    return {"steps": steps, "train_loss": train_loss, "val_loss": val_loss, "wall_clock_s": round(elapsed(), 3)}


def reply(settings: Settings, lookups: "Sequence[Lookup]", learnt: Learnt, clock: Clock) -> "tuple[tuple[Answer, ...], bool]":
    """Writes or copies the replies; says whether the deadline struck."""
    from retrieval.reply import asked, copy_reply
    from retrieval.results import Answer

    questions = [asked(found) for found in lookups]
    replies, complete = {question.row_id: copy_reply(question) for question in questions}, True
    base, adapted = learnt.base, learnt.adapted
    with clock.stage("reply", "answer the tickets"):
        if base and adapted and adapted.model and adapted.gate.passed:
            from finetune.replies import write_replies

            deadline = settings.deadline(WRITING)
            replies, complete = write_replies(
                questions, adapted.model, base, adapted.writer, room=adapted.room, deadline=deadline
            )
    share = 1000 * clock.seconds["vote"] / len(lookups)
    answers = (Answer(found, replies[found.ticket.id], share + 1000 * replies[found.ticket.id].seconds) for found in lookups)
    return tuple(answers), not complete


def odd_rows(pool: "IntentPool", tickets: Sequence[Ticket]) -> list[str]:
    """Warnings about input that is valid and looks wrong."""
    from retrieval.desk import near_duplicates

    return [*doubts(pool.desk.rows, tickets), *near_duplicates(pool.desk)]


def describe(base: "BaseModel | None") -> dict[str, Any]:
    """The base in the record: what it is and where the same weights are."""
    if base is None:
        return {"name": "none"}
    return {key: getattr(base, key) for key in ("name", "source", "revision", "digest", "parameters", "window")}


def write(settings: Settings, record: dict[str, Any], answers: "Sequence[Answer]", learnt: Learnt, clock: Clock) -> None:
    """Writes the weights folder, and the result last: where it stands, all else does."""
    from retrieval.files import write_json, write_jsonl
    from retrieval.results import digests, versions
    from retrieval.store import save_desk

    with clock.stage("write", f"write {settings.weights} and {settings.output}"):
        remove_adapter(settings.weights)
        if learnt.base and learnt.adapted and learnt.adapted.model:
            from finetune.artifacts import save_adapter

            save_adapter(learnt.adapted.model, learnt.base, settings.weights)
        save_desk(learnt.pool.desk, learnt.pool.ticket_index, settings.weights)
        write_jsonl(settings.weights / "predictions.jsonl", (answer.explanation() for answer in answers))
    digest = digests(settings.weights, [name for name in WRITTEN if name != "run.json"])
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
    print_summary(answers, learnt.pool.desk, facts=facts, warnings=record["warnings"])


if __name__ == "__main__":
    sys.exit(main())
