"""A prompt's words (`retrieval.prompt_text`) become token ids; the only place that knows templates and control tokens.

Training and answering call the same function. Prompt and completion are tokenised apart and joined, so that the border of
the loss is exact wherever a tokenizer would have merged across it (trl#5213), and the loss is masked by position, because
the padding token may be the end token. Rows that are too long lose exemplars first, then the middle of the ticket, never
the completion.

A ticket is text and stays text: `<|im_end|>` written by a customer is tokenised as those ten characters.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from retrieval.prompt_text import NO_DESCRIPTIONS, PromptText, reply_prompt_text
from retrieval.tickets import LabelledTicket

# For a base without a chat template: its turns are paragraphs.
PLAIN_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n\n{% endfor %}"
MIN_TICKET_CHARACTERS = 40
DATE = "26 Jul 2024"  # what Llama's template writes where it cannot tell the date
BuildText = Callable[[str, Sequence[LabelledTicket]], PromptText]  # ticket and exemplars, best first -> the prompt's words


@dataclass(frozen=True, slots=True)
class Example:
    """A training row: token ids of which the last `supervised` carry the loss."""

    row_id: str
    ids: tuple[int, ...]
    supervised: int


@dataclass(frozen=True, slots=True)
class Prompt:
    """A ticket ready to be answered: token ids up to `reply:` and how many exemplars fit."""

    row_id: str
    ids: tuple[int, ...]
    exemplars: int


class NoPrompt(Exception):
    """A row cannot be written as a prompt for this base: too long for its `max_length`, or its text makes control tokens."""


@dataclass(frozen=True, slots=True)
class PromptWriter:
    """Writes prompts for one tokenizer; made by `prompt_writer`."""

    tokenizer: PreTrainedTokenizerBase  # of the base
    max_length: int  # tokens that prompt and completion may take together
    end_id: int  # the token that ends an assistant's turn
    controls: dict[int, str]  # the added tokens that are not white space, by id; none of them may come from user text
    descriptions: Mapping[str, str] = field(default_factory=dict)  # what intents are about, by name

    def prompt(
        self, row_id: str, ticket: str, exemplars: Sequence[LabelledTicket], *, intent: str, max_new_tokens: int
    ) -> Prompt:
        """The prompt for a ticket, with `max_new_tokens` of `max_length` left for the reply.

        Args:
            row_id: for messages.
            ticket: the customer's words.
            exemplars: best first; the last of them go when the prompt is too long.
            intent: what the reply is prefilled with.
            max_new_tokens: tokens to leave free.

        Raises:
            NoPrompt: not even the beginning and the end of the ticket fit.
        """

        def build(words: str, shown: Sequence[LabelledTicket]) -> PromptText:
            """The prompt of a ticket that may be cut short, with as many exemplars as fit."""
            return reply_prompt_text(words, shown, intent=intent, descriptions=self.descriptions)

        return self._fitted(row_id, ticket, exemplars, build, max_new_tokens)

    def request(self, text: str, *, max_new_tokens: int) -> list[int]:
        """The ids of one user turn, up to where the assistant's words begin.

        Raises:
            NoPrompt: it leaves no room for `max_new_tokens`.
        """
        ids = self._render([{"role": "user", "content": text}])
        if len(ids) + max_new_tokens > self.max_length:
            raise NoPrompt(f"a request of {len(ids)} tokens leaves no room within {self.max_length}")
        return ids

    def continuation(self, text: str) -> list[int]:
        """The ids of a text as the words of a turn."""
        return self._plain_ids(text)

    def example(self, row: LabelledTicket, exemplars: Sequence[LabelledTicket]) -> Example:
        """A training row: the prompt and the ideal reply, end of turn included.

        Raises:
            NoPrompt: the reply leaves no room for the ticket.
        """
        completion = [*self._plain_ids(f" {row.ideal_reply}"), self.end_id]
        prompt = self.prompt(row.id, row.text, exemplars, intent=row.intent, max_new_tokens=len(completion))
        return Example(row.id, (*prompt.ids, *completion), len(completion))

    def sentence(self, row_id: str, text: str) -> Example:
        """A bare text, supervised from its second token on (after the base's own first token, if it has one)."""
        first = self.tokenizer.bos_token_id
        ids = (*([] if first is None else [int(first)]), *self._plain_ids(text))
        return Example(row_id, ids, len(ids) - 1)

    def answer(self, row_id: str, request: str, answer: str) -> Example:
        """A request in the user's turn and its supervised answer."""
        completion = [*self._plain_ids(answer), self.end_id]
        return Example(row_id, (*self._render([{"role": "user", "content": request}]), *completion), len(completion))

    def completion_length(self, reply: str) -> int:
        """Tokens of a reply with its end."""
        return len(self._plain_ids(f" {reply}")) + 1

    def _fitted(
        self, row_id: str, ticket: str, exemplars: Sequence[LabelledTicket], build: BuildText, max_new_tokens: int
    ) -> Prompt:
        for count in range(len(exemplars), -1, -1):
            ids = self._ids(build(ticket, exemplars[:count]))
            if len(ids) + max_new_tokens <= self.max_length:
                return Prompt(row_id, tuple(ids), count)
        keep = len(ticket)
        while keep > MIN_TICKET_CHARACTERS:
            keep = min(keep * 3 // 4, int(keep * (self.max_length - max_new_tokens) / len(ids)))
            half = max(keep // 2, 1)
            ids = self._ids(build(f"{ticket[:half]} … {ticket[-half:]}", ()))
            if len(ids) + max_new_tokens <= self.max_length:
                return Prompt(row_id, tuple(ids), 0)
        raise NoPrompt(f"row {row_id} leaves no room for its ticket within {self.max_length} tokens")

    def _ids(self, said: PromptText) -> list[int]:
        prompt = self._render([{"role": "system", "content": said.system}, {"role": "user", "content": said.user}])
        return prompt + self._plain_ids(said.assistant)

    def _render(self, messages: list[dict[str, str]]) -> list[int]:
        """Messages -> ids; control tokens inside of messages become text, and the result is checked for that."""
        ids = self._template(messages)
        blank = self._template([{**message, "content": "x"} for message in messages])
        if self._control_count(ids) != self._control_count(blank):
            # An added token that is not special and not in the template, which transformers lets through.
            ids = self._template([{**message, "content": self._split(message["content"])} for message in messages])
            if self._control_count(ids) != self._control_count(blank):
                raise NoPrompt("a text makes control tokens of this tokenizer")
        return ids

    def _template(self, messages: list[dict[str, str]]) -> list[int]:
        try:
            ids = _templated(self.tokenizer, messages, tokenize=True)
        except TemplateError:  # a template that knows no system turn: its rules go into the user's
            rules, user = messages
            folded = {"role": "user", "content": f"{rules['content']}\n\n{user['content']}"}
            ids = _templated(self.tokenizer, [folded], tokenize=True)
        return [int(i) for i in ids]

    def _plain_ids(self, text: str) -> list[int]:
        ids = self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        if self._control_count(ids):
            ids = self.tokenizer.encode(self._split(text), add_special_tokens=False, split_special_tokens=True)
        return [int(i) for i in ids if i not in self.controls]

    def _control_count(self, ids: Sequence[int]) -> int:
        return sum(i in self.controls for i in ids)

    def _split(self, text: str) -> str:
        """The text with a space inside of every literal control token."""
        for content in self.controls.values():
            text = text.replace(content, f"{content[:1]} {content[1:]}")
        return text


def prompt_writer(
    tokenizer: PreTrainedTokenizerBase, max_length: int, *, descriptions: Mapping[str, str] = NO_DESCRIPTIONS
) -> PromptWriter:
    """A writer for this tokenizer: finds its control tokens and the one that ends a turn."""
    added = sorted(tokenizer.added_tokens_decoder.items())
    controls = {number: token.content for number, token in added if token.content.strip(" \n\t▁")}
    return PromptWriter(tokenizer, max_length, _end_of_turn(tokenizer, controls), controls, descriptions)


def _end_of_turn(tokenizer: PreTrainedTokenizerBase, controls: dict[int, str]) -> int:
    """The first control token after an assistant's words in this template (Gemma's is not its end-of-text)."""
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "MARK"}]
    tail = _templated(tokenizer, messages, tokenize=False).rpartition("MARK")[2]
    found = (i for i in tokenizer.encode(tail, add_special_tokens=False) if i in controls)
    return int(next(found, tokenizer.eos_token_id))


def _templated(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], *, tokenize: bool) -> Any:
    """The chat template's ids for a prompt, or the text of a finished conversation."""
    return tokenizer.apply_chat_template(
        messages,
        chat_template=None if tokenizer.chat_template else PLAIN_TEMPLATE,
        tokenize=tokenize,
        add_generation_prompt=tokenize,
        sanitize_control_tokens=tokenize,
        return_dict=False,  # transformers 5 returns a dict otherwise, whose len() is 2 (trl#6105)
        enable_thinking=False,
        date_string=DATE,  # Llama 3.2 writes today's otherwise, and a run would answer otherwise tomorrow
    )
