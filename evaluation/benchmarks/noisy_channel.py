"""python -m evaluation.benchmarks.noisy_channel: what are a base's scores of the intents worth, and with which weight?

On draws from public sets a base scores each test ticket given each of the nearest rows (`finetune.noisy_channel`), for several
things that it may be given. The scores are kept in a folder, so all weights, numbers of candidates and ways of counting are
tried at once, on the same scores. `tuned` is the base with an adapter that was trained to write the rows' tickets, given the
same. Differences are paired, ± one standard error over draws.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from evaluation.benchmarks.fewshot import calibration_error
from evaluation.benchmarks.public_sets import (
    Draw,
    PublicSet,
    Size,
    add_draw_options,
    add_set_options,
    chosen_encoder,
    draw,
    load_set,
    written_size,
)
from evaluation.benchmarks.stored_replies import Case, copied, graded
from evaluation.command import count, new_parser, print_table, run_command, with_error
from evaluation.embeddings import CachingEncoder
from evaluation.generation import FAILURES
from evaluation.score.grading import GRADING_ENCODER
from evaluation.score.labels import Label
from finetune.base_model import BaseModel, load_base
from finetune.base_selection import base_problems
from finetune.gates import LmWeight, lm_scores_gate
from finetune.lora import temporary_adapter
from finetune.memory import OutOfMemory
from finetune.noisy_channel import NEAR_ROWS, UNSURE, NoisyChannel, Pair, Request
from finetune.prompt import prompt_writer
from finetune.training import train
from finetune.training_data import config_for
from retrieval.console import say
from retrieval.cross_validation import out_of_fold_log_probabilities
from retrieval.encoder import Encoder, Vectors, humanised, load_encoder
from retrieval.exemplars import REPLY_WEIGHT, TICKET_WEIGHT, NearRows, candidate_rows, exemplar_scores, near_rows
from retrieval.intent_classifier import Floats, IntentClassifier, fit_classifier, winners
from retrieval.label_names import label_names_gate
from retrieval.lm_fusion import fuse
from retrieval.prompt_text import named_ticket_request, ticket_request
from retrieval.runtime import configure, deterministic_kernels
from retrieval.tickets import InputProblems, LabelledTicket
from retrieval.train_set import Rows, TrainSet

ANOTHER = "Write another customer's ticket about the same thing."
GIVEN: Mapping[str, Request] = {  # what the base is given
    "reply": ticket_request,  # of a row without a reply, its ticket
    "reply, terse": lambda row: (
        f"Reply: {row.ideal_reply}\n\nWhat did the customer ask? Answer with the customer's words alone."
    ),
    "reply, role": lambda row: (
        f"You are a customer. After you wrote to the support, you got this reply:\n{row.ideal_reply}\n\nWhat had you written?"
    ),
    "ticket": lambda row: ticket_request(replace(row, ideal_reply="")),
    "both": lambda row: (
        f"A customer wrote this ticket:\n{row.text}\n\nA support agent sent this reply:\n{row.ideal_reply}\n\n{ANOTHER}"
    ),
    "name": named_ticket_request,
    "name, terse": lambda row: (
        f"Topic: {humanised(row.intent)}\n\nWrite what a customer would ask about it, in the customer's words."
    ),
    "name, role": lambda row: (
        f"You are a customer and write to the support about this: {humanised(row.intent)}. What do you write?"
    ),
    "name, reply": lambda row: f"A customer wrote about this: {humanised(row.intent)}. {ticket_request(row)}",
    "tuned": ticket_request,
    "name, tuned": named_ticket_request,
}
TUNED = ("tuned", "name, tuned")
TUNED_EPOCHS = 2
WEIGHTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
SCORED_BELOW = 0.95  # tickets with a higher confidence of the classifier are not scored: they are right anyway
THRESHOLDS = (0.7, 0.8, 0.9, SCORED_BELOW)
INTENT_WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.2)  # in the exemplar ranking


@dataclass(frozen=True, slots=True)
class Way:
    """A way of counting the scores."""

    given: str  # what the base was given
    weight: float  # beside the classifier's log-probabilities
    candidates: int  # rows near a ticket
    mean: bool = False  # of an intent's rows, instead of the best
    below: float = UNSURE["reply"]  # only tickets with a lower confidence are scored


@dataclass(frozen=True, slots=True)
class Scored:
    """Labelled tickets, and a base's scores of the train rows near them."""

    classifier: IntentClassifier
    tickets: tuple[LabelledTicket, ...]  # m of them
    vectors: Vectors  # (m, d) of them
    expected: Rows  # (m,) their intents
    log_p: Floats  # (m, c) of the classifier
    near: list[NearRows]
    rows: Rows  # (m, k) candidate rows, best first; -1 where there are fewer, as for tickets that are not scored
    scores: Mapping[str, Floats]  # what was given -> (m, k) nats

    def matrix(self, way: Way) -> Floats:
        """(m, c) the score of each intent's best row, or the mean of its rows; NaN where it has none among the candidates."""
        found = np.full(self.log_p.shape, np.nan)
        for i, rows in enumerate(self.rows[:, : way.candidates]):
            labels, scores = self.classifier.train_set.labels[rows[rows >= 0]], self.scores[way.given][i, : (rows >= 0).sum()]
            for intent in np.unique(labels):
                own = scores[labels == intent]
                found[i, intent] = own.mean() if way.mean else own.max()
        return found

    def fused(self, way: Way) -> Floats:
        """(m, c) log-probabilities after the fusion."""
        return fuse(self.log_p, self.asked(way), way.weight)

    def summed(self, given: Sequence[str], weight: float) -> Floats:
        """(m, c) log-probabilities after the fusion with the sum of several scores, each of tickets unsure enough for it."""
        parts = np.array([self.asked(Way(what, weight, NEAR_ROWS, below=unsure(what))) for what in given])  # (g, m, c)
        scored = ~np.isnan(parts)
        partial_scores = scored.any(axis=2, keepdims=True) & (scored != scored.any(axis=0))  # a run leaves such a ticket out
        whole = scored.any(axis=0) & ~partial_scores.any(axis=(0, 2))[:, None]
        return fuse(self.log_p, np.where(whole, np.nansum(parts, axis=0), np.nan), weight)

    def asked(self, way: Way) -> Floats:
        """(m, c) the scores of tickets with a confidence below the way's threshold."""
        unsure_enough = np.exp(self.log_p.max(axis=1)) < way.below
        return np.where(unsure_enough[:, None], self.matrix(way), np.nan)


