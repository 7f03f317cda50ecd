"""What docs/serving.md says of a server: the same rank, the same tokens as run.py."""

import re

import pytest

from finetune.base_selection import QWEN_7B
from finetune.lora import LORA_R
from finetune.prompt import prompt_writer
from retrieval.prompt_text import reply_prompt_text
from tests.fakes import ROWS, tokenizer
from tests.families import QWEN_25, SMOLLM_2
from tests.test_run import ROOT

TEXT = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")


def test_the_command_names_the_rank_and_the_base_that_a_run_uses() -> None:
    (command,) = re.findall(r"^    vllm serve .*$", TEXT, re.MULTILINE)
    assert f"vllm serve {QWEN_7B[0]} --revision {QWEN_7B[1]} " in command
    assert f"--max-lora-rank {LORA_R}" in command


@pytest.mark.parametrize("template", [QWEN_25, SMOLLM_2])
def test_an_open_last_turn_of_the_chat_gives_the_tokens_of_a_prompt(template: str) -> None:
    """A server renders the messages of the request with the tokenizer in the weights folder."""
    words, exemplars = tokenizer(template), ROWS[1:3]
    said = reply_prompt_text(ROWS[0].text, exemplars, intent="billing.seat")
    turns = zip(("system", "user", "assistant"), (said.system, said.user, said.assistant), strict=True)
    messages = [{"role": role, "content": content} for role, content in turns]
    served = words.apply_chat_template(messages, continue_final_message=True, add_generation_prompt=False, return_dict=False)
    prompt = prompt_writer(words, 4096).prompt("v", ROWS[0].text, exemplars, intent="billing.seat", max_new_tokens=10)
    assert tuple(served) == prompt.ids
