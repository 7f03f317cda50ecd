"""Labels that are probably wrong: where the out-of-fold probability denies them, or a near-duplicate has another.

The label quality is cleanlab's self-confidence, the out-of-fold probability of the row's own label. The filters of cleanlab set
their threshold by the mean self-confidence of each intent, which two rows do not give; a constant finds as many of the flipped
labels of public sets with fewer others (`python -m evaluation.benchmarks.audit`, docs/audit.md). The only row of an intent is
left out: the classifiers that judge it have seen no row of its intent.
"""

import numpy as np

from evaluation.audit.evidence import Evidence
from evaluation.audit.findings import Finding, shown
from evaluation.command import MissingPackage
from retrieval.index import ranked
from retrieval.intent_classifier import Floats
from retrieval.tickets import quoted
from retrieval.train_set import Rows, TrainSet, near_duplicate_pairs, rows_with_siblings

DOUBTFUL = 0.02  # label quality


def label_quality(labels: Rows, log_p: Floats) -> Floats:
    """(n,) cleanlab's score of each label, 0 to 1.

    Raises:
        MissingPackage: cleanlab is not installed.
    """
    try:
        from cleanlab.rank import get_label_quality_scores
    except ImportError as error:
        raise MissingPackage("the audit", "cleanlab") from error
    return np.asarray(get_label_quality_scores(labels, np.exp(log_p), method="self_confidence"), dtype=np.float64)


def doubtful_rows(train_set: TrainSet, log_p: Floats, *, below: float = DOUBTFUL) -> Rows:
    """The positions of the rows whose label is probably wrong, the worst first."""
    if len(train_set.intents) < 2:
        return np.array([], dtype=np.int64)
    quality = label_quality(train_set.labels, log_p)
    rows = rows_with_siblings(train_set, np.flatnonzero(quality < below))
    return rows[ranked(-log_p[rows, train_set.labels[rows]], len(rows))]


def label_findings(found: Evidence) -> list[Finding]:
    """A finding for each doubtful label, beside the nearest rows of both intents."""
    return [_label_finding(found, int(row)) for row in doubtful_rows(found.train_set, found.log_p)]


def _label_finding(found: Evidence, row: int) -> Finding:
    train_set = found.train_set
    own, other = int(train_set.labels[row]), found.winner(row)
    one, names = train_set.rows[row], train_set.intents
    chances = (f"{names[own]} {found.probability(row, own):.3f}", f"{names[other]} {found.probability(row, other):.3f}")
    rows = [shown(one, "probabilities: " + ", ".join(chances))]
    for intent in (other, own):
        if (near := found.nearest(row, intent=intent)) is not None:
            rows.append(shown(train_set.rows[near], "the nearest row with this label"))
    what = f"{quoted(one.id)} is labelled {names[own]} and looks like {names[other]}"
    advice = f"label it {names[other]}, or, if the label is right, add a row of {names[own]} that says it in a similar way"
    return Finding("doubtful label", what, advice, tuple(rows))


def duplicate_findings(found: Evidence) -> list[Finding]:
    """A finding for each pair of near-duplicates with different labels."""
    train_set, findings = found.train_set, []
    for i, j in near_duplicate_pairs(train_set):
        one, other = train_set.rows[i], train_set.rows[j]
        cosine = float(train_set.ticket_vectors[i] @ train_set.ticket_vectors[j])
        what = f"{quoted(one.id)} and {quoted(other.id)} say nearly the same (cosine {cosine:.2f}) and are labelled differently"
        advice = "give both the same label, or say in the tickets what is different"
        rows = tuple(
            shown(row, f"probability {found.probability(k, int(train_set.labels[k])):.3f}") for k, row in ((i, one), (j, other))
        )
        findings.append(Finding("other label of a near-duplicate", what, advice, rows))
    return findings
