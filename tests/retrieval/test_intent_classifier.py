from dataclasses import fields, replace

import numpy as np
import pytest

from retrieval.encoder import Vectors, unit
from retrieval.intent_classifier import (
    NAME_NEIGHBOURS,
    IntentClassifier,
    IntentScores,
    ScorerOutputs,
    ScorerWeights,
    fit_classifier,
    winners,
)
from retrieval.taxonomy import Taxonomy
from retrieval.tickets import LabelledTicket
from tests.fakes import ROWS, HashEncoder, row, train_set, with_rowless

TICKET = "rotate the seat"
SCORERS = [scorer.name for scorer in fields(ScorerOutputs)]


def classifier_of(rows: tuple[LabelledTicket, ...] = ROWS, *, with_names: bool = True) -> IntentClassifier:
    return fit_classifier(train_set(rows), with_names=with_names)


def scores_of(classifier: IntentClassifier, text: str = TICKET) -> IntentScores:
    return classifier.score(HashEncoder().encode([text]), [text])


def intent_of(classifier: IntentClassifier, text: str) -> str:
    return classifier.train_set.intents[scores_of(classifier, text).winners[0]]


def centred(vectors: Vectors) -> Vectors:
    return unit(vectors - vectors.mean(axis=0))


def query(classifier: IntentClassifier) -> Vectors:
    return unit(HashEncoder().encode([TICKET]) - classifier.train_set.ticket_vectors.mean(axis=0))[0]


def test_a_ticket_goes_to_the_intent_of_its_neighbours() -> None:
    assert intent_of(classifier_of(), "please rotate the token") == "api.token"


@pytest.mark.parametrize("with_names", [True, False])
def test_the_ticket_vote_is_the_knn_vote_over_all_rows_divided_by_the_length_of_the_class_sum(with_names: bool) -> None:
    classifier = classifier_of((*ROWS, row(7, "one more token", "api.token", "x")), with_names=with_names)
    train, asked = classifier.train_set, query(classifier)
    rows, names = centred(train.ticket_vectors), NAME_NEIGHBOURS * with_names * centred(train.name_vectors)
    for c in range(len(train.intents)):
        members = rows[train.labels == c]
        vote = sum(float(asked @ member) for member in members) + float(asked @ names[c])
        length = float(np.linalg.norm(members.sum(axis=0) + names[c]))
        assert scores_of(classifier).scorers.ticket_vote[0, c] == pytest.approx(vote / length, abs=1e-5)


def test_a_label_name_counts_as_one_and_a_half_neighbours() -> None:
    assert NAME_NEIGHBOURS == 1.5


def test_the_reply_vote_centres_the_ticket_as_a_ticket_and_replies_as_replies_and_has_no_names() -> None:
    classifier = classifier_of()
    train, asked = classifier.train_set, query(classifier)
    replies = centred(train.reply_vectors)
    for c in range(len(train.intents)):
        members = replies[train.labels == c]
        vote = sum(float(asked @ member) for member in members) / float(np.linalg.norm(members.sum(axis=0)))
        assert scores_of(classifier).scorers.reply_vote[0, c] == pytest.approx(vote, abs=1e-5)


def test_the_vote_shares_of_all_rows_and_of_the_name_sum_to_the_ticket_vote() -> None:
    rows = (*ROWS, row(7, ROWS[2].text, "api.token", "x"), row(8, "one more token", "api.token", "y"))
    classifier = classifier_of(rows)
    train, everyone = classifier.train_set, np.arange(len(rows))
    shares = classifier.vote_shares(everyone, classifier.ticket_index.cosines(query(classifier), everyone))
    names = NAME_NEIGHBOURS * centred(train.name_vectors) @ query(classifier) / classifier.ticket_vote.lengths
    for c in range(len(train.intents)):
        whole = scores_of(classifier).scorers.ticket_vote[0, c]
        assert shares[train.labels == c].sum() + names[c] == pytest.approx(whole, abs=1e-5)


def test_bm25_gives_the_best_intent_one_and_an_intent_without_shared_words_nothing() -> None:
    found = scores_of(classifier_of(), "rotate leaked").scorers.bm25[0]
    assert found[classifier_of().train_set.intents.index("api.token")] == pytest.approx(1.0)
    assert found.min() == 0.0


def test_bm25_of_a_row_is_that_of_its_own_ticket_whatever_the_order_of_the_rows() -> None:
    order = (ROWS[4], ROWS[0], ROWS[2], ROWS[5], ROWS[1], ROWS[3])
    found = scores_of(classifier_of(order), "seat token leaked").row_bm25[0]
    assert [ROWS.index(order[i]) for i in np.flatnonzero(found)] == [0, 2, 1, 3]
    assert order[int(found.argmax())].text == "my token leaked"


