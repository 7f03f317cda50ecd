"""Learns a support desk from about thirty labelled tickets and answers new ones.

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

from finetune.base_choice import base_problems
from retrieval.encoder import Encoder, ModelUnavailable, SentenceEncoder, encoder_problems
from retrieval.places import WRITTEN, place_problems, remove_adapter
from retrieval.progress import STARTED, Clock, elapsed
from retrieval.runtime import RANK, WorkerLost, deterministic_kernels, settle
from retrieval.tickets import InputProblems, LabelledTicket, Ticket, doubts, read_train, read_val

if TYPE_CHECKING:
    from finetune.adapt import Adapted
    from finetune.base_model import BaseModel
    from finetune.team import Team
    from retrieval.gate import Gate
    from retrieval.results import Answer
    from retrieval.voting import IntentPool

LOADING, EVIDENCE, TRAINING, WRITING = 0.4, 0.5, 0.75, 0.95  # shares of the time budget at which a stage is braked


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
    base: "BaseModel | None" = None
    adapted: "Adapted | None" = None
    reasons: tuple[str, ...] = ()
    out_of_memory: bool = False
    team: "Team | None" = None

    @property
    def brakes(self) -> tuple[str, ...]:
        """What cut learning short in a way that a second run may not repeat, a sentence each."""
        late = self.adapted is not None and self.adapted.braked
        short = ("memory ran out while loading or tuning",) if self.out_of_memory else ()
        return (*(("the time budget cut the training or its measuring short",) if late else ()), *short)


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
        threads = settle()
        encoder = SentenceEncoder(settings.encoder)
    pool, names = index(settings, rows, encoder, clock)
    learnt = learn(settings, pool, encoder, clock)
    training = training_figures(learnt, clock)
    answers, brakes = answer(settings, tickets, encoder, learnt, clock)
    if RANK:  # the first process writes for all
        return
    with clock.stage("check", "look for odd rows"):
        warnings = [*odd_rows(pool, tickets), *learnt.reasons, *(learnt.adapted.warnings if learnt.adapted else ()), *brakes]
    record = {
        "settings": {key: str(value) if isinstance(value, Path) else value for key, value in asdict(settings).items()},
        "deterministic": not brakes,
        "threads": threads,
        "encoder": {"name": encoder.name, "digest": encoder.digest},
        **describe(learnt),
        "training": training,
        "gates": [asdict(gate) for gate in (names, *(learnt.adapted.gates if learnt.adapted else ()))],
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


def learn(settings: Settings, pool: "IntentPool", encoder: Encoder, clock: Clock) -> Learnt:
    """Finds a base that this machine carries, trains and judges its adapter; `auto` may end at no base, with the reasons.

    Raises:
        ModelUnavailable: a base that was named cannot be loaded.
        WorkerLost: another process of the run is gone.
    """
    if settings.base_model == "none":
        return Learnt(pool)
    from finetune.adapt import Deadlines
    from finetune.descent import descend
    from finetune.team import join

    with clock.stage("tune", "find a base and tune it"):
        deterministic_kernels()
        team = join(patience_s=settings.time_budget_s)
        deadlines = Deadlines(*(settings.deadline(share) for share in (LOADING, EVIDENCE, TRAINING)))
        found = descend(settings.base_model, pool, encoder, seed=settings.seed, deadlines=deadlines, team=team)
    return Learnt(pool, found.base, found.adapted, found.reasons, found.out_of_memory, team)


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


def answer(
    settings: Settings, tickets: Sequence[Ticket], encoder: Encoder, learnt: Learnt, clock: Clock
) -> "tuple[tuple[Answer, ...], list[str]]":
    """Answers the tickets, with the language model where there is one; says what cut the run short, if anything did."""
    from retrieval.answered import answer_by_copying, timed

    with clock.stage("embed", "embed the tickets"):
        vectors = encoder.encode([ticket.text for ticket in tickets])
    with clock.stage("answer", "vote on intents, choose exemplars, answer"):
        if learnt.base and learnt.adapted and learnt.team:
            from finetune.answering import answer_with

            deadline, adapted = settings.deadline(WRITING), learnt.adapted
            found = answer_with(learnt.pool, tickets, vectors, learnt.base, adapted, deadline=deadline, team=learnt.team)
        else:
            found = answer_by_copying(learnt.pool, tickets, vectors)
    brakes = [*learnt.brakes, *found.brakes]
    if brakes:
        brakes.append(f"a second run may answer otherwise: the time budget of {settings.time_budget_s:g} s, or memory, decided")
    return timed(found, clock.seconds["embed"] + clock.seconds["answer"]), brakes


def odd_rows(pool: "IntentPool", tickets: Sequence[Ticket]) -> list[str]:
    """Warnings about input that is valid and looks wrong."""
    from retrieval.desk import near_duplicates

    return [*doubts(pool.desk.rows, tickets), *near_duplicates(pool.desk)]


def describe(learnt: Learnt) -> dict[str, Any]:
    """What a language model's part of the record says: the base, where the same weights are, and how it was tuned."""
    if learnt.base is None:
        return {"base": {"name": "none"}, "losses": [], "processes": 1}
    keys = ("name", "source", "revision", "digest", "parameters", "window", "precision")
    tuning = learnt.adapted.tuning if learnt.adapted else None
    return {
        "base": {key: getattr(learnt.base, key) for key in keys},
        "losses": list(tuning.losses) if tuning else [],
        "fit": asdict(tuning.fit) if tuning else None,
        "scale": learnt.adapted.scale if learnt.adapted else None,
        "processes": learnt.team.size if learnt.team else 1,
    }


def write(settings: Settings, record: dict[str, Any], answers: "Sequence[Answer]", learnt: Learnt, clock: Clock) -> None:
    """Writes the weights folder, and the result last: where it stands, all else does."""
    from retrieval.files import write_json, write_jsonl
    from retrieval.results import digests, versions
    from retrieval.store import save_desk

    with clock.stage("write", f"write {settings.weights} and {settings.output}"):
        remove_adapter(settings.weights)
        if learnt.base and learnt.adapted and learnt.adapted.model:
            from finetune.artifacts import save_adapter

            save_adapter(learnt.adapted.model, learnt.base, settings.weights, scale=learnt.adapted.scale)
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
