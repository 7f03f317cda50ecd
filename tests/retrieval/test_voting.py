from dataclasses import replace

import numpy as np
import pytest
from rank_bm25 import BM25Okapi

from retrieval.desk import embed_desk, near_duplicates, unit
from retrieval.exemplars import honest_exemplars, reply_exemplars
from retrieval.heldout import folds, held_out_votes, intent_losses
from retrieval.index import build_index, ranked
from retrieval.lexical import LexicalIndex, words
from retrieval.lookup import look_up
from retrieval.names import names_gate
from retrieval.results import lookup_record
from retrieval.tickets import LabelledTicket, Ticket
from retrieval.voting import IntentPool, Votes, Weights, fit_pool, vote_in_chunks
from tests.fakes import ROWS, HashEncoder, desk, row


def pool_of(rows: tuple[LabelledTicket, ...] = ROWS, *, with_names: bool = True, weights: Weights | None = None) -> IntentPool:
    return fit_pool(desk(rows), with_names=with_names, weights=weights)


def ask(pool: IntentPool, text: str) -> Votes:
    return pool.vote(HashEncoder().encode([text]), [text])


def intent(pool: IntentPool, text: str) -> str:
    return pool.desk.intents[ask(pool, text).winners[0]]


def test_a_ticket_goes_to_the_intent_of_its_neighbours() -> None:
    assert intent(pool_of(), "please rotate the token") == "api.token"


def test_the_vote_is_the_sum_of_the_scores_that_faiss_returns_divided_by_class_length() -> None:
    pool = pool_of(with_names=False)
    votes = ask(pool, "rotate the seat")
    rows = unit(pool.desk.tickets - pool.desk.tickets.mean(axis=0))
    for c in range(len(pool.desk.intents)):
        members = pool.desk.intent_of == c
        expected = votes.ticket_scores[0, members].sum() / np.linalg.norm(rows[members].sum(axis=0))
        assert votes.views.neighbours[0, c] == pytest.approx(expected, abs=1e-5)


def test_a_name_is_worth_one_and_a_half_neighbours() -> None:
    pool = pool_of()
    votes = ask(pool, "rotate the seat")
    query = unit(HashEncoder().encode(["rotate the seat"]) - pool.desk.tickets.mean(axis=0))[0]
    rows = unit(pool.desk.tickets - pool.desk.tickets.mean(axis=0))
    names = unit(pool.desk.names - pool.desk.names.mean(axis=0))
    for c in range(len(pool.desk.intents)):
        whole = rows[pool.desk.intent_of == c].sum(axis=0) + 1.5 * names[c]
        assert votes.views.neighbours[0, c] == pytest.approx(float(query @ whole / np.linalg.norm(whole)), abs=1e-4)


def test_the_reply_view_centres_the_ticket_as_a_ticket_and_replies_as_replies() -> None:
    pool = pool_of()
    votes = ask(pool, "press rotate")
    query = unit(HashEncoder().encode(["press rotate"]) - pool.desk.tickets.mean(axis=0))[0]
    replies = unit(pool.desk.replies - pool.desk.replies.mean(axis=0))
    for c in range(len(pool.desk.intents)):
        whole = replies[pool.desk.intent_of == c].sum(axis=0)
        assert votes.views.replies[0, c] == pytest.approx(float(query @ whole / np.linalg.norm(whole)), abs=1e-4)


def test_the_lexical_view_gives_the_best_intent_one_and_an_intent_without_shared_words_nothing() -> None:
    view = ask(pool_of(), "rotate leaked").views.lexical[0]
    assert view[pool_of().desk.intents.index("api.token")] == pytest.approx(1.0)
    assert view.min() == 0.0


def test_familiarity_knows_the_names() -> None:
    query = HashEncoder().encode(["billing"])
    with_names, without = (pool_of(with_names=kept).vote(query, ["billing"]).familiarity[0] for kept in (True, False))
    assert with_names > without + 0.1


def test_an_intent_without_rows_is_voted_for_by_its_name_alone() -> None:
    whole = desk((*ROWS, row(7, "nothing in common", "security.audit", "See the log.")))
    pool = fit_pool(whole.without([6]), with_names=True)
    assert intent(pool, "security audit") == "security.audit"


def test_without_names_the_vote_ignores_them() -> None:
    renamed = tuple(LabelledTicket(r.id, r.text, f"zz.{r.intent[:3]}", r.ideal_reply) for r in ROWS)
    first, second = ask(pool_of(with_names=False), "rotate"), ask(pool_of(renamed, with_names=False), "rotate")
    order = [sorted({r.intent for r in renamed}).index(f"zz.{name[:3]}") for name in sorted({r.intent for r in ROWS})]
    assert np.allclose(first.log_probabilities[0], second.log_probabilities[0][order], atol=1e-4)


