from collections.abc import Sequence
from dataclasses import replace

import pytest

from finetune.prompt import NoPrompt, PromptWriter, prompt_writer
from retrieval.prompt_text import RULES
from tests.fakes import CHATML, ROWS, row, tokenizer

NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHATML


def writer(template: str | None = CHATML, *, max_length: int = 2048) -> PromptWriter:
    return prompt_writer(tokenizer(template), max_length)


def decoded(found: PromptWriter, ids: Sequence[int]) -> str:
    return str(found.tokenizer.decode(list(ids)))


def prompt_text(found: PromptWriter, ticket: str = "why?", count: int = 2) -> str:
    return decoded(found, found.prompt("v", ticket, ROWS[:count], intent="a.b", max_new_tokens=50).ids)


def test_the_best_exemplar_stands_last_next_to_the_ticket() -> None:
    text = prompt_text(writer())
    assert RULES in text
    assert text.index(ROWS[1].ideal_reply) < text.index(ROWS[0].ideal_reply) < text.index("why?")
    assert text.endswith("<|im_start|>assistant\nintent: a.b\nreply:")
    assert ROWS[0].text not in text, "replies alone are shown"


def test_without_exemplars_the_prompt_has_none() -> None:
    assert "Stored replies" not in prompt_text(writer(), count=0)


def test_a_template_without_system_turn_gets_the_rules_in_the_users() -> None:
    text = prompt_text(writer(NO_SYSTEM))
    assert RULES in text
    assert text.count("<|im_start|>") == 2


def test_a_base_without_a_template_gets_paragraphs() -> None:
    assert prompt_text(writer(None)).startswith(f"{RULES}\n\nStored replies:")


@pytest.mark.parametrize("token", ["<|im_end|>", "<|im_start|>", "<think>"])
def test_a_ticket_never_becomes_a_control_token(token: str) -> None:
    found = writer()
    plain, attack = (found.prompt("v", text, ROWS[:1], intent="a", max_new_tokens=9).ids for text in ("x", f"x{token}y"))
    assert sum(i in found.controls for i in attack) == sum(i in found.controls for i in plain)
    example = found.example(row(9, "q", f"a{token}", f"reply {token}"), ())
    assert [i in found.controls for i in example.ids[-example.supervised :]].count(True) == 1
    assert not any(i in found.controls for i in found.continuation(f"a{token}"))
    asked, attacked = (found.request(text, max_new_tokens=9) for text in ("x", f"x{token}y"))
    assert sum(i in found.controls for i in attacked) == sum(i in found.controls for i in asked)


def test_trap_1_the_end_token_is_supervised_and_comes_from_the_template() -> None:
    found = writer()
    example = found.example(ROWS[0], ROWS[1:3])
    assert example.ids[-1] == found.end_id == found.tokenizer.eos_token_id
    assert decoded(found, example.ids[-example.supervised :]) == f" {ROWS[0].ideal_reply}<|im_end|>"
    turned = prompt_writer(tokenizer(CHATML.replace("<|im_end|>", "<|im_start|>")), 999)
    assert turned.end_id != turned.tokenizer.eos_token_id, "the turn's end, not the text's"


def test_trap_2_truncation_never_removes_the_completion_and_a_reply_that_does_not_fit_names_its_row() -> None:
    found = writer(max_length=700)
    example = found.example(row(9, "x" * 5000, "a.b", "The whole reply."), ROWS[:3])
    assert decoded(found, example.ids).endswith("The whole reply.<|im_end|>")
    with pytest.raises(NoPrompt, match="row t9"):
        found.example(row(9, "q", "a.b", "y" * 700), ())


def test_trap_3_a_prompt_is_ids_and_not_the_two_keys_of_a_dict() -> None:
    assert len(writer().prompt("v", "x", (), intent="a", max_new_tokens=9).ids) > 100


def test_trap_4_training_and_answering_build_the_same_prompt() -> None:
    found = writer()
    example = found.example(ROWS[0], ROWS[1:3])
    prompt = found.prompt("t", ROWS[0].text, ROWS[1:3], intent=ROWS[0].intent, max_new_tokens=example.supervised)
    assert example.ids[: -example.supervised] == prompt.ids


def test_too_long_exemplars_go_first_worst_first() -> None:
    found = writer(max_length=600)
    rows = [row(i, "q", "a.b", f"{i}" * 120) for i in range(4)]
    prompt = found.prompt("v", "short", rows, intent="a.b", max_new_tokens=100)
    text = decoded(found, prompt.ids)
    assert 0 < prompt.exemplars < 4
    assert "0" * 120 in text
    assert "3" * 120 not in text
    assert len(prompt.ids) + 100 <= 600


def test_then_the_middle_of_the_ticket_goes() -> None:
    found = writer(max_length=700)
    ids = found.prompt("v", "START" + "x" * 5000 + "END", ROWS[:2], intent="a.b", max_new_tokens=100).ids
    text = decoded(found, ids)
    assert "START" in text
    assert "END" in text
    assert len(ids) + 100 <= 700


def test_a_request_is_one_user_turn_and_what_is_too_long_is_refused() -> None:
    found = writer()
    assert (
        decoded(found, found.request("Say it.", max_new_tokens=9))
        == "<|im_start|>user\nSay it.<|im_end|>\n<|im_start|>assistant\n"
    )
    with pytest.raises(NoPrompt, match="leaves no room"):
        writer(max_length=700).request("y" * 700, max_new_tokens=9)


def test_the_descriptions_of_a_writer_stand_in_its_prompts_of_training_and_of_answering() -> None:
    found = replace(writer(), descriptions={ROWS[0].intent: "Seats and guests."})
    example = found.example(ROWS[0], ROWS[1:3])
    prompt = found.prompt("v", ROWS[0].text, ROWS[1:3], intent=ROWS[0].intent, max_new_tokens=20)
    said = f"Intents:\n{ROWS[0].intent}: Seats and guests.\n\nStored replies:"
    assert said in decoded(found, prompt.ids)
    assert said in decoded(found, example.ids)
