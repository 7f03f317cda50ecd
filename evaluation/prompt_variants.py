"""python -m evaluation.prompt_variants: which training prompts teach the base to answer?

Takes desks (draws from labelled files, or a folder with train.jsonl, val.jsonl and val_labels.jsonl), trains one adapter per
variant and desk, answers the test rows with it, and compares each reply, as written and as a customer would get it (a draft
that fails the check replaced by a stored reply), with the ideal one and with copying the first exemplar. All variants of a
desk share its rows, vectors, votes and answering prompts. One JSON line per desk and variant goes to stdout, a table to stderr.

What it does not know: facts, where a desk has no must-mention lists; then cosine to the ideal reply is all there is.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from evaluation.desks import Trial, drawn_desks, given_desk, read_labelled
from evaluation.labels import Label
from finetune.base_model import BaseModel, load_base
from finetune.lessons import LessonPlan, make_lessons
from finetune.lora import learning_rate, passing_adapter, tune
from finetune.prompt import prompt_writer
from finetune.replies import reply_room, write_replies
from retrieval.encoder import Encoder, ModelUnavailable, SentenceEncoder
from retrieval.heldout import held_out_votes
from retrieval.lookup import look_up
from retrieval.names import names_gate
from retrieval.progress import say
from retrieval.reply import Question, Reply, asked, copy_reply
from retrieval.runtime import deterministic_kernels, settle
from retrieval.tickets import InputProblems
from retrieval.voting import IntentPool, fit_pool


@dataclass(frozen=True, slots=True)
class Variant:
    """One row of the comparison; `plan` None is the base without an adapter."""

    name: str
    plan: LessonPlan | None
    exemplar_tickets: bool = False


VARIANTS = (
    Variant("no LoRA", None),
    Variant("own always", LessonPlan(own_share=1.0)),
    Variant("own half", LessonPlan(own_share=0.5)),
    Variant("own never", LessonPlan(own_share=0.0)),
    Variant("own half, siblings else", LessonPlan(own_share=0.5, siblings=True)),
    Variant("own always, with tickets", LessonPlan(own_share=1.0), exemplar_tickets=True),
    Variant("own never, with tickets", LessonPlan(own_share=0.0), exemplar_tickets=True),
    Variant("own never, 4 epochs", LessonPlan(own_share=0.0, epochs=4)),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A desk's pool, and its test rows as questions: what all variants share."""

    name: str
    pool: IntentPool
    questions: tuple[Question, ...]
    labels: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """One variant on one desk; a list holds a figure for each test row."""

    desk: str
    variant: str
    written: list[float]  # cosine of the reply as written to the ideal one
    checked: list[float]  # cosine of the reply as a customer would get it
    replaced: int
    facts_met: int
    facts: int
    wrong_facts: int
    seconds: float


def ask(desk: Trial) -> Asked:
    """Votes on the test rows of a desk and chooses their exemplars."""
    pool = fit_pool(desk.desk, with_names=names_gate(desk.desk, seed=0).passed)
    return Asked(desk.name, pool, tuple(asked(found) for found in look_up(pool, desk.tickets, desk.vectors)), desk.labels)


def answer(desk: Asked, variant: Variant, base: BaseModel, *, seed: int) -> list[Reply]:
    """The replies of one variant to the test rows of a desk."""
    writer = prompt_writer(base.tokenizer, base.window, exemplar_tickets=variant.exemplar_tickets)
    room = reply_room(writer, desk.pool.desk.rows)
    if variant.plan is None:
        found = write_replies(desk.questions, base.model, base, writer, room=room).replies
        return [found[question.row_id] for question in desk.questions]
    lessons = make_lessons(desk.pool.desk, held_out_votes(desk.pool), writer, variant.plan, seed=seed)
    with passing_adapter(base, seed=seed) as adapted:
        tune(adapted, lessons.epochs, rate=learning_rate(base), seed=seed, label=variant.name)
        found = write_replies(desk.questions, adapted, base, writer, room=room).replies
    return [found[question.row_id] for question in desk.questions]


