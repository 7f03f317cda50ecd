"""Writes what a run leaves: its weights folder, and the result last: where it stands, all else does."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.run_record import Record
from finetune.support_model import SupportModel
from retrieval.command_line import Settings
from retrieval.console import Clock, elapsed
from retrieval.files import write_json, write_jsonl
from retrieval.run_files import PREDICTIONS, new_run, publish

if TYPE_CHECKING:
    from retrieval.prediction import Prediction


def write_run(
    settings: Settings, record: Record, support: SupportModel, predictions: "Sequence[Prediction]", clock: Clock
) -> None:
    """Writes the weights folder, where the run takes the place of the one before, and the result.

    Raises:
        OSError: a file cannot be written; the run before is still there, or all of the new one.
    """
    with (
        clock.stage("write", f"write {settings.weights} and {settings.output}"),
        new_run(settings.weights) as made,
    ):
        save_parts(support, record, made)
        write_jsonl(made / PREDICTIONS, (prediction.explanation() for prediction in predictions))
        times = {"seconds": clock.seconds, "wall_clock_s": round(elapsed(), 3)}
        publish(made, settings.weights, record | times)
    write_result(settings.output, record, predictions)


def save_parts(support: SupportModel, record: Record, folder: Path) -> None:
    """Writes train set, classifier and, if there is one, the adapter with its model card into a folder."""
    from retrieval.classifier_files import save_classifier
    from retrieval.train_set_files import save_train_set

    classifier, model = support.classifier, support.language_model
    save_train_set(classifier.train_set, classifier.ticket_index, folder)
    save_classifier(classifier, folder)
    if model and model.has_adapter:
        from finetune.model_card import save_model_card

        model.save(folder)
        train_set = classifier.train_set
        save_model_card(folder, record, rows=len(train_set.rows), intents=len(train_set.intents) - train_set.rowless_intents)


def write_result(output: Path, record: Record, predictions: "Sequence[Prediction]") -> None:
    """Writes the result: how the run was trained, and the predictions."""
    training = {key: value for key, value in record["training"].items() if key != "loss"}
    result = {"training": training, "predictions": [prediction.result() for prediction in predictions]}
    write_json(output.resolve(), result)  # through a link, not in its place