@dataclass(frozen=True, slots=True)
class ScoredDraw:
    """The test tickets of a draw, and its train rows, each hidden from itself; the latter only if they are asked for."""

    tests: Scored
    own: Scored | None


def score_draw(drawn: Draw, base: BaseModel | None, given: Sequence[str], options: argparse.Namespace, key: str) -> ScoredDraw:
    """Scores a draw, or reads the scores where they are kept; without a base they must be."""
    train_set = drawn.train_set
    classifier = fit_classifier(train_set, with_names=label_names_gate(train_set, seed=0).passed)

    def scored(
        tickets: Sequence[LabelledTicket],
        vectors: Vectors,
        expected: Rows,
        log_p: Floats,
        near: list[NearRows],
        *,
        name: str,
    ) -> Scored:
        """These tickets with all scores that are wanted."""
        rows = _candidates(classifier, log_p, near, options.candidates)
        scores = {}
        for what in given:
            make = partial(_scores, train_set, tickets, rows, base, what)
            asked = "\n".join(GIVEN[what](row) for row in train_set.rows) + str(rows.tolist())
            scores[what] = _kept(options.cache, f"{name} {what}", asked, make)
        return Scored(classifier, tuple(tickets), vectors, expected, log_p, near, rows, scores)

    log_p = classifier.score(drawn.vectors, [row.text for row in drawn.tests]).log_probabilities
    tests = scored(drawn.tests, drawn.vectors, drawn.expected, log_p, near_rows(classifier, drawn.vectors, log_p), name=key)
    if not options.own_rows:
        return ScoredDraw(tests, None)
    log_p = out_of_fold_log_probabilities(classifier)
    near = near_rows(classifier, train_set.ticket_vectors, log_p, hidden=range(len(train_set.rows)))
    own = scored(train_set.rows, train_set.ticket_vectors, train_set.labels, log_p, near, name=f"{key} own rows")
    return ScoredDraw(tests, own)


