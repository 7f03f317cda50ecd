import numpy as np

from retrieval.label_names import label_names_gate
from retrieval.tickets import LabelledTicket
from retrieval.train_set import TrainSet
from tests.fakes import row, train_set

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
