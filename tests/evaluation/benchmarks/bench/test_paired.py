from typing import Any

from evaluation.benchmarks.bench.contestants import PARTS, RUN, SETFIT, TRL
from evaluation.benchmarks.bench.paired import paired_table


def run(
    contestant: str, correct: list[int], quality: list[float] | None, number: int = 1, base: str = "small"
) -> dict[str, Any]:
    answers = {"correct_by_ticket": correct, "quality_by_ticket": quality}
    return {"contestant": contestant, "base": base, "round": number} | answers


def test_the_difference_is_that_of_the_same_tickets_in_all_rounds() -> None:
    measured = [
        *(run(RUN, [1, 1], [0.5, 0.7]), run(TRL, [1, 0], [0.5, 0.6])),
        *(run(RUN, [0, 1], [0.1, 0.9], 2), run(TRL, [0, 0], [0.2, 0.5], 2)),
    ]
    (line,) = paired_table(measured)
    assert (line["base"], line[f"{RUN} minus"], line["tickets"]) == ("small", TRL, "4")
    assert line["intents, points of 100"] == "+50.0 (+0.0 .. +100.0)"
    assert line["reply quality"].startswith("+0.100 (-0.0")
    assert line["40 % intents and 30 % replies, points"].startswith("+23.0 (")


def test_equal_answers_differ_by_nothing() -> None:
    (line,) = paired_table([run(RUN, [1, 0], [0.5, 0.7]), run(PARTS, [1, 0], [0.5, 0.7])])
    assert line["reply quality"] == "+0.000 (+0.000 .. +0.000)"


def test_a_contestant_without_replies_is_compared_by_its_intents_alone() -> None:
    (line,) = paired_table([run(RUN, [1, 1], [0.5, 0.7]), run(SETFIT, [1, 0], None)])
    assert line["intents, points of 100"] == "+50.0 (+0.0 .. +100.0)"
    assert [value for key, value in line.items() if "repl" in key] == ["–", "–"]


def test_a_round_or_a_base_that_this_program_did_not_run_is_left_out() -> None:
    measured = [run(RUN, [1], [0.5]), run(TRL, [1], [0.4], 2), run(TRL, [1], [0.4], base="large")]
    assert paired_table(measured) == []
