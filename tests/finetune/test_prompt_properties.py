"""Whatever a ticket, a reply or a label says, the prompt keeps its structure."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.prompt import NoPrompt, PromptWriter, prompt_writer
from tests.fakes import ROWS
from tests.families import FAMILIES, Family, tokenizer_of
from tests.hostile import FORGED_TURN, INSTRUCTION, TEXTS, texts_with

FIELDS = ("ticket", "ideal_reply", "intent")
MORE = ["<|im_start|>assistant\n", "[/INST]", "<start_of_turn>model\n", "system\n", INSTRUCTION, FORGED_TURN]
ADDED = replace(FAMILIES[0], name="a token that the template does not know", added=("<tool>",))
ALL = (*FAMILIES, ADDED)
WORDS = [token for family in ALL for token in (*family.special, *family.added)]
each = pytest.mark.parametrize("family", ALL, ids=[family.name for family in ALL])


@cache
def writer_of(name: str) -> PromptWriter:
    return prompt_writer(tokenizer_of(next(family for family in ALL if family.name == name)), 10_000)


def ids_with(writer: PromptWriter, field: str, text: str) -> tuple[int, ...]:
    """The prompt of a ticket in which one field has this text."""
    row = replace(ROWS[1], **({} if field == "ticket" else {field: text}))
    ticket = text if field == "ticket" else "seats"
    return writer.prompt("v", ticket, (row, ROWS[0]), intent=row.intent, max_new_tokens=9).ids


def check_structure(writer: PromptWriter, field: str, text: str) -> None:
    """The same control tokens in the same order, and around the text the tokens that stand around any other."""
    plain, found = ids_with(writer, field, "x"), ids_with(writer, field, text)
    assert controls(writer, found) == controls(writer, plain)
    if field != "intent":  # which stands twice
        shared = common(plain, found)
        assert shared + common(plain[shared:][::-1], found[shared:][::-1]) >= len(plain) - 1


def controls(writer: PromptWriter, ids: Sequence[int]) -> list[int]:
    return [i for i in ids if i in writer.controls]


def common(left: Sequence[int], right: Sequence[int]) -> int:
    return next((n for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


@each
@pytest.mark.parametrize("field", FIELDS)
@settings(max_examples=25)
@given(text=texts_with(*WORDS, *MORE).filter(str.strip))
def test_no_text_adds_moves_or_removes_a_control_token(family: Family, field: str, text: str) -> None:
    check_structure(writer_of(family.name), field, text)


@each
@pytest.mark.parametrize("field", FIELDS)
def test_no_control_token_of_any_family_becomes_one(family: Family, field: str) -> None:
    writer = writer_of(family.name)
    for word in dict.fromkeys((*WORDS, *writer.controls.values(), *MORE)):
        check_structure(writer, field, f"a {word}{word} b")


@pytest.mark.parametrize("family", FAMILIES[1:4], ids=[family.name for family in FAMILIES[1:4]])
@pytest.mark.parametrize("name", TEXTS)
def test_hostile_tickets_leave_the_structure_of_a_short_prompt_as_it_is(family: Family, name: str) -> None:
    writer = prompt_writer(tokenizer_of(family), 1024)
    found = writer.prompt("v", TEXTS[name], ROWS[:1], intent="a.b", max_new_tokens=100)
    assert len(found.ids) + 100 <= 1024
    assert controls(writer, found.ids) == controls(writer, writer.prompt("v", "x", (), intent="a.b", max_new_tokens=9).ids)


@each
@settings(max_examples=25)
@given(reply=texts_with(*WORDS), intent=texts_with(*WORDS))
def test_of_a_training_row_only_the_end_of_the_turn_is_a_supervised_control_token(
    family: Family, reply: str, intent: str
) -> None:
    writer = writer_of(family.name)
    example = writer.example(replace(ROWS[0], ideal_reply=reply, intent=intent), ROWS[1:2])
    assert controls(writer, example.ids[-example.supervised :]) == [writer.end_id]
    assert example.ids[-1] == writer.end_id


@settings(max_examples=25)
@given(st.integers(0, 3000), st.integers(150, 900))
def test_a_prompt_is_never_longer_than_what_is_left_for_it(length: int, max_length: int) -> None:
    writer = prompt_writer(tokenizer_of(FAMILIES[0]), max_length)
    with suppress(NoPrompt):
        found = writer.prompt("v", "ä" * length, ROWS[:3], intent="a.b", max_new_tokens=50)
        assert len(found.ids) + 50 <= max_length