@pytest.mark.parametrize("view", ["regression", "neighbours", "replies", "lexical"])
def test_a_weight_of_zero_removes_a_view(view: str) -> None:
    votes = ask(pool_of(), "rotate the seat")
    without = votes.views.pooled(Weights(**{view: 0.0}))
    muted = Weights()
    logits = sum(
        getattr(muted, v) * getattr(votes.views, v) for v in ("regression", "neighbours", "replies", "lexical") if v != view
    )
    assert np.argsort(without[0]).tolist() == np.argsort(logits[0]).tolist()
    assert np.exp(without).sum() == pytest.approx(1.0)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_trap_13_few_rows_one_intent_duplicates_and_no_words_work(count: int) -> None:
    rows = tuple(row(i, "…" if i else "same", "only.intent", "same reply") for i in range(count))
    pool = pool_of(rows, with_names=names_gate(desk(rows), seed=0).passed)
    (found,) = look_up(pool, [Ticket("v", "?")], HashEncoder().encode(["?"]), exemplars=4)
    assert found.intent == "only.intent"
    assert found.confidence == pytest.approx(1.0)
    assert [r.ideal_reply for r in found.exemplars] == ["same reply"]
    assert all(np.isfinite(loss) for loss in intent_losses(pool))


def test_trap_13_bm25_scores_are_never_negative_and_no_token_is_no_error() -> None:
    assert LexicalIndex(["…", "!"]).scores(["anything"]).tolist() == [[0.0, 0.0]]
    assert (LexicalIndex(["seat seat", "seat", "seat token"]).scores(["seat"]) >= 0).all()


def test_lexical_scores_are_those_of_bm25() -> None:
    documents = ["the seat of a guest", "the api token", "the the the", "guest guest token rotation", "", "export the data"]
    queries = ["the guest token", "guest guest", "nothing of it", "", "the"]
    bm25 = BM25Okapi([words(document) for document in documents])
    expected = [np.maximum(bm25.get_scores(words(query)), 0.0) for query in queries]
    assert np.allclose(LexicalIndex(documents).scores(queries), expected, atol=1e-12)


def test_how_many_tickets_are_voted_on_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = pool_of(ROWS)
    tickets = [Ticket(f"v{i}", f"seat token export {i} {row.text}") for i, row in enumerate(ROWS)]
    vectors = HashEncoder().encode([ticket.text for ticket in tickets])
    whole = look_up(pool, tickets, vectors)
    monkeypatch.setattr("retrieval.voting.MOST_SCORES", 2 * len(ROWS))
    portions = [len(votes.winners) for votes in vote_in_chunks(pool, vectors, [ticket.text for ticket in tickets])]
    assert portions == [2, 2, 2]
    assert [lookup_record(found) for found in look_up(pool, tickets, vectors)] == [lookup_record(found) for found in whole]


def test_near_duplicates_are_found_across_blocks_and_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (*ROWS, row(9, ROWS[0].text, "another.intent", "x"), row(10, ROWS[0].text, ROWS[0].intent, "y"))
    monkeypatch.setattr("retrieval.desk.BLOCK", 3)
    found = near_duplicates(desk(rows))
    assert found == [
        'near-duplicate tickets "t1" (billing.seat) and "t9" (another.intent)',
        'near-duplicate tickets "t9" (another.intent) and "t10" (billing.seat)',
    ]
    monkeypatch.setattr("retrieval.desk.MOST_COMPARED", 6)
    assert near_duplicates(desk(rows)) == []


def test_a_text_that_stands_twice_is_embedded_once() -> None:
    encoder = HashEncoder()
    found = embed_desk((*ROWS, row(9, ROWS[0].text, "a.b", ROWS[1].ideal_reply)), encoder)
    assert encoder.asked.count(ROWS[0].text) == encoder.asked.count(ROWS[1].ideal_reply) == 1
    assert np.array_equal(found.tickets[-1], found.tickets[0])


def test_trap_9_faiss_is_never_asked_for_more_rows_than_it_has() -> None:
    index = build_index(desk(ROWS[:2]).tickets)
    assert index.similarities(index.centred(desk().tickets)).shape == (6, 2)


