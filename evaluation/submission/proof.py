"""What a run of a submission must have done in each sandbox, and what it is worth there.

A complete result is not enough: where models can be had, a run that silently fell back to less is a failure, and where none
can be had, so is one that says nothing about it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.score.grading import parts, score_rows
from evaluation.score.labels import Label
from evaluation.score.results import result_rows
from evaluation.submission.result_schema import schema_problems
from evaluation.submission.sandbox import Ended, Sandbox
from retrieval.encoder import Encoder
from retrieval.known_models import MINILM, MPNET
from retrieval.run_files import RECORD, read_record

ADAPTER = ("adapter_model.safetensors", "adapter_config.json")
NONE = "none"


@dataclass(frozen=True, slots=True)
class Proof:
    """What a sandbox showed."""

    sandbox: Sandbox
    ended: Ended
    record: dict[str, Any]  # the run's own, empty where it left none
    adapter: bool  # whether one was written
    problems: tuple[str, ...]  # none: proven

    @property
    def encoder(self) -> str:
        """Its name and where it came from, as the run says."""
        return _model(self.record, "encoder")

    @property
    def base(self) -> str:
        """The same of the base model."""
        return _model(self.record, "base")


def prove(sandbox: Sandbox, ended: Ended, ids: Sequence[str]) -> Proof:
    """Judges a run; `ids` are those of the tickets in their order.

    Raises:
        MissingPackage: jsonschema is not installed.
    """
    record, adapter = read_record(ended.weights), all((ended.weights / name).is_file() for name in ADAPTER)
    if ended.status is None:
        problems = [f"found no end after {ended.seconds:.0f} s, expected a result by then"]
    elif ended.status:
        problems = [f"found exit status {ended.status} ({ended.last_line}), expected 0"]
    else:
        problems = [*schema_problems(ended.results, ids), *_shortfalls(sandbox, record, adapter=adapter)]
    return Proof(sandbox, ended, record, adapter, tuple(f"sandbox {sandbox.name}: {problem}" for problem in problems))


def score(proof: Proof, labels: Mapping[str, Label], encoder: Encoder) -> dict[str, float]:
    """The parts of the score of a proven result, and the total, as `evaluation.score` has them."""
    result = json.loads(proof.ended.results.read_text(encoding="utf-8"))
    rows = score_rows(result_rows(result), labels, encoder)
    return {part.name: part.value for part in parts(rows, seconds=result["training"]["wall_clock_s"], seed=0)}


def _shortfalls(sandbox: Sandbox, record: Mapping[str, Any], *, adapter: bool) -> list[str]:
    """Where the run did less, or other, than the sandbox lets it do."""
    if not record:
        return [f"found no {RECORD} in the weights folder, expected the record of the run"]
    encoder, base = (_name(record, key) for key in ("encoder", "base"))
    if sandbox.index or sandbox.warm:
        wrong = (
            (encoder != MPNET.title, f"found the encoder {encoder}, expected {MPNET.title}"),
            (base == NONE, "found no base model, expected one"),
            (not adapter, f"found no adapter in the weights folder, expected {' and '.join(ADAPTER)}"),
        )
    else:
        wrong = (
            (encoder != MINILM.title, f"found the encoder {encoder}, expected {MINILM.title}, which is installed"),
            (base != NONE, f"found the base model {base}, expected none: there is nowhere to have it from"),
            (not record.get("warnings"), "found no warning, expected one that says what was missing"),
        )
    return [*(what for is_wrong, what in wrong if is_wrong), *_wrong_sources(sandbox, record)]


def _wrong_sources(sandbox: Sandbox, record: Mapping[str, Any]) -> list[str]:
    """Models that came from elsewhere than the sandbox offers: it proves nothing then."""
    expected = "wheels" if sandbox.index else "cache" if sandbox.warm else "package"
    found = {key: record[key].get("source") for key in ("encoder", "base") if _name(record, key) not in ("", NONE)}
    return [
        f"found the {key} from {source}, expected it from {expected}" for key, source in found.items() if source != expected
    ]


def _name(record: Mapping[str, Any], key: str) -> str:
    found = record.get(key)
    return str(found.get("name", "")) if isinstance(found, dict) else ""


def _model(record: Mapping[str, Any], key: str) -> str:
    name = _name(record, key)
    source = record[key].get("source") if name else None
    return f"{name} ({source})" if source else name or "not said"
