from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pytest

from finetune.base_model import base_choice
from finetune.base_selection import BaseCandidate
from finetune.reload import Answering, answering_of
from retrieval.known_models import SMOLLM
from retrieval.saved_run import SavedRun
from retrieval.tickets import InputProblems
from tests.fakes import base

BASE = {"choice": SMOLLM.name, "source": "cache", "precision": "fp32", "digest": f"sha256:{SMOLLM.sha256}", "max_length": 1024}
REPLIES = {"generated": True, "max_new_tokens": 90, "exemplars": 2}


def saved(*, lm_weight: float = 0.0, **changes: Any) -> SavedRun:
    record = {"gates": [], "base": BASE, "replies": REPLIES, "scale": 0.5, "lm_scores": {"given": ["name"]}} | changes
    return SavedRun(Path("out"), record, "hash", "hash", "sha256:0", lm_weight, 4)


def test_a_run_that_generates_is_answered_by_its_base_in_its_precision_with_its_adapter() -> None:
    candidate = BaseCandidate(SMOLLM.name, None, "fp32")
    assert answering_of(saved()) == Answering(candidate, f"sha256:{SMOLLM.sha256}", 1024, 0.5, True, 90, 2, ("name",))


@pytest.mark.parametrize("given", [("name",), ("reply",), ("name", "reply")])
def test_tickets_are_scored_given_what_the_run_gave(given: tuple[str, ...]) -> None:
    found = answering_of(saved(lm_scores={"weight": 0.3, "given": list(given)}))
    assert found is not None
    assert found.lm_given == given


def test_a_record_that_does_not_say_what_the_base_was_given_is_refused() -> None:
    with pytest.raises(InputProblems, match="found something else, expected the record of a finished run"):
        answering_of(saved(lm_scores={"weight": 0.3}))


def test_a_base_of_a_hub_is_asked_for_at_its_commit() -> None:
    found = answering_of(saved(base=BASE | {"source": "hub", "choice": "org/name@abc"}))
    assert found is not None
    assert found.base == BaseCandidate("org/name", "abc", "fp32")


def test_a_base_that_only_scores_intents_is_loaded_too_and_one_without_a_say_is_not() -> None:
    copies = REPLIES | {"generated": False}
    assert answering_of(saved(replies=copies)) is None
    found = answering_of(saved(replies=copies, lm_weight=0.3))
    assert found is not None
    assert not found.generates


def test_a_number_that_none_can_be_is_a_record_of_another_shape() -> None:
    with pytest.raises(InputProblems, match="found something else"):
        answering_of(saved(base=BASE | {"max_length": inf}))
    with pytest.raises(InputProblems, match="found something else"):
        answering_of(saved(lm_scores={"given": ["a poem"]}))


def test_a_run_without_a_language_model_has_nothing_to_load() -> None:
    record = {"gates": [], "base": {"name": "none"}}
    assert answering_of(SavedRun(Path("out"), record, "hash", "hash", "sha256:0", 0.0, 4)) is None


@pytest.mark.parametrize(
    ("changes", "choice"),
    [
        ({"digest": f"sha256:{SMOLLM.sha256}", "path": "/cache/converted"}, SMOLLM.name),
        ({"path": "org/name", "revision": "abc", "source": "hub"}, "org/name@abc"),
        ({"path": "/models/mine", "source": "folder"}, "/models/mine"),
        ({"name": "/models/mine.gguf", "path": "/cache/converted", "source": "file"}, "/models/mine.gguf"),
    ],
)
def test_the_record_names_a_base_as_the_option_that_loads_it_again(changes: dict[str, Any], choice: str) -> None:
    assert base_choice(replace(base(), **changes)) == choice
