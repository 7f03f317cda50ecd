"""The adapter's folder as others use it: it loads with PEFT, a hub takes its card, and no ticket stands in what is uploaded."""

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import HfHubHTTPError
from peft import AutoPeftModelForCausalLM

from finetune.base_model import BaseModel
from finetune.distributed import SINGLE_PROCESS
from finetune.language_model import LanguageModel
from finetune.lora import LORA_R, save_adapter, set_scale
from finetune.model_card import model_card, save_model_card
from retrieval import __version__
from retrieval.known_models import SMOLLM
from retrieval.run_files import ADAPTER_FILES, PRIVATE_FILES
from tests.fakes import base, save_base
from tests.finetune.helpers import FEW, undisturbed
from tests.finetune.test_lora import losses, trained
from tests.retrieval.hub_stub import COMMIT, REPOSITORY

PATH = "/home/somebody/models/my-base"


def on_hub(tiny: BaseModel) -> BaseModel:
    return replace(tiny, name=REPOSITORY, path=REPOSITORY, source="hub", revision=COMMIT, digest=f"commit:{COMMIT}")


def in_folder(tiny: BaseModel) -> BaseModel:
    return replace(tiny, name=PATH, path=PATH)


def record(tiny: BaseModel | None = None, **changes: Any) -> dict[str, Any]:
    """What run.py hands over."""
    model = LanguageModel(tiny or on_hub(base()), replace(undisturbed(), **changes), (), False, SINGLE_PROCESS, 0.0)
    training = {"steps": 4, "train_loss": 3.25, "val_loss": 3.5, "wall_clock_s": 1.0, "loss": "completion loss"}
    settings = {"weights": "out", "output": "out/results.json", "seed": 7}
    return {
        "settings": settings,
        **model.record(),
        "training": training,
        "gates": [asdict(gate) for gate in model.gates],
        "warnings": ["row 't1' and row 't2' are alike"],
    }


def card_of(tiny: BaseModel | None = None, **changes: Any) -> str:
    return model_card(record(tiny, **changes), rows=30, intents=15)


def test_the_metadata_of_a_hub_base_is_what_a_hub_reads() -> None:
    data = ModelCard(card_of()).data
    assert (data.base_model, data.library_name, data.pipeline_tag) == (REPOSITORY, "peft", "text-generation")
    assert data.to_dict()["base_model_relation"] == "adapter"
    assert {"lora", "customer-support"} <= {*data.tags}
    assert (data.license, data.language) == (None, None), "the user's to say"


def test_a_base_that_no_hub_has_is_not_in_the_metadata_and_its_path_is_nowhere() -> None:
    text = card_of(in_folder(base()))
    assert ModelCard(text).data.base_model is None
    assert "# LoRA adapter of my-base for support replies" in text
    assert "/home" not in text
    assert "put it on a base with the SHA-256 above" in text


def test_a_quantised_base_names_the_weights_that_it_was_made_from() -> None:
    text = card_of(replace(in_folder(base()), name=SMOLLM.title, digest=f"sha256:{SMOLLM.sha256}"))
    assert ModelCard(text).data.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert 'AutoModelForCausalLM.from_pretrained("HuggingFaceTB/SmolLM2-135M-Instruct"), "FOLDER")' in text
    assert "answers then differ slightly" in text


def test_the_card_has_counts_figures_gates_and_versions() -> None:
    text = card_of(scale=0.5)
    for piece in (
        "on 30 labelled support tickets with 15 intents",
        f"| revision | {COMMIT} |",
        "| steps | 4 |",
        "| out-of-fold loss | 3.500 |",
        f"| LoRA | r {LORA_R},",
        "| lora_alpha | 16, which is 32 times the scale 0.5;",
        "| seed | 7 |",
        f"thirty-tickets {__version__}",
    ):
        assert piece in text
    for gate in undisturbed().gates:
        assert f"| {gate.name} | {gate.decision} | {gate.standard} |" in text
        assert gate.reason in text


@pytest.mark.parametrize(
    ("passed", "said"), [(True, "so the run let it answer"), (False, "**The run itself gave stored replies**")]
)
def test_the_card_says_whether_the_run_used_the_adapter(passed: bool, said: str) -> None:
    gates = tuple(replace(gate, passed=passed) if gate.name == "replies" else gate for gate in undisturbed().gates)
    assert said in card_of(gates=gates)


