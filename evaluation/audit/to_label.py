"""Which val tickets would help most if they were labelled: those of which the classifier is least sure, each unlike the others.

Least sure it is of a ticket out of scope; else the margin between the two likeliest intents counts (uncertainty sampling). A
ticket is worth less the nearer it is to one that was chosen before, so that five phrasings of one question are not asked for.
"""

import numpy as np

from evaluation.audit.evidence import Evidence
from evaluation.audit.findings import Finding, ShownRow
from retrieval.index import DECIMALS
from retrieval.intent_classifier import Floats
from retrieval.retrieve import Retrieval
from retrieval.tickets import quoted

UNSURE = 0.5  # margin of probabilities
AT_MOST = 5


def to_label_findings(found: Evidence) -> list[Finding]:
    """A finding for each of at most `AT_MOST` tickets, the most useful first."""
    return [_finding(found.tickets[i]) for i in chosen(found)]


def chosen(found: Evidence) -> list[int]:
    """The positions of the tickets, the most useful first."""
    margins = [_margin(one) for one in found.tickets]
    uncertainty: Floats = np.array([1.0 - margin if margin < UNSURE else 0.0 for margin in margins])
    novelty = np.ones(len(uncertainty))
    order: list[int] = []
    while len(order) < AT_MOST and (worth := np.round(uncertainty * novelty, DECIMALS)).any():
        best = int(worth.argmax())  # the earlier of equals
        order.append(best)
        uncertainty[best] = 0.0
        novelty = np.minimum(novelty, np.clip(1.0 - found.vectors @ found.vectors[best], 0.0, 1.0))
    return order


def _margin(one: Retrieval) -> float:
    """Between the two likeliest intents; 0 for a ticket out of scope."""
    if one.out_of_scope:
        return 0.0
    return one.confidence - (one.intents[1].probability if len(one.intents) > 1 else 0.0)


def _finding(one: Retrieval) -> Finding:
    guesses = [f"{score.intent} {score.probability:.2f}" for score in one.intents[:2]]
    scope = f"in-scope score {one.in_scope_score:.2f}, threshold {one.in_scope_threshold:.2f}"
    why = f"resembles no intent ({scope})" if one.out_of_scope else f"may be {' or '.join(guesses)}"
    advice = "label it and add it to the train rows" + (", with a new intent if none fits" if one.out_of_scope else "")
    rows = [ShownRow(one.ticket.id, one.intent, "predicted: " + ", ".join(guesses), one.ticket.text)]
    rows += [ShownRow(n.row.id, n.row.intent, f"near, cosine {n.cosine:.2f}", n.row.text) for n in one.neighbours[:2]]
    return Finding("to label", f"{quoted(one.ticket.id)} {why}", advice, tuple(rows))
