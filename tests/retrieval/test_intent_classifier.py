from dataclasses import replace

import numpy as np
import pytest
from rank_bm25 import BM25Okapi

from retrieval.bm25 import BM25Index, words
from retrieval.cross_validation import folds, intent_losses, out_of_fold_scores
from retrieval.exemplars import reply_exemplars, train_row_exemplars
from retrieval.index import build_index, ranked
from retrieval.intent_classifier import IntentClassifier, IntentScores, Weights, fit_classifier, score_in_chunks
from retrieval.label_names import label_names_gate
from retrieval.results import retrieval_record
from retrieval.retrieve import retrieve
from retrieval.tickets import LabelledTicket, Ticket
from retrieval.train_set import embed_train_set, near_duplicates, unit
from tests.fakes import ROWS, HashEncoder, row, train_set


def classifier_of(
    rows: tuple[LabelledTicket, ...] = ROWS, *, with_names: bool = True, weights: Weights | None = None
) -> IntentClassifier:
    return fit_classifier(train_set(rows), with_names=with_names, weights=weights)


def ask(classifier: IntentClassifier, text: str) -> IntentScores:
    return classifier.score(HashEncoder().encode([text]), [text])


def intent(classifier: IntentClassifier, text: str) -> str:
    return classifier.train_set.intents[ask(classifier, text).winners[0]]


def test_a_ticket_goes_to_the_intent_of_its_neighbours() -> None:
    assert intent(classifier_of(), "please rotate the token") == "api.token"


def test_the_vote_is_the_sum_of_the_scores_that_faiss_returns_divided_by_class_length() -> None:
    classifier = classifier_of(with_names=False)
    intent_scores = ask(classifier, "rotate the seat")
    rows = unit(classifier.train_set.tickets - classifier.train_set.tickets.mean(axis=0))
    for c in range(len(classifier.train_set.intents)):
        members = classifier.train_set.intent_of == c
        expected = intent_scores.ticket_scores[0, members].sum() / np.linalg.norm(rows[members].sum(axis=0))
        assert intent_scores.scorers.neighbours[0, c] == pytest.approx(expected, abs=1e-5)


def test_a_name_is_worth_one_and_a_half_neighbours() -> None:
    classifier = classifier_of()
    intent_scores = ask(classifier, "rotate the seat")
    query = unit(HashEncoder().encode(["rotate the seat"]) - classifier.train_set.tickets.mean(axis=0))[0]
    rows = unit(classifier.train_set.tickets - classifier.train_set.tickets.mean(axis=0))
    names = unit(classifier.train_set.names - classifier.train_set.names.mean(axis=0))
    for c in range(len(classifier.train_set.intents)):
        whole = rows[classifier.train_set.intent_of == c].sum(axis=0) + 1.5 * names[c]
        assert intent_scores.scorers.neighbours[0, c] == pytest.approx(float(query @ whole / np.linalg.norm(whole)), abs=1e-4)


def test_the_reply_view_centres_the_ticket_as_a_ticket_and_replies_as_replies() -> None:
    classifier = classifier_of()
    intent_scores = ask(classifier, "press rotate")
    query = unit(HashEncoder().encode(["press rotate"]) - classifier.train_set.tickets.mean(axis=0))[0]
    replies = unit(classifier.train_set.replies - classifier.train_set.replies.mean(axis=0))
    for c in range(len(classifier.train_set.intents)):
        whole = replies[classifier.train_set.intent_of == c].sum(axis=0)
        assert intent_scores.scorers.replies[0, c] == pytest.approx(float(query @ whole / np.linalg.norm(whole)), abs=1e-4)


def test_the_lexical_view_gives_the_best_intent_one_and_an_intent_without_shared_words_nothing() -> None:
    scorer = ask(classifier_of(), "rotate leaked").scorers.lexical[0]
    assert scorer[classifier_of().train_set.intents.index("api.token")] == pytest.approx(1.0)
    assert scorer.min() == 0.0


def test_familiarity_knows_the_names() -> None:
    query = HashEncoder().encode(["billing"])
    with_names, without = (classifier_of(with_names=kept).score(query, ["billing"]).in_scope_score[0] for kept in (True, False))
    assert with_names > without + 0.1


def test_an_intent_without_rows_is_voted_for_by_its_name_alone() -> None:
    whole = train_set((*ROWS, row(7, "nothing in common", "security.audit", "See the log.")))
    classifier = fit_classifier(whole.without([6]), with_names=True)
    assert intent(classifier, "security audit") == "security.audit"


def test_without_names_the_vote_ignores_them() -> None:
    renamed = tuple(LabelledTicket(r.id, r.text, f"zz.{r.intent[:3]}", r.ideal_reply) for r in ROWS)
    first, second = ask(classifier_of(with_names=False), "rotate"), ask(classifier_of(renamed, with_names=False), "rotate")
    order = [sorted({r.intent for r in renamed}).index(f"zz.{name[:3]}") for name in sorted({r.intent for r in ROWS})]
    assert np.allclose(first.log_probabilities[0], second.log_probabilities[0][order], atol=1e-4)


