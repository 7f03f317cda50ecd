"""How far may the adapter move the base? Its scale, from the loss on texts that nobody trained on.

A smaller scale lies between base and tuned weights, where much of what was learnt is kept and little of what was known is lost
(WiSE-FT, arXiv 2109.01903, there for whole weights). Scales are tried from the top; the first whose loss on plain sentences and
on paraphrased tickets stays within the bound is kept.

What it does not know: the bound (`gates`), and how a scale is saved (`artifacts`).
"""

from dataclasses import dataclass

from peft import PeftModel

from finetune.gates import SCALES, scale_gate
from finetune.general_text import PARAPHRASES, REQUEST, SENTENCES
from finetune.gradients import completion_losses
from finetune.lora import set_scale
from finetune.prompt import Example, PromptWriter
from retrieval.gate import Gate


@dataclass(frozen=True, slots=True)
class GeneralText:
    """The fixed texts as token ids of one base."""

    sentences: tuple[Example, ...]
    paraphrases: tuple[Example, ...]


def general_text(writer: PromptWriter) -> GeneralText:
    """Writes the fixed texts for a base: sentences bare, paraphrases as answers to a request."""
    sentences = (writer.sentence(f"sentence {i}", text) for i, text in enumerate(SENTENCES))
    asked = ((i, REQUEST.format(ticket=ticket), said) for i, (ticket, said) in enumerate(PARAPHRASES))
    return GeneralText(tuple(sentences), tuple(writer.answer(f"paraphrase {i}", ask, said) for i, ask, said in asked))


def choose_scale(tuned: PeftModel, texts: GeneralText, *, seed: int) -> tuple[float, Gate]:
    """Sets the adapter to the highest scale that leaves the base's knowledge be; returns it and the gate's record."""
    before = _losses(tuned, texts, 0.0)
    increases: dict[float, tuple[list[float], list[float]]] = {}
    for scale in SCALES:
        after = _losses(tuned, texts, scale)
        increases[scale] = tuple([b - a for a, b in zip(*pair, strict=True)] for pair in zip(before, after, strict=True))  # type: ignore[assignment]
        chosen, gate = scale_gate(increases, seed=seed)
        if chosen:
            break
    set_scale(tuned, chosen)
    return chosen, gate


def _losses(tuned: PeftModel, texts: GeneralText, scale: float) -> tuple[list[float], list[float]]:
    """Nats per token of each sentence and each paraphrase, at a scale."""
    set_scale(tuned, scale)
    return completion_losses(tuned, texts.sentences), completion_losses(tuned, texts.paraphrases)
