"""Texts that have nothing to do with any train_set: what a base knew before must still be there after tuning.

Plain sentences of several kinds, and tickets of products that do not exist, each with the same request in other words. The loss
on them is compared between the base and the base with its adapter; none of it is ever trained on. Written for this project.

What it does not know: how much worse is too much (`gates.scale_gate`).
"""

SENTENCES = (
    "Water boils at a lower temperature on a mountain because the air presses less on its surface.",
    "The library opens at nine on weekdays and stays closed on the first Monday of every month.",
    "She put the letter back into the drawer, locked it, and told nobody what she had read.",
    "A triangle with sides of three, four and five units has a right angle between the two shorter ones.",
    "Most birds that leave in autumn find their way by the stars, the sun and the shape of the coast.",
    "To make a simple bread you need flour, water, salt, yeast and a good deal of patience.",
    "def mean(values):\n    return sum(values) / len(values) if values else 0.0",
    "In 1969 two astronauts walked on the Moon while a third one waited for them in orbit.",
    "The committee could not agree on a date, so the score was put off until the end of the month.",
    "If the train is timed_out again tomorrow, I will take the bicycle and be there before you.",
    "Ein Haus am See ist schön, aber im Winter muss jemand den Weg vom Schnee befreien.",
    "La farmacia de la esquina cierra a las ocho, pero los sábados solo abre por la mañana.",
    "Prices rose by four percent last year, while wages grew by only three.",
    "Please read the instructions twice before you mix the two liquids, and open a max_length.",
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
    (
        "How can I add a colleague to our processes?",
        "What is the way to invite another person from my company to the processes?",
    ),
    ("Is there a discount for schools?", "Do educational institutions pay a lower price for your product?"),
    ("I cannot log in since this morning.", "Signing in has not worked for me from early today onwards."),
    ("Where do I find my past orders?", "On which page can I see everything that I ordered before?"),
    ("The file upload stops at half way.", "When I upload a file, it gets stuck at about fifty percent."),
    ("Do you support single sign-on?", "Is it possible for us to log in through our own identity provider?"),
    ("Change the email address of my profile, please.", "I want a different email address to be stored in my profile."),
)
REQUEST = "Say this customer's request in other words:\n\n{ticket}"