@pytest.mark.parametrize("scorer", ["regression", "neighbours", "replies", "lexical"])
def test_a_weight_of_zero_removes_a_view(scorer: str) -> None:
    intent_scores = ask(classifier_of(), "rotate the seat")
    without = intent_scores.scorers.combined(Weights(**{scorer: 0.0}))
    muted = Weights()
    logits = sum(
        getattr(muted, v) * getattr(intent_scores.scorers, v)
        for v in ("regression", "neighbours", "replies", "lexical")
        if v != scorer
    )
    assert np.argsort(without[0]).tolist() == np.argsort(logits[0]).tolist()
    assert np.exp(without).sum() == pytest.approx(1.0)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_trap_13_few_rows_one_intent_duplicates_and_no_words_work(count: int) -> None:
    rows = tuple(row(i, "…" if i else "same", "only.intent", "same reply") for i in range(count))
    classifier = classifier_of(rows, with_names=label_names_gate(train_set(rows), seed=0).passed)
    (found,) = retrieve(classifier, [Ticket("v", "?")], HashEncoder().encode(["?"]), exemplars=4)
    assert found.intent == "only.intent"
    assert found.confidence == pytest.approx(1.0)
    assert [r.ideal_reply for r in found.exemplars] == ["same reply"]
    assert all(np.isfinite(loss) for loss in intent_losses(classifier))


def test_trap_13_bm25_scores_are_never_negative_and_no_token_is_no_error() -> None:
    assert BM25Index(["…", "!"]).scores(["anything"]).tolist() == [[0.0, 0.0]]
    assert (BM25Index(["seat seat", "seat", "seat token"]).scores(["seat"]) >= 0).all()


def test_lexical_scores_are_those_of_bm25() -> None:
    documents = ["the seat of a guest", "the api token", "the the the", "guest guest token rotation", "", "export the data"]
    queries = ["the guest token", "guest guest", "nothing of it", "", "the"]
    bm25 = BM25Okapi([words(document) for document in documents])
    expected = [np.maximum(bm25.get_scores(words(query)), 0.0) for query in queries]
    assert np.allclose(BM25Index(documents).scores(queries), expected, atol=1e-12)


def test_how_many_tickets_are_voted_on_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = classifier_of(ROWS)
    tickets = [Ticket(f"v{i}", f"seat token export {i} {row.text}") for i, row in enumerate(ROWS)]
    vectors = HashEncoder().encode([ticket.text for ticket in tickets])
    whole = retrieve(classifier, tickets, vectors)
    monkeypatch.setattr("retrieval.intent_classifier.MOST_SCORES", 2 * len(ROWS))
    portions = [
        len(intent_scores.winners)
        for intent_scores in score_in_chunks(classifier, vectors, [ticket.text for ticket in tickets])
    ]
    assert portions == [2, 2, 2]
    assert [retrieval_record(found) for found in retrieve(classifier, tickets, vectors)] == [
        retrieval_record(found) for found in whole
    ]


def test_near_duplicates_are_found_across_blocks_and_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (*ROWS, row(9, ROWS[0].text, "another.intent", "x"), row(10, ROWS[0].text, ROWS[0].intent, "y"))
    monkeypatch.setattr("retrieval.train_set.BLOCK", 3)
    found = near_duplicates(train_set(rows))
    assert found == [
        'near-duplicate tickets "t1" (billing.seat) and "t9" (another.intent)',
        'near-duplicate tickets "t9" (another.intent) and "t10" (billing.seat)',
    ]
    monkeypatch.setattr("retrieval.train_set.MOST_COMPARED", 6)
    assert near_duplicates(train_set(rows)) == []


def test_a_text_that_stands_twice_is_embedded_once() -> None:
    encoder = HashEncoder()
    found = embed_train_set((*ROWS, row(9, ROWS[0].text, "a.b", ROWS[1].ideal_reply)), encoder)
    assert encoder.asked.count(ROWS[0].text) == encoder.asked.count(ROWS[1].ideal_reply) == 1
    assert np.array_equal(found.tickets[-1], found.tickets[0])


def test_trap_9_faiss_is_never_asked_for_more_rows_than_it_has() -> None:
    index = build_index(train_set(ROWS[:2]).tickets)
    assert index.similarities(index.centred(train_set().tickets)).shape == (6, 2)


def test_trap_7_scores_that_differ_by_float_noise_are_ties_and_ties_go_to_the_earlier_row() -> None:
    assert ranked(np.array([0.5, 0.5 + 1e-7, 0.7, 0.5 - 1e-7]), 4).tolist() == [2, 0, 1, 3]


