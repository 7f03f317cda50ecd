"""Tables of what the scores do to the copied reply: through the intents in the exemplar ranking, and row by row."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from evaluation.benchmarks.noisy_channel.scored import Scored, Way, unsure
from evaluation.benchmarks.noisy_channel.tables import plain
from evaluation.benchmarks.stored_replies import Case, copied, graded
from evaluation.command import with_error
from evaluation.score.labels import Label
from finetune.noisy_channel import NEAR_ROWS
from retrieval.encoder import Encoder
from retrieval.exemplars import INTENT_WEIGHT, REPLY_WEIGHT, TICKET_WEIGHT, choose_exemplars, exemplar_scores
from retrieval.intent_classifier import Floats
from retrieval.reference_numbers import for_ticket

INTENT_WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.2)  # in the exemplar ranking
ROW_WEIGHTS = (0.005, 0.01, 0.02, 0.05)  # of a row's own score in it, a nat


def reply_lines(draws: Sequence[Scored], given: str, weight: float, grading: Encoder) -> Iterator[dict[str, str]]:
    """The copied reply by the weight of the intent in the exemplar ranking, without and with the scores."""
    present = np.array(_copied(draws, plain(draws), INTENT_WEIGHT, grading))
    fused = [scored.fused(Way(given, weight, NEAR_ROWS, below=unsure(given))) for scored in draws]
    for name, found in (("classifier", plain(draws)), (given, fused)):
        for intent_weight in INTENT_WEIGHTS:
            own = np.array(_copied(draws, found, intent_weight, grading))
            yield {
                "log p of": name,
                "intent weight": f"{intent_weight:g}",
                **_against(own, present, "minus classifier at .1"),
            }


def row_lines(draws: Sequence[Scored], given: str, grading: Encoder) -> Iterator[dict[str, str]]:
    """The copied reply where each row's own score counts in the exemplar ranking; intents and their weight are as without."""
    present = np.array(_copied(draws, plain(draws), INTENT_WEIGHT, grading))
    for weight in ROW_WEIGHTS:
        replies = [[reply_by_row(scored, i, given, weight) for i in range(len(scored.tickets))] for scored in draws]
        own = np.array(
            [_means(scored, scored.log_p, _in_turn(found), grading) for scored, found in zip(draws, replies, strict=True)]
        )
        yield {"scores of rows given": given, "a nat counts": f"{weight:g}", **_against(own, present, "minus classifier")}


def _against(own: Floats, present: Floats, name: str) -> dict[str, str]:
    """(draws, 2) means of cosine and recall of facts, and their paired difference to others, under this name."""
    return {
        "cosine": f"{own[:, 0].mean():.4f}",
        name: with_error((own - present)[:, 0].tolist(), digits=4),
        "recall of facts": f"{own[:, 1].mean():.3f}",
        f"{name}, facts": with_error((own - present)[:, 1].tolist(), digits=3),
    }


def reply_by_row(scored: Scored, i: int, given: str, weight: float) -> str:
    """The reply that is copied for ticket `i` when its candidate rows are ranked with their own scores."""
    train_set, near = scored.classifier.train_set, scored.near[i]
    found = exemplar_scores(near, scored.log_p[i], train_set.labels)
    rows = scored.rows[i][scored.rows[i] >= 0]
    own = scored.scores[given][i, : len(rows)]
    if len(rows) and np.isfinite(own).all():
        places = np.searchsorted(near.rows, rows)  # near rows are ascending
        ranked = np.full(len(found), -np.inf)
        ranked[places] = found[places] + weight * own
        found = ranked
    (first,) = choose_exemplars(train_set, near, found, scored.tickets[i].text, count=1)
    return for_ticket(train_set.rows[int(first)], scored.tickets[i].text).ideal_reply


def _in_turn(replies: Sequence[str]) -> Callable[[Case], str]:
    """A choice that gives each case its reply, in their order."""
    left = iter(replies)
    return lambda _: next(left)


def _copied(
    draws: Sequence[Scored], found: Sequence[Floats], intent_weight: float, grading: Encoder
) -> list[tuple[float, float]]:
    """For each draw the mean cosine and recall of facts of the copied replies."""
    choice = copied((TICKET_WEIGHT, REPLY_WEIGHT, intent_weight))
    return [_means(scored, log_p, choice, grading) for scored, log_p in zip(draws, found, strict=True)]


def _means(scored: Scored, found: Floats, choice: Callable[[Case], str], grading: Encoder) -> tuple[float, float]:
    """The mean cosine and recall of facts of the replies that a choice gives, with these (m, c) log-probabilities."""
    train_set, labels = scored.classifier.train_set, [Label(r.id, (r.intent,), r.ideal_reply) for r in scored.tickets]
    parts = zip([ticket.text for ticket in scored.tickets], scored.vectors, scored.near, found, labels, strict=True)
    own = graded([Case(text, vector, near, p, train_set, label) for text, vector, near, p, label in parts], choice, grading)
    return float(own.cosine.mean()), float(np.nanmean(own.recall))