def _candidates(classifier: IntentClassifier, log_p: Floats, near: Sequence[NearRows], count: int) -> Rows:
    """(m, count) the rows that are scored, -1 where there are none."""
    labels = classifier.train_set.labels
    rows = np.full((len(near), count), -1, dtype=np.int64)
    for i in map(int, np.flatnonzero(np.exp(log_p.max(axis=1)) < SCORED_BELOW)):
        chosen = candidate_rows(classifier.train_set, near[i], exemplar_scores(near[i], log_p[i], labels), count=count)
        rows[i, : len(chosen)] = chosen
    return rows


def _kept(folder: Path, key: str, asked: str, make: Callable[[], Floats]) -> Floats:
    """The scores that are kept under a key and for what was asked, or those that are made now."""
    digest = hashlib.sha256("\n".join((key, asked)).encode()).hexdigest()
    file = folder / f"channel-{digest[:20]}.npy"
    if file.is_file():
        return np.asarray(np.load(file, allow_pickle=False))
    began = time.monotonic()
    found = make()
    say(f"{key}: scored in {time.monotonic() - began:.0f} s")
    np.save(file, found)
    return found


def _scores(train_set: TrainSet, tickets: Sequence[LabelledTicket], rows: Rows, base: BaseModel | None, given: str) -> Floats:
    """(m, k) scores of the candidate rows; NaN where there is none."""
    if base is None:
        raise InputProblems([f"--cache: found no scores of {given} for a draw, expected all, as --base-model is none"])
    stored, request_of = train_set.rows, GIVEN[given]
    asked = {(i, k): (request_of(stored[rows[i, k]]), tickets[i].text) for i, k in np.argwhere(rows >= 0).tolist()}
    likelihoods = _likelihoods(base, stored, asked.values(), given)
    found = np.full(rows.shape, np.nan)
    for place, pair in asked.items():
        found[place] = likelihoods.get(pair, np.nan)  # a prompt may be too long
    return found


def _likelihoods(base: BaseModel, stored: Sequence[LabelledTicket], pairs: Iterable[Pair], given: str) -> Mapping[Pair, float]:
    writer = prompt_writer(base.tokenizer, base.max_length)
    if given not in TUNED:
        return _complete(NoisyChannel(base.model, writer, 1.0, ()), pairs)
    with temporary_adapter(base, seed=0) as model:
        examples = [writer.answer(row.id, GIVEN[given](row), row.text) for row in stored]
        learning_rate = config_for(base).learning_rate
        train(model, [examples] * TUNED_EPOCHS, learning_rate=learning_rate, seed=0, label="train on tickets")
        # No PeftModel, so the adapter stays on.
        return _complete(NoisyChannel(model.base_model, writer, 1.0, ()), pairs)


def _complete(channel: NoisyChannel, pairs: Iterable[Pair]) -> Mapping[Pair, float]:
    found = channel.likelihoods(pairs)
    if channel.limits:
        raise OutOfMemory(channel.limits[0])
    return found


def correct(found: Floats, scored: Scored) -> float:
    """Share of right intents."""
    return float((winners(found) == scored.expected).mean())


def cross_entropy(found: Floats, scored: Scored) -> float:
    """Of the right intent, nats per ticket."""
    return float(-found[np.arange(len(found)), scored.expected].mean())


def calibration(found: Sequence[Floats], draws: Sequence[Scored]) -> float:
    """Expected calibration error over all tickets of the draws."""
    confidence = np.concatenate([np.exp(log_p.max(axis=1)) for log_p in found])
    right = np.concatenate([winners(log_p) == scored.expected for log_p, scored in zip(found, draws, strict=True)])
    return calibration_error(confidence, right)


def table_line(name: str, draws: Sequence[Scored], way: Way) -> dict[str, str]:
    """One way of fusing over all draws."""
    return {"way": name, **_figures([scored.fused(way) for scored in draws], draws)}


