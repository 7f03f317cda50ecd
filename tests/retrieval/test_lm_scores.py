import numpy as np

from retrieval.intent_classifier import fit_classifier
from retrieval.lm_scores import LmScores, fuse
from retrieval.results import retrieval_record
from retrieval.retrieve import retrieve
from retrieval.tickets import Ticket
from tests.fakes import HashEncoder, train_set

LOG_P = np.log([[0.5, 0.3, 0.15, 0.05]])
SAID = np.array([[-9.0, -1.0, np.nan, np.nan]])


def test_an_opinion_moves_probability_among_the_candidates_and_leaves_the_rest() -> None:
    p = np.exp(fuse(LOG_P, SAID, 1.0))[0]
    assert p[1] > p[0], "the favourite of the lm_score wins"
    assert np.allclose([p[0] + p[1], p[2], p[3]], [0.8, 0.15, 0.05])


def test_weight_zero_and_no_opinion_change_nothing() -> None:
    assert np.array_equal(fuse(LOG_P, SAID, 0.0), LOG_P)
    assert np.array_equal(fuse(LOG_P, np.full_like(LOG_P, np.nan), 2.0), LOG_P)


def test_a_ticket_without_opinion_beside_one_with_keeps_its_probabilities() -> None:
    both = np.concatenate([LOG_P, LOG_P])
    said = np.concatenate([SAID, np.full_like(SAID, np.nan)])
    assert np.array_equal(fuse(both, said, 1.0)[1], LOG_P[0])


def test_an_opinion_decides_intent_and_exemplars_and_is_seen_in_the_explanation() -> None:
    classifier, encoder = fit_classifier(train_set(), with_names=True), HashEncoder()
    ticket = Ticket("v", "export the token of a seat")
    vectors = encoder.encode([ticket.text])
    (plain,) = retrieve(classifier, [ticket], vectors)
    other = plain.intent_scores[1].intent
    said = {score.intent: (0.0 if score.intent == other else -30.0) for score in plain.intent_scores}
    (moved,) = retrieve(classifier, [ticket], vectors, lm_scores=LmScores(2.0, {"v": said}))
    assert (moved.intent, moved.exemplars[0].intent) == (other, other)
    assert retrieval_record(moved)["intent_scores"][0]["model"] == 0.0
    assert "model" not in retrieval_record(plain)["intent_scores"][0]