def test_trap_7_scores_that_differ_by_float_noise_are_ties_and_ties_go_to_the_earlier_row() -> None:
    assert ranked(np.array([0.5, 0.5 + 1e-7, 0.7, 0.5 - 1e-7]), 4).tolist() == [2, 0, 1, 3]


def test_trap_12_only_the_ticket_is_indexed() -> None:
    other_labels = tuple(LabelledTicket(r.id, r.text, f"other.{i}", "another reply") for i, r in enumerate(ROWS))
    assert np.array_equal(desk().tickets, desk(other_labels).tickets)
    index = build_index(desk(other_labels).tickets)
    assert np.array_equal(
        index.similarities(index.centred(desk().tickets)),
        build_index(desk().tickets).similarities(index.centred(desk().tickets)),
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
    assert names_gate(desk(rows), seed=0).passed
    turned = [topics[(i + 1) % len(topics)].replace(" ", ".") for i in range(len(topics))]
    shuffled = tuple(row(i, r.text, turned[i // 2], r.ideal_reply) for i, r in enumerate(rows))
    gate = names_gate(desk(shuffled), seed=0)
    assert (gate.passed, gate.decision) == (False, "ignored")


def test_with_three_intents_the_best_of_all_assignments_is_enough() -> None:
    rows = tuple(row(i, f"my {word} please", f"{word}.question", word) for i, word in enumerate(["seat", "token", "export"]))
    assert names_gate(desk(rows), seed=0).passed


def test_held_out_votes_do_not_know_the_row() -> None:
    odd = (*ROWS, row(7, "zebra quagga okapi", "api.token", "x"))
    pool = pool_of(odd)
    held, seen = held_out_votes(pool), pool.vote(pool.desk.tickets, [r.text for r in odd])
    token = pool.desk.intents.index("api.token")
    assert seen.log_probabilities[6, token] > -0.2
    assert held.log_probabilities[6, token] < seen.log_probabilities[6, token] - 0.3


def test_folds_spread_the_rows_of_an_intent() -> None:
    half = folds(desk(), count=2)
    assert [sorted(half[desk().intent_of == c].tolist()) for c in range(3)] == [[0, 1]] * 3


def test_exemplars_are_ranked_and_no_reply_stands_twice() -> None:
    rows = (*ROWS, row(7, "rotate my api token again", "api.token", ROWS[2].ideal_reply))
    pool = pool_of(rows)
    chosen = reply_exemplars(pool.desk, ask(pool, "rotate token under settings"), 0, count=4)
    replies = [rows[i].ideal_reply for i in chosen]
    assert replies[0] == ROWS[2].ideal_reply
    assert len(set(replies)) == len(replies) == 4


def test_a_rows_own_ticket_does_not_lift_its_own_reply() -> None:
    pool = pool_of()
    votes = held_out_votes(pool)
    scores = votes.ticket_scores.copy()
    np.fill_diagonal(scores, -1.0)
    blind = replace(votes, ticket_scores=scores)
    for number in range(len(ROWS)):
        chosen, blindly = (honest_exemplars(pool.desk, v, number, count=4, with_own=True).tolist() for v in (votes, blind))
        assert chosen == blindly


def test_an_own_reply_that_retrieval_would_not_find_takes_the_last_place() -> None:
    rows = (*ROWS, row(7, "press revoke or rotate under settings → api", "data.export", "Something about nothing."))
    pool = pool_of(rows)
    assert honest_exemplars(pool.desk, held_out_votes(pool), 6, count=2, with_own=True).tolist()[1] == 6


@pytest.mark.parametrize("number", range(6))
def test_left_out_rows_are_not_among_their_exemplars(number: int) -> None:
    pool = pool_of()
    votes = held_out_votes(pool)
    assert number in honest_exemplars(pool.desk, votes, number, count=2, with_own=True)
    assert number not in honest_exemplars(pool.desk, votes, number, count=6, with_own=False)


def test_near_duplicates_with_different_intents_are_named() -> None:
    rows = (*ROWS, row(7, "my token leaked", "billing.seat", "x"))
    assert near_duplicates(desk(rows)) == ['near-duplicate tickets "t4" (api.token) and "t7" (billing.seat)']


def test_a_stranger_is_unfamiliar_and_a_repeated_ticket_is_not() -> None:
    pool = pool_of()
    strange, known = look_up(
        pool,
        [Ticket("a", "xylophone"), Ticket("b", ROWS[0].text)],
        HashEncoder().encode(["xylophone", ROWS[0].text]),
        exemplars=2,
    )
    assert strange.unfamiliar
    assert not known.unfamiliar
    assert known.neighbours[0].row is pool.desk.rows[0]