def _figures(found: Sequence[Floats], draws: Sequence[Scored]) -> dict[str, str]:
    """What (m, c) log-probabilities for the tickets of each draw are worth beside the classifier's."""
    pairs = list(zip(found, draws, strict=True))
    own = [correct(log_p, scored) for log_p, scored in pairs]
    gains = [100 * (a - correct(scored.log_p, scored)) for a, scored in zip(own, draws, strict=True)]
    entropies = [cross_entropy(log_p, scored) for log_p, scored in pairs]
    losses = [a - cross_entropy(scored.log_p, scored) for a, scored in zip(entropies, draws, strict=True)]
    return {
        "right %": f"{100 * np.mean(own):.1f}",
        "minus classifier, points": with_error(gains, digits=1),
        "cross-entropy": f"{np.mean(entropies):.3f}",
        "minus classifier": with_error(losses, digits=3),
        "calibration error": f"{calibration(found, draws):.3f}",
    }


def unsure(given: str) -> float:
    """The confidence below which a run would score tickets: with the threshold of replies, for what no run gives."""
    return UNSURE["name" if given in ("name", "name, tuned") else "reply"]


def _plain(draws: Sequence[Scored]) -> list[Floats]:
    return [scored.log_p for scored in draws]


def asked_share(draws: Sequence[Scored], below: float) -> float:
    """The share of tickets with a confidence below a threshold."""
    return float(np.mean(np.concatenate([np.exp(scored.log_p.max(axis=1)) < below for scored in draws])))


def weight_lines(draws: Sequence[Scored], given: str, candidates: int) -> Iterator[dict[str, str]]:
    """A line for each weight and threshold of confidence."""
    for below in THRESHOLDS:
        asked = f"asked below {below:g} ({100 * asked_share(draws, below):.0f} %)"
        for weight in WEIGHTS:
            name = f"{given}, {asked}, weight {weight:g}"
            yield table_line(name, draws, Way(given, weight, candidates, below=below))


def sum_lines(draws: Sequence[Scored], given: Sequence[str]) -> Iterator[dict[str, str]]:
    """A line for each weight of the sum of all that the base is given, each below its own threshold, as in a run."""
    for weight in WEIGHTS:
        name = f"{' + '.join(given)}, each below its threshold, weight {weight:g}"
        yield {"way": name, **_figures([scored.summed(given, weight) for scored in draws], draws)}


def way_lines(draws: Sequence[Scored], given: str, weight: float, most: int) -> Iterator[dict[str, str]]:
    """Numbers of candidates, and the best row of an intent against the mean of its rows, at one weight."""
    for candidates in sorted({n for n in (3, NEAR_ROWS, most) if n <= most}):
        for mean in (False, True):
            name = f"{given}, {candidates} rows, {'mean' if mean else 'best'} row of an intent"
            yield table_line(name, draws, Way(given, weight, candidates, mean=mean, below=unsure(given)))


def gate_lines(draws: Sequence[ScoredDraw], given: str, weight: float) -> Iterator[dict[str, str]]:
    """The tests with the scores always in, never in, and in unless the gate of the draw's own rows forbids it."""
    way, passed = Way(given, weight, NEAR_ROWS, below=unsure(given)), []
    for found in draws:
        assert found.own is not None
        scores = found.own.asked(way)
        passed.append(lm_scores_gate(found.own.log_p, scores, found.own.expected, LmWeight(weight, ""), seed=0)[1].passed)
    tests = [found.tests for found in draws]
    always, never = [scored.fused(way) for scored in tests], _plain(tests)
    gated = [a if use else n for a, n, use in zip(always, never, passed, strict=True)]
    for name, chosen in (("never", never), ("always", always), (f"gated, used in {sum(passed)} of {len(draws)}", gated)):
        yield {"given": given, "LM scores": name, **_figures(chosen, tests)}


def reply_lines(draws: Sequence[Scored], given: str, weight: float, grading: Encoder) -> Iterator[dict[str, str]]:
    """The copied reply by the weight of the intent in the exemplar ranking, without and with the scores."""
    present = np.array(_copied(draws, _plain(draws), 0.1, grading))
    fused = [scored.fused(Way(given, weight, NEAR_ROWS, below=unsure(given))) for scored in draws]
    for name, found in (("classifier", _plain(draws)), (given, fused)):
        for intent_weight in INTENT_WEIGHTS:
            own = np.array(_copied(draws, found, intent_weight, grading))
            yield {
                "log p of": name,
                "intent weight": f"{intent_weight:g}",
                "cosine": f"{own[:, 0].mean():.4f}",
                "minus classifier at .1": with_error((own - present)[:, 0].tolist(), digits=4),
                "recall of facts": f"{own[:, 1].mean():.3f}",
                "minus classifier at .1, facts": with_error((own - present)[:, 1].tolist(), digits=3),
            }