def measure(desk: Asked, variant: str, replies: Sequence[Reply], encoder: Encoder, seconds: float) -> Measured:
    """Compares replies with the ideal ones."""
    ideal = encoder.encode([label.ideal_reply for label in desk.labels])
    written = encoder.encode([reply.draft or reply.text for reply in replies])
    checked = encoder.encode([reply.text for reply in replies])
    pairs = list(zip(desk.labels, replies, strict=True))
    return Measured(
        desk=desk.name,
        variant=variant,
        written=[round(float(c), 4) for c in np.sum(ideal * written, axis=1)],
        checked=[round(float(c), 4) for c in np.sum(ideal * checked, axis=1)],
        replaced=sum(reply.source == "replaced" for reply in replies),
        facts_met=sum(len(label.must_mention) - len(label.missing_facts(reply.text)) for label, reply in pairs),
        facts=sum(len(label.must_mention) for label in desk.labels),
        wrong_facts=sum(len(label.wrong_facts(reply.text)) for label, reply in pairs),
        seconds=round(seconds, 1),
    )


def print_table(measured: Sequence[Measured]) -> None:
    """A line per variant, over all desks; differences to copying are paired by row."""
    table = Table(
        "variant", "desks", "rows", "cosine written", "cosine checked", "minus copy", "replaced", "facts", "s per desk"
    )
    copied = {found.desk: found.checked for found in measured if found.variant == "copy"}
    for name in dict.fromkeys(found.variant for found in measured):
        own = [found for found in measured if found.variant == name]
        differences = [a - b for found in own for a, b in zip(found.checked, copied[found.desk], strict=True)]
        error = np.std(differences) / np.sqrt(len(differences))
        table.add_row(
            *(name, str(len(own)), str(len(differences))),
            *(f"{np.mean(np.concatenate([getattr(found, which) for found in own])):.3f}" for which in ("written", "checked")),
            f"{np.mean(differences):+.3f} ± {error:.3f}",
            str(sum(found.replaced for found in own)),
            f"{sum(found.facts_met for found in own)}/{sum(found.facts for found in own)}",
            f"{np.mean([found.seconds for found in own]):.0f}",
        )
    Console(stderr=True).print(table)


def main() -> int:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.prompt_variants", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draw-from", type=Path, nargs="+", default=[], help="JSONL files of train rows to draw desks from")
    parser.add_argument(
        "--desk", type=Path, nargs="+", default=[], help="folders with train.jsonl, val.jsonl, val_labels.jsonl"
    )
    names = [variant.name for variant in VARIANTS]
    parser.add_argument("--base-model", default="auto", help="as for run.py")
    parser.add_argument("--splits", type=int, default=3, help="draws")
    parser.add_argument("--intents", type=int, default=12, help="intents per draw, two train rows each")
    parser.add_argument("--tests", type=int, default=16, help="test rows per draw")
    parser.add_argument("--max-reply-words", type=int, default=80, help="leave out rows with longer replies")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=f"of {names} (default: all)")
    options = parser.parse_args()
    settle()
    deterministic_kernels()
    measured: list[Measured] = []
    try:
        encoder, base = SentenceEncoder(None), load_base(options.base_model)
        desks = [given_desk(d / "train.jsonl", d / "val.jsonl", d / "val_labels.jsonl", encoder) for d in options.desk]
        if options.draw_from:
            rows = read_labelled(options.draw_from, max_reply_words=options.max_reply_words)
            sizes = {"splits": options.splits, "intents": options.intents, "tests": options.tests}
            desks += drawn_desks(rows, encoder, per_intent=2, **sizes)
    except InputProblems as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return 2
    except ModelUnavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for seed, desk in enumerate(map(ask, desks)):
        measured.append(measure(desk, "copy", [copy_reply(question) for question in desk.questions], encoder, 0.0))
        for variant in (variant for variant in VARIANTS if variant.name in options.only):
            began = time.monotonic()
            replies = answer(desk, variant, base, seed=seed)
            measured.append(measure(desk, variant.name, replies, encoder, time.monotonic() - began))
            say(f"{desk.name}, {variant.name}: {measured[-1].seconds:.0f} s, {measured[-1].facts_met} facts")
            print(json.dumps(asdict(measured[-1])), flush=True)
    print_table(measured)
    return 0


if __name__ == "__main__":
    sys.exit(main())