def test_no_ticket_reply_label_or_row_id_stands_in_the_card() -> None:
    text = card_of().lower()
    for row in FEW:
        assert row.text not in text
        assert row.ideal_reply.lower() not in text.replace(" no.", "").replace(" now.", ""), "short replies are words, too"
        assert row.intent not in text
    assert "t1" not in text


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The checkpoint of the tiny base as a folder, and a hub's cache with the same."""
    root = tmp_path_factory.mktemp("bases")
    checkpoint = save_base(root / "folder")
    repository = root / "hub" / f"models--{REPOSITORY.replace('/', '--')}"
    copytree(checkpoint, repository / "snapshots" / COMMIT)
    return checkpoint, root / "hub"


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("where", ["folder", "hub"])
def test_auto_peft_loads_the_folder_and_it_answers_as_it_did(
    where: str, scale: float, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    checkpoint, cache = folders
    tiny = base()
    named = on_hub(tiny) if where == "hub" else replace(tiny, path=str(checkpoint))
    model = trained(tiny)
    set_scale(model, scale)
    save_adapter(model, named, tmp_path, scale=scale)
    options = {"cache_dir": cache, "local_files_only": True} if where == "hub" else {}
    assert losses(AutoPeftModelForCausalLM.from_pretrained(tmp_path, **options)) == pytest.approx(losses(model))
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["revision"] == (COMMIT if where == "hub" else None)


def saved(folder: Path) -> Path:
    """A weights folder with all files of a run of a hub base, and one of somebody else."""
    tiny = on_hub(base())
    folder.mkdir()
    save_adapter(trained(base()), tiny, folder)
    settings = {"settings": {"weights": str(folder), "output": str(folder / "results.json"), "seed": 0}}
    save_model_card(folder, record(tiny) | settings, rows=4, intents=2)
    for name in (*PRIVATE_FILES, "results.json"):
        (folder / name).write_text("do guests need a seat")
    return folder


def test_of_a_hub_base_the_files_name_no_folder_of_this_machine(tmp_path: Path) -> None:
    folder = saved(tmp_path / "out")
    for path in folder.iterdir():
        if path.name in (*ADAPTER_FILES, "README.md", ".gitignore") and path.suffix != ".safetensors":
            text = path.read_text()
            assert str(tmp_path) not in text
            assert "/root" not in text
            assert "local_files_only" not in text


class Asked(ThreadingHTTPServer):
    """A hub on localhost that takes a model card and then refuses what is to be uploaded; notes what it was told."""

    cards: list[dict[str, Any]]
    uploads: list[dict[str, Any]]


class Handler(BaseHTTPRequestHandler):
    server: Asked

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        card = self.path == "/api/validate-yaml"
        (self.server.cards if card else self.server.uploads).append(told)
        self.send_response(200 if card else 403)
        self.end_headers()
        self.wfile.write(b'{"errors": [], "warnings": []}')

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Asked]:
    server = Asked(("127.0.0.1", 0), Handler)
    server.cards, server.uploads = [], []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_an_upload_of_the_whole_folder_tells_the_hub_to_leave_out_tickets_and_replies(tmp_path: Path, hub: Asked) -> None:
    folder = saved(tmp_path / "out")
    with pytest.raises(HfHubHTTPError):
        HfApi(endpoint=f"http://127.0.0.1:{hub.server_port}", token="none").upload_folder(repo_id="a/b", folder_path=folder)
    assert hub.cards[0]["content"] == (folder / "README.md").read_text()
    told = next(told for told in hub.uploads if "files" in told)
    left_out = {line[1:] for line in told["gitIgnore"].splitlines() if line.startswith("/")}
    names = {file["path"] for file in told["files"]}
    assert left_out == {*PRIVATE_FILES, "results.json"}
    assert names - left_out <= {*ADAPTER_FILES, "README.md", ".gitignore"}
    assert {"adapter_model.safetensors", "adapter_config.json", "README.md"} <= names - left_out


def test_a_result_elsewhere_is_not_named(tmp_path: Path) -> None:
    save_model_card(
        tmp_path, record() | {"settings": {"weights": str(tmp_path), "output": "r.json", "seed": 0}}, rows=1, intents=1
    )
    assert "r.json" not in (tmp_path / ".gitignore").read_text()