def _copied(
    draws: Sequence[Scored], found: Sequence[Floats], intent_weight: float, grading: Encoder
) -> list[tuple[float, float]]:
    """For each draw the mean cosine and recall of facts of the copied replies."""
    lines, choice = [], copied((TICKET_WEIGHT, REPLY_WEIGHT, intent_weight))
    for scored, log_p in zip(draws, found, strict=True):
        train_set, labels = scored.classifier.train_set, [Label(r.id, (r.intent,), r.ideal_reply) for r in scored.tickets]
        parts = zip(scored.vectors, scored.near, log_p, labels, strict=True)
        own = graded([Case(vector, near, p, train_set, label) for vector, near, p, label in parts], choice, grading)
        lines.append((float(own.cosine.mean()), float(np.nanmean(own.recall))))
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores and compares."""
    parser = new_parser("evaluation.benchmarks.noisy_channel", __doc__)
    add_set_options(parser)
    add_draw_options(parser, sizes=("15x2", "25x1"))
    add = parser.add_argument
    add("--tests", type=count, default=100, help="test rows in a draw (default: 100)")
    add("--candidates", type=count, default=6, help="rows near a ticket that are scored (default: 6)")
    add("--base-model", default="auto", metavar="BASE", help="as for run.py; none to use only scores that are kept")
    add("--scores-of", metavar="BASE", help="whose kept scores are used with --base-model none")
    add("--given", nargs="+", default=["name"], choices=list(GIVEN), help="what the base is given (default: name)")
    add(
        "--weight",
        type=float,
        default=0.3,
        help="at which numbers of candidates and best row and mean are compared (default: .3)",
    )
    add("--own-rows", action="store_true", help="score the train rows, too, and report what their gate decides")
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options), failures=FAILURES)


def run(options: argparse.Namespace) -> int:
    """Scores all draws, set by set, and prints the tables."""
    problems = base_problems(options.base_model, Path())
    if not options.cache:
        problems.append("--cache: found none, expected a folder in which the scores are kept")
    if options.base_model == "none" and not options.scores_of:
        problems.append("--base-model none: found no --scores-of, expected the name of the base whose scores are kept")
    if problems:
        raise InputProblems(problems)
    configure()
    encoder = chosen_encoder(options)
    base = None if options.base_model == "none" else load_base(options.base_model)
    if base:
        deterministic_kernels()
    name = base.name if base else options.scores_of
    for source in [load_set(options.data, name, encoder) for name in options.sets]:
        for size in options.sizes:
            draws = list(scored_draws(source, size, base, f"{name} {encoder.name}", options))
            print(f"{name}, {encoder.name}, {source.name} {written_size(size)}, {len(draws)} draws of {options.tests} tests")
            tests = [found.tests for found in draws]
            print_table([line for given in options.given for line in weight_lines(tests, given, options.candidates)])
            if len(options.given) > 1:
                print_table(list(sum_lines(tests, options.given)))
            print(f"at weight {options.weight:g}")
            print_table([x for given in options.given for x in way_lines(tests, given, options.weight, options.candidates)])
            if options.own_rows:
                print_table([line for given in options.given for line in gate_lines(draws, given, options.weight)])
            if source.has_replies:
                grading = CachingEncoder(load_encoder(GRADING_ENCODER), options.cache)
                print_table([line for given in options.given for line in reply_lines(tests, given, options.weight, grading)])
    return 0


def scored_draws(
    source: PublicSet, size: Size, base: BaseModel | None, key: str, options: argparse.Namespace
) -> Iterator[ScoredDraw]:
    """All draws of a size from a set."""
    for seed in range(options.draws):
        drawn = draw(source, size, seed=seed, tests=options.tests)
        own = f"{key} {source.name} {written_size(size)} draw {seed} {options.tests} tests {options.candidates} rows"
        yield score_draw(drawn, base, options.given, options, own)


if __name__ == "__main__":
    sys.exit(main())
