"""SetFit for the intents alone: its defaults, on the encoder of this program.

Thirty rows make at most 870 pairs (each pair of rows once, those of one intent drawn repeatedly), that is 55 steps of 16
pairs: nothing has to be cut.
"""

import tempfile
import time

from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments

from evaluation.benchmarks.bench.task import Outcome, Task, serve
from retrieval.console import elapsed


def work(task: Task) -> Outcome:
    """Trains and classifies."""
    names = sorted({intent for _, intent in task.rows})
    texts, labels = [text for text, _ in task.rows], [names.index(intent) for _, intent in task.rows]
    model = SetFitModel.from_pretrained(task.encoder, labels=names)
    with tempfile.TemporaryDirectory() as folder:
        quiet = {"report_to": "none", "show_progress_bar": False, "logging_strategy": "no", "save_strategy": "no"}
        settings = TrainingArguments(output_dir=folder, seed=0, **quiet)
        trainer = Trainer(model, settings, train_dataset=Dataset.from_dict({"text": texts, "label": labels}))
        setup_s = elapsed()
        trainer.train()
    began = time.monotonic()
    intents = [str(intent) for intent in model.predict([text for _, text in task.tickets], show_progress_bar=False)]
    ticket_s = (time.monotonic() - began) / len(task.tickets)
    ids = (ticket for ticket, _ in task.tickets)
    return Outcome(setup_s, None, None, ticket_s, dict(zip(ids, intents, strict=True)), None)


if __name__ == "__main__":
    serve(work)
