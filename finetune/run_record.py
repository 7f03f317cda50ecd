"""What a run says about itself: its record, its warnings, the lines of its summary."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.support_model import SupportModel
from retrieval.command_line import Settings
from retrieval.console import Clock, counted, elapsed
from retrieval.run_files import kept_files, versions
from retrieval.taxonomy import Taxonomy, rowless_warnings, taxonomy_record
from retrieval.tickets import Ticket, input_warnings

if TYPE_CHECKING:
    from finetune.language_model import LanguageModel
    from retrieval.encoder import SentenceEncoder
    from retrieval.gate import Gate
    from retrieval.intent_classifier import IntentClassifier
    from retrieval.prediction import Prediction

Record = dict[str, Any]  # what run.json holds


def record_of(
    settings: Settings,
    encoder: "SentenceEncoder",
    support: SupportModel,
    *,
    label_gates: Sequence["Gate"],
    taxonomy: Taxonomy | None,
    threads: int,
    training: Record,
    warnings: Sequence[str],
) -> Record:
    """What run.json says, but for what is known when it is written: times, and the list of files."""
    from retrieval.encoder import encoder_record

    model, remote = support.language_model, support.remote
    gates = (*label_gates, *(model.gates if model else ()), *(remote.gates if remote else ()))
    return {
        **settings.record(),
        # Another encoder or base was wanted, and may be there next time; a remote model may answer otherwise at any time.
        "deterministic": not (support.limits() or encoder.warnings or (model and model.reasons) or (remote and remote.varies)),
        "processor": processor(),
        "threads": threads,
        "encoder": encoder_record(encoder.files),
        **(model.record() if model else {"base": {"name": "none"}, "losses": [], "processes": 1}),
        **(remote.record() if remote else {}),
        "training": training,
        **({"taxonomy": taxonomy_record(taxonomy, support.classifier.train_set.rowless_intents)} if taxonomy else {}),
        "gates": [asdict(gate) for gate in gates],
        "warnings": list(warnings),
        "versions": versions(),
    }


def processor() -> str:
    """What computes: the GPU, or the processor."""
    import torch

    from retrieval.cpu import described

    return torch.cuda.get_device_name() if torch.cuda.is_available() else described()


def training_record(model: "LanguageModel | None", classifier: "IntentClassifier", clock: Clock) -> Record:
    """The `training` object of the record; without completion losses, the two losses are those of the classifier."""
    from retrieval.cross_validation import INTENT_LOSS, intent_losses

    if model and (measured := model.losses()):
        losses, kind = measured
    else:
        with clock.stage("losses", "measure the intent classifier's losses"):
            losses, kind = intent_losses(classifier), INTENT_LOSS
    run = model.tuned.run if model and model.tuned else None
    figures = {"steps": run.steps if run else 0, "train_loss": losses[0], "val_loss": losses[1]}
    return figures | {"wall_clock_s": round(elapsed(), 3), "loss": kind}


def warnings_of(
    settings: Settings,
    encoder: "SentenceEncoder",
    support: SupportModel,
    tickets: Sequence[Ticket],
    predictions: "Sequence[Prediction]",
) -> list[str]:
    """All that a user should know about a run, a sentence each."""
    from retrieval.train_set import near_duplicates

    model, remote, train_set = support.language_model, support.remote, support.classifier.train_set
    about_input = [*input_warnings(train_set.rows, tickets), *near_duplicates(train_set)]
    predicted = {one.retrieval.ticket.id: one.retrieval.intent for one in predictions if not one.retrieval.intent_has_rows}
    about_input += rowless_warnings(train_set.rowless_intents, predicted, names_used=support.classifier.with_names)
    warnings = [*encoder.warnings, *about_input, *(model.warnings if model else ()), *support.limits()]
    warnings += kept_warnings(settings.weights, model)
    return [*warnings, *(remote.warnings if remote else ())]


def kept_warnings(weights: Path, model: "LanguageModel | None") -> list[str]:
    """Which files of somebody else stay where the adapter's own would be, a sentence each."""
    kept = kept_files(weights) if model and model.has_adapter else ()
    why = "was not left there by a run of this program: it stays, and the adapter's own is not written"
    return [f"{weights / name} {why}" for name in kept]


def summary_lines(settings: Settings, record: Record, support: SupportModel) -> list[tuple[str, str]]:
    """The lines of the summary that do not come from the predictions."""
    train_set, training = support.classifier.train_set, record["training"]
    without = train_set.rowless_intents
    rowless = f", {without} of them without a row" if without else ""
    losses = f"train loss {training['train_loss']:.3f}, out-of-fold loss {training['val_loss']:.3f}"
    return [
        ("train", f"{counted(len(train_set.rows), 'row')}, {counted(len(train_set.intents), 'intent')}{rowless}"),
        ("base", record["base"]["name"]),
        ("training", f"{training['steps']} steps, {losses} ({training['loss']})"),
        *((f"gate: {gate['name']}", f"{gate['decision']} ({gate['reason']})") for gate in record["gates"]),
        *([("remote", support.remote.summary())] if support.remote else []),
        ("result", str(settings.output)),
        ("weights", str(settings.weights)),
        ("time", f"{elapsed():.0f} s"),
    ]