def test_trap_12_only_the_ticket_is_indexed() -> None:
    other_labels = tuple(LabelledTicket(r.id, r.text, f"other.{i}", "another reply") for i, r in enumerate(ROWS))
    assert np.array_equal(train_set().tickets, train_set(other_labels).tickets)
    index = build_index(train_set(other_labels).tickets)
    assert np.array_equal(
        index.similarities(index.centred(train_set().tickets)),
        build_index(train_set().tickets).similarities(index.centred(train_set().tickets)),
    )


def test_names_that_fit_are_used_and_shuffled_ones_are_ignored() -> None:
    topics = [
        "seat price",
        "token rotate",
        "export link",
        "guest role",
        "login locked",
        "audit log",
        "invoice pdf",
        "slack sync",
    ]
    rows = tuple(
        row(2 * i + j, f"about {topic} {j}", topic.replace(" ", "."), f"reply {i} {j}")
        for i, topic in enumerate(topics)
        for j in (0, 1)
    )
    assert label_names_gate(train_set(rows), seed=0).passed
    turned = [topics[(i + 1) % len(topics)].replace(" ", ".") for i in range(len(topics))]
    shuffled = tuple(row(i, r.text, turned[i // 2], r.ideal_reply) for i, r in enumerate(rows))
    gate = label_names_gate(train_set(shuffled), seed=0)
    assert (gate.passed, gate.decision) == (False, "ignored")


def test_with_three_intents_the_best_of_all_assignments_is_enough() -> None:
    rows = tuple(row(i, f"my {word} please", f"{word}.question", word) for i, word in enumerate(["seat", "token", "export"]))
    assert label_names_gate(train_set(rows), seed=0).passed


def test_held_out_votes_do_not_know_the_row() -> None:
    odd = (*ROWS, row(7, "zebra quagga okapi", "api.token", "x"))
    classifier = classifier_of(odd)
    held, seen = out_of_fold_scores(classifier), classifier.score(classifier.train_set.tickets, [r.text for r in odd])
    token = classifier.train_set.intents.index("api.token")
    assert seen.log_probabilities[6, token] > -0.2
    assert held.log_probabilities[6, token] < seen.log_probabilities[6, token] - 0.3


def test_folds_spread_the_rows_of_an_intent() -> None:
    half = folds(train_set(), count=2)
    assert [sorted(half[train_set().intent_of == c].tolist()) for c in range(3)] == [[0, 1]] * 3


def test_exemplars_are_ranked_and_no_reply_stands_twice() -> None:
    rows = (*ROWS, row(7, "rotate my api token again", "api.token", ROWS[2].ideal_reply))
    classifier = classifier_of(rows)
    chosen = reply_exemplars(classifier.train_set, ask(classifier, "rotate token under settings"), 0, count=4)
    replies = [rows[i].ideal_reply for i in chosen]
    assert replies[0] == ROWS[2].ideal_reply
    assert len(set(replies)) == len(replies) == 4


def test_a_rows_own_ticket_does_not_lift_its_own_reply() -> None:
    classifier = classifier_of()
    intent_scores = out_of_fold_scores(classifier)
    scores = intent_scores.ticket_scores.copy()
    np.fill_diagonal(scores, -1.0)
    blind = replace(intent_scores, ticket_scores=scores)
    for number in range(len(ROWS)):
        chosen, blindly = (
            train_row_exemplars(classifier.train_set, v, number, count=4, with_own=True).tolist()
            for v in (intent_scores, blind)
        )
        assert chosen == blindly


def test_an_own_reply_that_retrieval_would_not_find_takes_the_last_place() -> None:
    rows = (*ROWS, row(7, "press revoke or rotate under settings → api", "data.export", "Something about nothing."))
    classifier = classifier_of(rows)
    assert train_row_exemplars(classifier.train_set, out_of_fold_scores(classifier), 6, count=2, with_own=True).tolist()[1] == 6


@pytest.mark.parametrize("number", range(6))
def test_left_out_rows_are_not_among_their_exemplars(number: int) -> None:
    classifier = classifier_of()
    intent_scores = out_of_fold_scores(classifier)
    assert number in train_row_exemplars(classifier.train_set, intent_scores, number, count=2, with_own=True)
    assert number not in train_row_exemplars(classifier.train_set, intent_scores, number, count=6, with_own=False)


def test_near_duplicates_with_different_intents_are_named() -> None:
    rows = (*ROWS, row(7, "my token leaked", "billing.seat", "x"))
    assert near_duplicates(train_set(rows)) == ['near-duplicate tickets "t4" (api.token) and "t7" (billing.seat)']


def test_a_stranger_is_unfamiliar_and_a_repeated_ticket_is_not() -> None:
    classifier = classifier_of()
    strange, known = retrieve(
        classifier,
        [Ticket("a", "xylophone"), Ticket("b", ROWS[0].text)],
        HashEncoder().encode(["xylophone", ROWS[0].text]),
        exemplars=2,
    )
    assert strange.out_of_scope
    assert not known.out_of_scope
    assert known.neighbours[0].row is classifier.train_set.rows[0]
