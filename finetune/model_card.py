"""The model card of an adapter: `README.md` beside it, as a hub shows it, and `.gitignore`, which `hf upload` obeys.

Everything comes from the record of the run. No ticket, reply or label name stands in it, so the adapter can be shown where the
train rows must not be. Licence and language are the user's to say, for both depend on the train rows. A hub refuses a card
whose `base_model` is no name of its own, so a base that only this machine has is left out of the metadata.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from finetune.lora import LORA_ALPHA, LORA_R
from retrieval.files import write_text
from retrieval.known_models import HUB_ID, KNOWN
from retrieval.run_files import CARD, IGNORE, PRIVATE_FILES, PROGRAM, versions

Record = Mapping[str, Any]  # what run.json holds
FENCE = "```"
LOAD = f"""{FENCE}python
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

model = AutoPeftModelForCausalLM.from_pretrained("FOLDER")  # this folder, or its name on a hub
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
{FENCE}"""
LOAD_ON_ORIGINAL = f"""{FENCE}python
from peft import PeftModel
from transformers import AutoModelForCausalLM

model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("ORIGINAL"), "FOLDER")
{FENCE}"""
HERE = (
    "So it loads on the machine of the run: `adapter_config.json` names a folder there with the very weights that it was "
    "trained on."
)
ELSEWHERE = "Elsewhere, put it on the weights before they were quantised; answers then differ slightly:"
ON_SAME_WEIGHTS = "Elsewhere, put it on a base with the SHA-256 above, with `PeftModel.from_pretrained(base, FOLDER)`."


def save_model_card(folder: Path, record: Record, *, rows: int, intents: int) -> None:
    """Writes both files into an existing folder.

    Args:
        folder: with the adapter.
        record: of the run, as far as it is known before the files are written.
        rows: train rows of the run.
        intents: of the train rows.
    """
    write_text(folder / CARD, model_card(record, rows=rows, intents=intents))
    write_text(folder / IGNORE, _ignored(record["settings"]))


def model_card(record: Record, *, rows: int, intents: int) -> str:
    """The card in Markdown, with YAML metadata before it."""
    base, hub = record["base"], hub_base(record["base"])
    parts = [
        f"---\n{_metadata(hub or original(base))}\n---",
        f"# LoRA adapter of {_base_name(base)} for support replies",
        f"Trained by {PROGRAM} on {rows} labelled support tickets with {intents} intents. It writes the reply to a ticket from "
        "stored replies to similar tickets that stand in the prompt: without them it does not know the product.",
        _use(record["gates"]),
        f"## Base\n\n{_table(('', ''), _base_rows(base))}",
        f"## Training\n\n{_table(('', ''), _training_rows(record))}",
        f"## Gates\n\n{_gates(record['gates'])}",
        f"## Loading\n\n{LOAD}",
        *([] if hub else [HERE, _elsewhere(base)]),
        "## Left to you\n\nLicence and language are not set: both depend on the tickets it was trained on. Add `license` and "
        f"`language` to the metadata above; a changed card is kept by the next run. `{IGNORE}` names the files of the run that "
        "hold tickets and replies, which an upload should leave out.",
    ]
    return "\n\n".join(parts) + "\n"


def hub_base(base: Record) -> str | None:
    """The hub's name of the very weights of the base; None where a folder or a converted file holds them."""
    path = str(base["path"])
    return path if HUB_ID.fullmatch(path) and base["revision"] else None


def original(base: Record) -> str | None:
    """The hub's name of the weights that the base was quantised from, if it is known."""
    return next((model.original for model in KNOWN.values() if base["digest"] == f"sha256:{model.sha256}"), None)


def _metadata(base_model: str | None) -> str:
    tags = ["lora", "customer-support", PROGRAM]
    relation: dict[str, Any] = {"base_model_relation": "adapter"} if base_model else {}
    data = ModelCardData(base_model=base_model, library_name="peft", pipeline_tag="text-generation", tags=tags, **relation)
    return str(data.to_yaml())


def _base_name(base: Record) -> str:
    """The name without the folders of this machine."""
    return hub_base(base) or Path(str(base["name"])).name


def _use(gates: Sequence[Record]) -> str:
    generates = any(gate["name"] == "replies" and gate["passed"] for gate in gates)
    if generates:
        return (
            "On rows that it had not seen, answering with its reply where that is nearer to the ticket than the stored one was "
            "better than always giving the stored one, so the run let it answer there."
        )
    return (
        "**The run itself gave stored replies**: that the adapter's are better was not shown on rows that it had not seen (the "
        "gate for replies, below)."
    )


def _base_rows(base: Record) -> list[tuple[str, object]]:
    found = [("name", _base_name(base)), ("revision", base["revision"]), ("weights", base["digest"])]
    found += [("parameters", f"{base['parameters']:,}"), ("precision while training", base["precision"])]
    return [(name, value) for name, value in found if value is not None]


def _training_rows(record: Record) -> list[tuple[str, object]]:
    training, scale = record["training"], record["scale"]
    alpha = f"{round(LORA_ALPHA * scale)}, which is {LORA_ALPHA} times the scale {scale:g}; 0 is the bare base"
    packages = (PROGRAM, "peft", "transformers", "torch")
    return [
        ("steps", training["steps"]),
        ("train loss", f"{training['train_loss']:.3f}"),
        ("out-of-fold loss", f"{training['val_loss']:.3f}"),
        ("what the losses are", training["loss"]),
        ("LoRA", f"r {LORA_R}, all linear layers, completions alone"),
        ("lora_alpha", alpha),
        ("seed", record["settings"]["seed"]),
        ("versions", ", ".join(f"{name} {number}" for name, number in versions().items() if name in packages)),
    ]


def _gates(gates: Iterable[Record]) -> str:
    """A table; each learned part was measured on rows that it had not seen, or is not used."""
    columns = ("part", "decision", "standard", "measured", "why")
    return _table(columns, [(g["name"], g["decision"], g["standard"], _measured(g), g["reason"]) for g in gates])


def _measured(gate: Record) -> str:
    if gate["value"] is None:
        return "nothing"
    interval = "" if gate["interval"] is None else " ({:+.3f} to {:+.3f})".format(*gate["interval"])
    return f"{gate['value']:+.3f}{interval}, n = {gate['n']}: {gate['statistic']}"


def _elsewhere(base: Record) -> str:
    if not (name := original(base)):
        return ON_SAME_WEIGHTS
    return f"{ELSEWHERE}\n\n{LOAD_ON_ORIGINAL.replace('ORIGINAL', name)}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '&#124;') for cell in line)} |" for line in lines)


def _ignored(settings: Record) -> str:
    """The private files of the run, and the result where it lies among them."""
    output, weights = Path(settings["output"]), Path(settings["weights"])
    result = [output.name] if output.resolve().parent == weights.resolve() else []
    names = "".join(f"/{name}\n" for name in (*PRIVATE_FILES, *result))
    return f"# Tickets, replies and paths of this machine: they belong to the run, not to the adapter.\n{names}"
