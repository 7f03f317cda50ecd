"""python -m evaluation.benchmarks.stored_replies: which stored reply is copied, and do two of them joined answer better?

On draws from a public set with replies, or on the sample with --split. First the weights of the exemplar ranking: the reply
that is copied against the ideal one, for the present weights and others, and word for word instead of with the ticket's own
reference number. Then replies composed of the two best rows of the predicted intent: the second joined to the first where their
scores differ by less than a gap, or only those of its sentences that `retrieval.compose` adds. Facts are those of
`retrieval.facts`; where labels name required facts (--split), these. Differences are paired, ± one standard error over test
rows.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.benchmarks.public_sets import add_draw_options, add_set_options, chosen_encoder, draw, load_set
from evaluation.command import count, new_parser, print_table, run_command, with_error
from evaluation.embeddings import CachingEncoder
from evaluation.score.grading import GRADING_ENCODER
from evaluation.score.labels import Label
from evaluation.splits import given_split
from retrieval.compose import compose, sentences
from retrieval.encoder import Encoder, Vectors, load_encoder
from retrieval.exemplars import INTENT_WEIGHT, REPLY_WEIGHT, TICKET_WEIGHT, NearRows, choose_exemplars, near_rows, tied_row
from retrieval.facts import facts
from retrieval.intent_classifier import Floats, IntentClassifier, fit_classifier, winners
from retrieval.label_names import label_names_gate
from retrieval.reference_numbers import for_ticket
from retrieval.runtime import configure
from retrieval.tickets import InputProblems, LabelledTicket
from retrieval.train_set import TrainSet

PRESENT = (TICKET_WEIGHT, REPLY_WEIGHT, INTENT_WEIGHT)
RANKINGS = (
    (1.0, 0.0, 0.1),
    (0.0, 1.0, 0.1),
    (0.5, 0.5, 0.1),
    (0.5, 0.7, 0.1),
    (0.3, 0.7, 0.02),
    (0.3, 0.7, 0.05),
    (0.3, 0.7, 0.2),
    (0.3, 0.7, 0.4),
    (0.7, 1.0, 0.05),
)
GAPS = (0.02, 0.05, 0.1, np.inf)

Choice = Callable[["Case"], str]


@dataclass(frozen=True, slots=True)
class Case:
    """A test ticket, and what there is to answer it from."""

    ticket: str
    vector: Vectors  # (d,) of the ticket
    near: NearRows
    log_p: Floats  # (c,)
    train_set: TrainSet
    label: Label

    def scores(self, weights: tuple[float, float, float]) -> Floats:
        """(k,) the exemplar scores of the near rows with these weights of ticket, reply and intent."""
        ticket, reply, intent = weights
        cosines = ticket * self.near.ticket_cosines + reply * self.near.reply_cosines
        return np.asarray(cosines + intent * self.log_p[self.train_set.labels[self.near.rows]], dtype=np.float64)


def cases(classifier: IntentClassifier, texts: Sequence[str], vectors: Vectors, labels: Sequence[Label]) -> Iterator[Case]:
    """A case for each of m tests."""
    log_p = classifier.score(vectors, texts).log_probabilities
    near = near_rows(classifier, vectors, log_p)
    for i, label in enumerate(labels):
        yield Case(texts[i], vectors[i], near[i], log_p[i], classifier.train_set, label)


def copied(weights: tuple[float, float, float]) -> Choice:
    """Copies the first row of a ranking, with the ticket's reference number, as a run does."""
    return lambda case: for_ticket(_first_row(case, weights), case.ticket).ideal_reply


def word_for_word(case: Case) -> str:
    """The same with the present weights, whatever reference number it holds."""
    return _first_row(case, PRESENT).ideal_reply


def _first_row(case: Case, weights: tuple[float, float, float]) -> LabelledTicket:
    (first,) = choose_exemplars(case.train_set, case.near, case.scores(weights), case.ticket, count=1)
    return case.train_set.rows[int(first)]


def joined(gap: float, encoder: Encoder, *, fitting: bool) -> Choice:
    """Adds to the first reply the best other one of the predicted intent, where the two scores differ by less than `gap`.

    Args:
        gap: of the exemplar scores.
        encoder: for the sentences.
        fitting: whether only the sentences are added that the program would add.
    """

    def choice(case: Case) -> str:
        """The reply for a case."""
        stored, intent = case.train_set.rows, int(winners(case.log_p[None])[0])
        first = copied(PRESENT)(case)
        row = tied_row(case.train_set, case.near, case.scores(PRESENT), case.ticket, intent=intent, gap=gap)
        if row is None:
            return first
        second = for_ticket(stored[row], case.ticket).ideal_reply
        texts = [*sentences(first), *sentences(second)]
        known = dict(zip(texts, encoder.encode(texts), strict=True))
        return (compose(first, second, case.vector, known) or first) if fitting else f"{first} {second}"

    return choice


