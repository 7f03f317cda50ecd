import json
from collections.abc import Mapping

import numpy as np
import pytest

from retrieval.encoder import humanised, unit
from retrieval.label_names import embed_and_test_labels, label_names_gate
from retrieval.taxonomy import Taxonomy
from retrieval.tickets import LabelledTicket
from retrieval.train_set import TrainSet, embed_train_set
from tests.fakes import HashEncoder, row, train_set

TOPICS = ("seat price", "token rotate", "export link", "guest role", "login locked", "audit log", "invoice pdf", "slack sync")


def named(names: list[str]) -> TrainSet:
    """Two rows for each topic, labelled by these names."""
    rows = [LabelledTicket(f"{i}.{j}", f"about {TOPICS[i]} {j}", names[i], "r") for i in range(len(names)) for j in (0, 1)]
    return train_set(rows)


def test_names_that_fit_are_used_and_shuffled_ones_are_ignored() -> None:
    names = [topic.replace(" ", ".") for topic in TOPICS]
    gate = label_names_gate(named(names), seed=0)
    assert (gate.passed, gate.decision) == (True, "used")
    gate = label_names_gate(named([*names[1:], names[0]]), seed=0)
    assert (gate.passed, gate.decision) == (False, "ignored")


def test_with_three_intents_the_best_of_all_assignments_is_enough() -> None:
    names = ["seat.question", "token.question", "export.question"]
    for order, passed in (([0, 1, 2], True), ([1, 0, 2], False)):
        rows = [row(i, f"my {names[c].split('.')[0]} please", names[i], "r") for i, c in enumerate(order)]
        gate = label_names_gate(train_set(rows), seed=0)
        assert gate.passed == passed
        assert "over 5 permutations" in gate.reason


def test_names_of_the_same_words_tell_nothing_apart() -> None:
    assert not label_names_gate(named(["seat.price", "Seat price"]), seed=0).passed


def test_one_intent_has_nothing_to_compare_its_name_with() -> None:
    assert not label_names_gate(named(["seat.price"]), seed=0).passed


def test_the_figures_are_those_of_the_rows_beside_their_names() -> None:
    shown = named([topic.replace(" ", ".") for topic in TOPICS])
    rows, names = (x - x.mean(axis=0) for x in (shown.ticket_vectors, shown.name_vectors))
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(names[shown.labels], axis=1)
    expected = ((rows * names[shown.labels]).sum(axis=1) / lengths).mean()
    (figure,) = label_names_gate(shown, seed=0).figures.values()
    assert abs(figure - expected) < 1e-5


def taxonomy(descriptions: Mapping[str, str]) -> Taxonomy:
    return Taxonomy(descriptions, {name: name for name in descriptions})


@pytest.mark.parametrize(("order", "passed"), [((0, 1), True), ((1, 0), False)])
def test_permutations_of_the_names_of_intents_without_rows_do_not_count(order: tuple[int, int], passed: bool) -> None:
    """Of four names two have rows: twelve assignments, of which 24 permutations would hold the right one twice."""
    names = dict.fromkeys(("seat.question", "token.question", "export.question", "guest.question"), "")
    rows = [row(i, f"my {('seat', 'token')[c]} please", f"{('seat', 'token')[i]}.question", "r") for i, c in enumerate(order)]
    gate = label_names_gate(embed_train_set(rows, HashEncoder(), taxonomy(names)), seed=0)
    assert gate.passed == passed
    assert "over 11 permutations" in gate.reason


CLASSES = [f"class.{i}" for i in range(len(TOPICS))]
TOPIC_ROWS = [LabelledTicket(str(i), f"about {topic}", CLASSES[i], "r") for i, topic in enumerate(TOPICS)]


def test_a_name_of_an_intent_without_rows_that_is_nearer_speaks_against_the_names() -> None:
    fitting = [topic.replace(" ", ".") for topic in TOPICS]
    known = taxonomy(dict.fromkeys([*CLASSES, *fitting], ""))
    assert not label_names_gate(embed_train_set(TOPIC_ROWS, HashEncoder(), known), seed=0).passed


def test_descriptions_that_fit_become_half_of_the_label_and_those_that_do_not_are_left_out() -> None:
    right = dict(zip(CLASSES, TOPICS, strict=True))
    found, gates = embed_and_test_labels(TOPIC_ROWS, HashEncoder(), taxonomy(right), seed=0)
    assert [(gate.name, gate.passed) for gate in gates] == [("descriptions", True), ("label names", True)]
    assert found.descriptions == right
    halves = [HashEncoder().encode(texts) for texts in ([humanised(name) for name in CLASSES], list(TOPICS))]
    assert np.allclose(found.name_vectors, unit(halves[0] + halves[1]), atol=1e-6)
    assert found.label_texts[0] == "class 0: seat price"
    shifted = dict(zip(CLASSES, [*TOPICS[1:], TOPICS[0]], strict=True))
    found, gates = embed_and_test_labels(TOPIC_ROWS, HashEncoder(), taxonomy(shifted), seed=0)
    assert [gate.passed for gate in gates] == [False, False], "class.0 says nothing either"
    assert (found.descriptions, found.label_texts[0]) == ({}, "class 0")
    assert np.allclose(found.name_vectors, halves[0], atol=1e-6)


def test_shuffled_descriptions_do_not_pass_because_the_names_are_right() -> None:
    names = [topic.replace(" ", ".") for topic in TOPICS]
    rows = [LabelledTicket(str(i), f"about {topic}", names[i], "r") for i, topic in enumerate(TOPICS)]
    shifted = dict(zip(names, [*TOPICS[1:], TOPICS[0]], strict=True))
    found, gates = embed_and_test_labels(rows, HashEncoder(), taxonomy(shifted), seed=0)
    assert [(gate.name, gate.decision) for gate in gates] == [("descriptions", "ignored"), ("label names", "used")]
    assert found.descriptions == {}


def test_descriptions_of_intents_without_rows_alone_cannot_be_tested_and_are_not_used() -> None:
    names = [topic.replace(" ", ".") for topic in TOPICS]
    rows = [LabelledTicket(str(i), f"about {topic}", names[i], "r") for i, topic in enumerate(TOPICS)]
    given = taxonomy(dict.fromkeys(names, "") | {"other.thing": "zebras"})
    found, (gate, names_gate) = embed_and_test_labels(rows, HashEncoder(), given, seed=0)
    assert (gate.passed, gate.n, gate.reason) == (False, 0, "no row has an intent with a description to test them on")
    assert names_gate.passed
    assert "other.thing" in found.intents
    json.dumps([gate.value, dict(gate.figures)], allow_nan=False)


def test_without_descriptions_there_is_one_gate() -> None:
    for given in (None, taxonomy(dict.fromkeys(CLASSES, ""))):
        found, gates = embed_and_test_labels(TOPIC_ROWS, HashEncoder(), given, seed=0)
        assert [gate.name for gate in gates] == ["label names"]
        assert found.intents == tuple(CLASSES)
