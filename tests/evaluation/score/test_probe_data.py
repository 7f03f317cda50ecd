"""The probes of the sample: plain, new in their words, and each answered by one train row."""

from evaluation.score.labels import Label, read_label_files, read_labels
from retrieval.bm25 import words
from retrieval.tickets import LabelledTicket, normalised, read_train, read_val
from tests.test_run import ROOT

DATA = ROOT / "data"
SHARED = 4  # words in a row that no probe has in common with another ticket
LABELS = read_labels(DATA / "probe_labels.jsonl")
PROBES, PROBLEMS = read_val(DATA / "probes.jsonl")
TRAIN, _ = read_train(DATA / "train.jsonl")


def sequences(text: str) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[i : i + SHARED]) for i in range(len(found) - SHARED + 1)}


def answers(label: Label, row: LabelledTicket) -> bool:
    """Whether the stored reply is of the probe's intent, holds all that it needs and nothing that it must not."""
    wanted = not label.missing_facts(row.ideal_reply) and not label.wrong_facts(row.ideal_reply)
    return row.intent == label.intents[0] and wanted


def test_there_are_twenty_and_their_labels_are_those_of_the_tickets() -> None:
    assert PROBLEMS == []
    assert [probe.id for probe in PROBES] == [f"p-{number:03}" for number in range(1, 21)] == list(LABELS)
    assert [probe.text for probe in PROBES] == [label.ticket for label in LABELS.values()]
    assert {label.kind for label in LABELS.values()} == {"probe"}
    assert len(read_label_files([DATA / "val_labels.jsonl", DATA / "probe_labels.jsonl"])) == 30


def test_they_ask_about_at_least_twelve_of_the_fifteen_intents() -> None:
    known = {row.intent for row in TRAIN}
    assert {intent for label in LABELS.values() for intent in label.intents} <= known
    assert len({label.intents[0] for label in LABELS.values()}) >= 12


def test_they_share_no_four_words_in_a_row_with_another_ticket() -> None:
    others, problems = read_val(DATA / "val.jsonl")
    assert problems == []
    known = {found: ticket.id for ticket in (*TRAIN, *others) for found in sequences(ticket.text)}
    shared = [(probe.id, known[found]) for probe in PROBES for found in sequences(probe.text) if found in known]
    assert shared == []
    assert sequences(TRAIN[0].text) & known.keys(), "a ticket would be found"


def test_they_are_short_and_different() -> None:
    assert all(3 < len(words(probe.text)) <= 20 for probe in PROBES)
    assert len({normalised(probe.text) for probe in PROBES}) == len(PROBES)


def test_one_train_reply_answers_each_of_them() -> None:
    unanswered = [label.id for label in LABELS.values() if not any(answers(label, row) for row in TRAIN)]
    assert unanswered == []
    assert all(label.must_mention and label.must_not_mention for label in LABELS.values())


def test_their_ideal_replies_are_in_the_house_voice_and_right_by_their_own_label() -> None:
    for label in LABELS.values():
        assert 25 <= len(label.ideal_reply.split()) <= 60, label.id
        assert (label.missing_facts(label.ideal_reply), label.wrong_facts(label.ideal_reply)) == ((), ()), label.id
        assert not label.ideal_reply.lower().startswith(("hi", "hello", "dear", "thank")), label.id