@dataclass(frozen=True, slots=True)
class Graded:
    """The replies of one choice."""

    cosine: Floats  # (m,) to the ideal reply
    recall: Floats  # (m,) of the required facts, NaN without any
    precision: Floats  # (m,) share of the reply's facts that stand in the ideal reply, NaN without any
    replies: tuple[str, ...]


def graded(found: Sequence[Case], choice: Choice, grading: Encoder) -> Graded:
    """The replies that a choice gives, against the ideal ones."""
    replies = tuple(choice(case) for case in found)
    ideal = grading.encode([case.label.ideal_reply for case in found])
    cosine = np.sum(ideal * grading.encode(replies), axis=1).astype(np.float64)
    pairs = np.array([_recall_and_precision(reply, case.label) for reply, case in zip(replies, found, strict=True)])
    return Graded(cosine, pairs[:, 0], pairs[:, 1], replies)


def _recall_and_precision(reply: str, label: Label) -> tuple[float, float]:
    ours, ideal = facts(reply), facts(label.ideal_reply)
    precision = len(ours & ideal) / len(ours) if ours else np.nan
    if label.must_mention:
        return 1 - len(label.missing_facts(reply)) / len(label.must_mention), precision
    return (len(ours & ideal) / len(ideal) if ideal else np.nan), precision


def table_line(name: str, found: Graded, present: Graded) -> dict[str, str]:
    """A choice beside the present one."""
    changed = [a != b for a, b in zip(found.replies, present.replies, strict=True)]
    pairs = {"cosine": (found.cosine, present.cosine), "recall of facts": (found.recall, present.recall)}
    pairs["precision of facts"] = (found.precision, present.precision)
    line = {"reply": name, "changed %": f"{100 * np.mean(changed):.0f}"}
    for measure, (own, other) in pairs.items():
        known = ~(np.isnan(own) | np.isnan(other))
        line[measure] = f"{np.nanmean(own):.3f}"
        line[f"minus present, {measure}"] = with_error((own - other)[known].tolist(), digits=4) if known.any() else ""
    return line


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares rankings and composed replies."""
    parser = new_parser("evaluation.benchmarks.stored_replies", __doc__)
    add_set_options(parser, sets=("bitext",), required=False)
    add_draw_options(parser, sizes=("15x2", "12x4", "12x1+6x2+2x3"))
    parser.add_argument("--tests", type=count, default=60, help="test rows in a draw (default: 60)")
    parser.add_argument("--split", type=Path, metavar="DIR", help="a folder like data/, instead of the sets")
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Collects the cases, answers them, prints."""
    if bool(options.data) == bool(options.split):
        raise InputProblems(["found both or neither of --data and --split, expected one of them"])
    configure()
    encoder = chosen_encoder(options)
    grading = CachingEncoder(load_encoder(GRADING_ENCODER), options.cache)
    found = list(sample_cases(options.split, encoder)) if options.split else list(public_cases(options, encoder))
    present = graded(found, copied(PRESENT), grading)
    choices: dict[str, Choice] = {"copy of the first, present ranking": copied(PRESENT)}
    choices["word for word, reference numbers of others included"] = word_for_word
    choices |= {"ticket {}, reply {}, intent {}".format(*weights): copied(weights) for weights in RANKINGS}
    for fitting in (False, True):
        what = "its fitting sentences" if fitting else "the second"
        choices |= {f"{what} joined, gap {gap}": joined(gap, encoder, fitting=fitting) for gap in GAPS}
    print(f"{encoder.name}, {len(found)} test rows, graded with {grading.name}")
    print_table([table_line(name, graded(found, choice, grading), present) for name, choice in choices.items()])
    return 0


def public_cases(options: argparse.Namespace, encoder: Encoder) -> Iterator[Case]:
    """The test rows of all draws."""
    for name in options.sets:
        source = load_set(options.data, name, encoder)
        if not source.has_replies:
            raise InputProblems([f"{name}: found rows without replies, expected a set with replies"])
        for size in options.sizes:
            for seed in range(options.draws):
                drawn = draw(source, size, seed=seed, tests=options.tests)
                labels = [Label(row.id, (row.intent,), row.ideal_reply) for row in drawn.tests]
                yield from cases(_classifier(drawn.train_set, seed), [row.text for row in drawn.tests], drawn.vectors, labels)


def sample_cases(folder: Path, encoder: Encoder) -> Iterator[Case]:
    """The labelled tickets of val.jsonl and probes.jsonl of a folder."""
    for name in ("val", "probe"):
        tickets = folder / ("val.jsonl" if name == "val" else "probes.jsonl")
        split = given_split(folder / "train.jsonl", tickets, folder / f"{name}_labels.jsonl", encoder)
        yield from cases(_classifier(split.train_set, 0), [one.text for one in split.tickets], split.vectors, split.labels)


def _classifier(train_set: TrainSet, seed: int) -> IntentClassifier:
    return fit_classifier(train_set, with_names=label_names_gate(train_set, seed=seed).passed)


if __name__ == "__main__":
    sys.exit(main())
