"""The forgetting check: what a base knew before must still be there after tuning.

The loss on fixed general text (plain sentences of several kinds, and tickets of products that do not exist, each with the same
request in other words; written for this project, never trained on) is compared between the base and the base with its adapter.
A smaller scale lies between base and tuned weights, where much of what was learned is kept and little of what was known is lost
(WiSE-FT, arXiv 2109.01903, there for whole weights).
"""

from dataclasses import dataclass

from peft import PeftModel

from finetune.gates import SCALES, scale_gate
from finetune.lora import set_scale
from finetune.prompt import Example, PromptWriter
from finetune.training import completion_losses
from retrieval.gate import Gate

SENTENCES = (
    "Water boils at a lower temperature on a mountain because the air presses less on its surface.",
    "The library opens at nine on weekdays and stays closed on the first Monday of every month.",
    "She put the letter back into the drawer, locked it, and told nobody what she had read.",
    "A triangle with sides of three, four and five units has a right angle between the two shorter ones.",
    "Most birds that leave in autumn find their way by the stars, the sun and the shape of the coast.",
    "To make a simple bread you need flour, water, salt, yeast and a good deal of patience.",
    "def mean(values):\n    return sum(values) / len(values) if values else 0.0",
    "In 1969 two astronauts walked on the Moon while a third one waited for them in orbit.",
    "The committee could not agree on a date, so the vote was put off until the end of the month.",
    "If the train is late again tomorrow, I will take the bicycle and be there before you.",
    "Ein Haus am See ist schön, aber im Winter muss jemand den Weg vom Schnee befreien.",
    "La farmacia de la esquina cierra a las ocho, pero los sábados solo abre por la mañana.",
    "Prices rose by four percent last year, while wages grew by only three.",
    "Please read the instructions twice before you mix the two liquids, and open a window.",
    "The old bridge was too narrow for the new buses, which is why the line ends at the river.",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen.",
)

# (a ticket, the same request in other words)
PARAPHRASES = (
    ("How do I reset my password?", "I have forgotten my password and need a new one. What do I have to do?"),
    ("My invoice shows the wrong company name.", "The name of our company is not correct on the bill you sent us."),
    ("Can I get a refund for last month?", "I would like to have the money back that I paid for the previous month."),
    ("The app crashes when I open the calendar.", "Every time I go to the calendar, the application closes by itself."),
    ("Please delete my account.", "I no longer want to use your service, so remove my account for good."),
    ("How can I add a colleague to our team?", "What is the way to invite another person from my company to the team?"),
    ("Is there a discount for schools?", "Do educational institutions pay a lower price for your product?"),
    ("I cannot log in since this morning.", "Signing in has not worked for me from early today onwards."),
    ("Where do I find my past orders?", "On which page can I see everything that I ordered before?"),
    ("The file upload stops at half way.", "When I upload a file, it gets stuck at about fifty percent."),
    ("Do you support single sign-on?", "Is it possible for us to log in through our own identity provider?"),
    ("Change the email address of my profile, please.", "I want a different email address to be stored in my profile."),
)
REQUEST = "Say this customer's request in other words:\n\n{ticket}"


TextLosses = tuple[list[float], list[float]]  # nats a token of each sentence, and of each paraphrase


@dataclass(frozen=True, slots=True)
class GeneralText:
    """The fixed texts as token ids of one base."""

    sentences: tuple[Example, ...]
    paraphrases: tuple[Example, ...]


def general_text(writer: PromptWriter) -> GeneralText:
    """The fixed texts for a base: sentences bare, paraphrases as answers to a request."""
    sentences = (writer.sentence(f"sentence {i}", text) for i, text in enumerate(SENTENCES))
    pairs = ((i, REQUEST.format(ticket=ticket), answer) for i, (ticket, answer) in enumerate(PARAPHRASES))
    return GeneralText(tuple(sentences), tuple(writer.answer(f"paraphrase {i}", ask, answer) for i, ask, answer in pairs))


def choose_scale(model: PeftModel, text: GeneralText, *, seed: int) -> tuple[float, Gate]:
    """Sets the adapter to the highest scale that passes the forgetting check; returns it and the gate's record.

    Raises:
        OutOfMemory: a text does not fit.
    """
    before = losses_at(model, text, 0.0)
    increases: dict[float, TextLosses] = {}
    for scale in SCALES:
        increases[scale] = increase(before, losses_at(model, text, scale))
        chosen, gate = scale_gate(increases, seed=seed)
        if chosen:
            break
    set_scale(model, chosen)
    return chosen, gate


def losses_at(model: PeftModel, text: GeneralText, scale: float) -> TextLosses:
    """Sets the adapter to a scale and measures."""
    set_scale(model, scale)
    return completion_losses(model, text.sentences), completion_losses(model, text.paraphrases)


def increase(before: TextLosses, after: TextLosses) -> TextLosses:
    """Of each text."""
    sentences, paraphrases = ([b - a for a, b in zip(*pair, strict=True)] for pair in zip(before, after, strict=True))
    return sentences, paraphrases