def test_the_in_scope_score_is_the_highest_cosine_to_an_intent_and_includes_its_name() -> None:
    with_names, without = (scores_of(classifier_of(with_names=kept), "billing").in_scope[0] for kept in (True, False))
    assert with_names > without + 0.1
    means = unit(np.stack([train_set().ticket_vectors[i : i + 2].mean(axis=0) for i in (0, 2, 4)]))
    assert without == pytest.approx((means @ HashEncoder().encode(["billing"])[0]).max(), abs=1e-5)


def test_a_ticket_that_resembles_no_intent_has_a_low_in_scope_score_and_a_repeated_one_a_high_one() -> None:
    strange, known = (scores_of(classifier_of(), text).in_scope[0] for text in ("xylophone", ROWS[0].text))
    assert strange < classifier_of().in_scope_threshold < known


def test_an_intent_without_rows_can_win_by_its_name_alone() -> None:
    whole = train_set((*ROWS, row(7, "nothing in common", "security.audit", "See the log.")))
    assert intent_of(fit_classifier(whole.without([6]), with_names=True), "security audit") == "security.audit"


def test_without_names_an_intent_that_has_no_rows_hardly_gets_probability() -> None:
    whole = train_set((*ROWS, row(7, "nothing in common", "security.audit", "See the log.")))
    scores = scores_of(fit_classifier(whole.without([6]), with_names=False), "security audit")
    assert np.exp(scores.log_probabilities[0, whole.intents.index("security.audit")]) < 1e-6


def test_the_ticket_vote_of_an_intent_without_rows_stands_in_for_its_reply_vote() -> None:
    whole = with_rowless()
    found = scores_of(fit_classifier(whole, with_names=True), "security audit of a seat").scorers
    without_rows = whole.intents.index("security.audit")
    assert found.reply_vote[0, without_rows] == found.ticket_vote[0, without_rows] > 0
    others = [c for c in range(len(whole.intents)) if c != without_rows]
    assert not np.allclose(found.reply_vote[0, others], found.ticket_vote[0, others])


def test_bm25_reads_the_words_of_a_name_and_of_its_description() -> None:
    whole = with_rowless()
    described = replace(whole, taxonomy=Taxonomy({"security.audit": "history of events"}, {}))
    for text in ("audit", "history"):
        found = scores_of(fit_classifier(described, with_names=True), text).scorers.bm25[0]
        assert found[whole.intents.index("security.audit")] == pytest.approx(1.0)
    assert scores_of(fit_classifier(described, with_names=False), "history").scorers.bm25.max() == 0.0


@pytest.mark.parametrize("rows", [ROWS, ROWS[:2], ROWS[:1]])
def test_without_names_an_intent_without_rows_is_never_predicted(rows: tuple[LabelledTicket, ...]) -> None:
    """The name of the intent comes first, so it would win a tie."""
    classifier = fit_classifier(with_rowless(rows, rowless="a.audit"), with_names=False)
    for text in ("a audit", "xylophone", ROWS[0].text):
        assert intent_of(classifier, text) != "a.audit"
        assert np.exp(scores_of(classifier, text).log_probabilities[0, 0]) < 1e-4


def test_without_names_the_words_of_a_name_change_nothing() -> None:
    renamed = tuple(LabelledTicket(r.id, r.text, f"zz.{r.intent}", r.ideal_reply) for r in ROWS)
    first, second = (scores_of(classifier_of(rows, with_names=False)).log_probabilities for rows in (ROWS, renamed))
    assert np.allclose(first, second, atol=1e-6)


@pytest.mark.parametrize("removed", SCORERS)
def test_a_weight_of_zero_removes_a_scorer(removed: str) -> None:
    scorers = scores_of(classifier_of()).scorers
    found = scorers.log_probabilities(ScorerWeights(**{removed: 0.0}))[0]
    logits = sum(getattr(ScorerWeights(), name) * getattr(scorers, name)[0] for name in SCORERS if name != removed)
    assert np.allclose(found - found[0], logits - logits[0])
    assert np.exp(found).sum() == pytest.approx(1.0)


def test_likeliest_intents_that_differ_by_float_noise_are_ties_and_go_to_the_first() -> None:
    assert winners(np.array([[-1.0 - 1e-7, -1.0], [-1.0, -1.0 + 1e-4]])).tolist() == [0, 1]


def test_batches_give_the_same_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, texts = classifier_of(), [row.text for row in ROWS]
    vectors = HashEncoder().encode(texts)
    whole = classifier.score(vectors, texts)
    monkeypatch.setattr("retrieval.intent_classifier.MAX_SCORES", 4 * len(ROWS))
    batches = list(classifier.batches(vectors, texts))
    assert [batch for batch, _ in batches] == [slice(0, 4), slice(4, 8)]
    for name in ("log_probabilities", "in_scope", "row_bm25"):
        assert np.allclose(np.concatenate([getattr(scores, name) for _, scores in batches]), getattr(whole, name), atol=1e-6)
    monkeypatch.setattr("retrieval.intent_classifier.MAX_SCORES", 1)
    assert len(list(classifier.batches(vectors, texts))) == len(texts), "one at a time, however many rows"
    assert list(classifier.batches(vectors[:0], [])) == []
