from pathlib import Path

import numpy as np
import pytest

from evaluation.benchmarks import reload
from evaluation.benchmarks.reload import differences, movements
from retrieval.known_models import MINILM
from tests.test_run import GOOD, write

ROWS = [
    GOOD | {"id": f"{intent}-{i}", "intent": intent, "ticket": f"{word} number {i}", "ideal_reply": f"The {word} has {i}."}
    for intent, word in (("billing.seat", "seat"), ("api.token", "token"))
    for i in range(4)
]


def test_a_real_run_that_is_loaded_again_has_no_other_answer(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = ["--folds", str(write(tmp_path / "rows.jsonl", *ROWS)), "--intents", "2", "--tests", "3"]
    assert reload.main([*options, "--encoder", MINILM.name]) == 0
    found = reload.json.loads(capfd.readouterr().out)
    assert (found["train rows"], found["tickets"]) == (4, 3)
    other = found["other"]
    assert [other[name] for name in ("intents", "replies", "sources", "exemplars")] == [0, 0, 0, 0]
    assert other["confidence"] <= 2e-5
    assert 0 <= max(found["vectors move by"].values()) < 1e-5


def test_every_ticket_that_is_answered_otherwise_counts() -> None:
    one = {"predicted_intent": "a", "prediction": "x", "source": "copied", "exemplars": ["t"], "confidence": 0.5}
    found = differences([one, one], [one, one | {"predicted_intent": "b", "exemplars": [], "confidence": 0.75}])
    assert found == {"intents": 1, "replies": 0, "sources": 0, "exemplars": 1, "confidence": 0.25}


def test_the_largest_distance_counts() -> None:
    class Company:
        """Texts move by a thousandth for every text beside them."""

        def encode(self, texts: list[str]) -> np.ndarray:
            return self.encode_in_batches(texts, len(texts))

        def encode_in_batches(self, texts: list[str], size: int) -> np.ndarray:
            return np.full((len(texts), 1), 1 + 0.001 * (size - 1), dtype=np.float32)

    found = movements(Company(), ["a", "b"], "long")  # type: ignore[arg-type]
    assert found == pytest.approx({"8 together": 0.007, "32 together": 0.031, "beside the longest reply": 0.001}, abs=1e-5)
