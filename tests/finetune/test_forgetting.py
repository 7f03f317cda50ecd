"""The forgetting check, on the fixed texts."""

import re
from dataclasses import replace

from finetune.forgetting import PARAPHRASES, SENTENCES, GeneralText, choose_scale, general_text
from finetune.lora import attach
from finetune.training import completion_losses, train
from tests.fakes import ROWS, base
from tests.finetune.helpers import writer_for


def test_an_adapter_that_ruins_the_base_is_scaled_down_and_a_fresh_one_is_not() -> None:
    tiny = base()
    writer = writer_for(tiny)
    every = general_text(writer)
    text = GeneralText(every.sentences[:4], every.paraphrases[:3])
    tiny.model.requires_grad_(True)
    train(tiny.model, [text.sentences] * 20, learning_rate=1e-2, seed=0)  # something to forget
    tiny.model.requires_grad_(False)
    model = attach(tiny, seed=0)
    assert choose_scale(model, text, seed=0)[0] == 1.0
    plain = completion_losses(model, text.sentences)
    example = writer.example(replace(ROWS[0], ideal_reply="~" * 99), ())
    train(model, [[example]] * 30, learning_rate=5e-2, seed=0)
    chosen, gate = choose_scale(model, text, seed=0)
    assert (chosen, gate.decision, gate.n) == (0.0, "scale 0", len(text.sentences))
    assert set(gate.figures) == {
        f"{kind} at scale {scale}" for kind in ("sentences", "paraphrases") for scale in ("1", "0.75", "0.5", "0.375", "0.25")
    }
    assert completion_losses(model, text.sentences) == plain, "at scale 0 the base answers"


def test_sentences_stand_alone_and_paraphrases_are_answers() -> None:
    writer = writer_for(base())
    text = general_text(writer)
    assert [len(text.sentences), len(text.paraphrases)] == [len(SENTENCES), len(PARAPHRASES)]
    sentence, paraphrase = text.sentences[0], text.paraphrases[0]
    assert writer.tokenizer.decode(list(sentence.ids)) == SENTENCES[0]
    assert sentence.supervised == len(sentence.ids) - 1
    request, answer = PARAPHRASES[0]
    shown, supervised = paraphrase.ids[: -paraphrase.supervised], paraphrase.ids[-paraphrase.supervised :]
    assert request in writer.tokenizer.decode(list(shown))
    assert writer.tokenizer.decode(list(supervised)) == f"{answer}<|im_end|>"


def test_the_general_texts_hold_no_identifier_of_this_program() -> None:
    words = " ".join((*(text for text in SENTENCES if "def " not in text), *(side for pair in PARAPHRASES for side in pair)))
    assert not re.findall(r"\w+_\w+", words)
    assert "our processes" not in words
