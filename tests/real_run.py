"""A real run of the command with the small base on a part of the sample; the fixture `real` shares one."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.known_models import SMOLLM
from tests.test_run import ROOT, check_result

TRAIN_ROWS, VAL_ROWS = 4, 3


@dataclass(frozen=True)
class RealRun:
    folder: Path
    result: dict[str, Any]
    record: dict[str, Any]
    explanations: list[dict[str, Any]]
    stderr: str


def run_sample(folder: Path, **environment: str) -> RealRun:
    train, val = (ROOT / "data" / name for name in ("train.jsonl", "val.jsonl"))
    rows = [json.loads(line) for line in train.read_text(encoding="utf-8").splitlines()]
    order = sorted(rows, key=lambda row: row["intent"])[:TRAIN_ROWS]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in order))
    (folder / "val.jsonl").write_text("".join(f"{line}\n" for line in val.read_text().splitlines()[:VAL_ROWS]))
    ids = [json.loads(line)["id"] for line in (folder / "val.jsonl").read_text().splitlines()]
    labels = (ROOT / "data" / "val_labels.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "labels.jsonl").write_text("".join(f"{line}\n" for line in labels if json.loads(line)["id"] in ids))
    paths = ["--train", folder / "train.jsonl", "--val", folder / "val.jsonl"]
    paths += ["--weights", folder / "weights", "--output", folder / "results.json", "--base-model", SMOLLM.name]
    done = subprocess.run(
        [sys.executable, "run.py", *map(str, paths)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = check_result(folder / "results.json", ids, {row["intent"] for row in order})
    record = json.loads((folder / "weights" / "run.json").read_text())
    lines = (folder / "weights" / "predictions.jsonl").read_text().splitlines()
    return RealRun(folder, result, record, [json.loads(line) for line in lines], done.stderr)
