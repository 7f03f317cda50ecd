"""Whatever a result says, it is scored between 0 and 1, or refused in sentences."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.score.grading import score_rows
from evaluation.score.labels import Label
from evaluation.score.results import ResultRow, differences, read_result, result_rows
from retrieval.tickets import InputProblems
from tests.evaluation.samples import result
from tests.fakes import HashEncoder
from tests.hostile import ANY, SEEN

SCALAR = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), ANY, st.just("\ud800"))
VALUE = st.recursive(
    SCALAR, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(ANY, inner, max_size=3)), max_leaves=5
)
NAMES = ("id", "prediction", "predicted_intent", "latency_ms")
ROW = st.one_of(VALUE, st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, st.one_of(SEEN, VALUE))))
RESULT = st.one_of(
    VALUE,
    st.fixed_dictionaries(
        {
            "training": st.one_of(VALUE, st.fixed_dictionaries({"wall_clock_s": SCALAR})),
            "predictions": st.lists(ROW, max_size=4),
        }
    ),
)
TEXTS = st.tuples(SEEN, ANY, SEEN)
LABEL = st.builds(
    Label,
    st.just("a"),
    st.lists(SEEN, min_size=1, max_size=2).map(tuple),
    SEEN,
    st.lists(st.lists(SEEN, min_size=1, max_size=2).map(tuple), max_size=2).map(tuple),
    st.lists(SEEN, max_size=2).map(tuple),
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("score") / "r.json"


@given(st.one_of(RESULT.map(json.dumps).map(str.encode), st.binary(max_size=40), st.just(b"[" * 100_000)))
def test_any_file_is_a_result_or_a_line_for_each_problem(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    rows, problems = read(path)
    assert all(problem.startswith(str(path)) and problem.isprintable() for problem in problems), problems
    assert all(isinstance(text, str) for row in rows.values() for text in (row.intent, row.reply))


def read(path: Path) -> tuple[dict[str, ResultRow], tuple[str, ...]]:
    """The rows, or the problems."""
    try:
        return result_rows(read_result(path)), ()
    except InputProblems as error:
        return {}, error.problems or ("",)


@given(LABEL, SEEN, ANY)
def test_every_measure_lies_between_0_and_1_and_the_ideal_reply_is_worth_no_less_than_any_other(
    label: Label, intent: str, reply: str
) -> None:
    def scored(text: str) -> Any:
        (row,) = score_rows({"a": ResultRow(intent, text)}, {"a": label}, HashEncoder())
        return row

    row, ideal = scored(reply), scored(label.ideal_reply)
    for value in (row.quality, row.similarity, row.rouge_l, ideal.similarity):
        assert -1e-6 <= value <= 1 + 1e-6
    assert ideal.similarity >= row.similarity - 1e-6
    assert row.intent_correct is (intent in label.intents)
    assert 0 <= row.facts_met <= row.fact_groups


@given(st.lists(TEXTS, max_size=3, unique_by=lambda row: row[0]), st.lists(TEXTS, max_size=3, unique_by=lambda row: row[0]))
def test_a_result_differs_from_another_one_as_the_other_does_from_it(
    ours: list[tuple[str, str, str]], theirs: list[tuple[str, str, str]]
) -> None:
    one, two = result(*ours), result(*theirs)
    assert differences(one, one) == {}
    assert differences(one, two).keys() == differences(two, one).keys()
    assert (differences(one, two) == {}) is (one["predictions"] == two["predictions"])
