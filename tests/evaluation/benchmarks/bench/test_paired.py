from typing import Any

from evaluation.benchmarks.bench.contestants import PARTS, RUN, SETFIT, TRL
from evaluation.benchmarks.bench.paired import paired_table

Line = dict[str, Any]


def run(contestant: str, correct: list[int], quality: list[float] | None, **changes: Any) -> Line:
    answers = {"correct_by_ticket": correct, "quality_by_ticket": quality}
    return {"contestant": contestant, "base": "small", "round": 1, "split": "a"} | answers | changes


def second(contestant: str, correct: list[int], quality: list[float], **changes: Any) -> Line:
    """Of a second round, on another split."""
    return run(contestant, correct, quality, **{"round": 2, "split": "b"} | changes)


def test_the_difference_is_that_of_the_same_tickets_on_all_splits() -> None:
    measured = [
        *(run(RUN, [1, 1], [0.5, 0.7]), run(TRL, [1, 0], [0.5, 0.6])),
        *(second(RUN, [0, 1], [0.1, 0.9]), second(TRL, [0, 0], [0.2, 0.5])),
    ]
    (line,) = paired_table(measured)
    assert (line["base"], line[f"{RUN} minus"], line["tickets"]) == ("small", TRL, "4")
    assert line["correct intents, %"] == "+50.0 (+0.0 .. +100.0)"
    assert line["reply quality"].startswith("+0.100 (-0.0")
    assert line["task score, of 70"].startswith("+23.0 (")


def test_equal_answers_differ_by_nothing() -> None:
    (line,) = paired_table([run(RUN, [1, 0], [0.5, 0.7]), run(PARTS, [1, 0], [0.5, 0.7])])
    assert line["reply quality"] == "+0.000 (+0.000 .. +0.000)"


def test_rounds_of_one_split_are_the_same_tickets_and_not_more_of_them() -> None:
    measured = [run(RUN, [1, 1], [0.5, 0.7]), run(TRL, [1, 0], [0.5, 0.6])]
    measured += [second(RUN, [1, 1], [0.6, 0.7], split="a"), second(TRL, [0, 0], [0.2, 0.6], split="a")]
    (line,) = paired_table(measured)
    assert line["tickets"] == "2"
    assert line["correct intents, %"] == "+75.0 (+50.0 .. +100.0)"
    assert line["reply quality"] == "+0.150 (+0.100 .. +0.200)"


def test_calls_with_other_tickets_and_numbers_of_them_are_kept_apart_although_their_rounds_have_one_number() -> None:
    measured = [run(RUN, [1, 1], [0.5, 0.7]), run(TRL, [0, 0], [0.5, 0.7])]
    measured += [run(RUN, [0], [0.5], split="b"), run(TRL, [0], [0.5], split="b")]
    (line,) = paired_table(measured)
    assert (line["tickets"], line["reply quality"]) == ("3", "+0.000 (+0.000 .. +0.000)")
    assert line["correct intents, %"].startswith("+66.7 (")


def test_a_contestant_that_ran_in_a_later_call_is_compared_with_the_run_on_its_split() -> None:
    (line,) = paired_table([run(RUN, [1], [0.5]), run(TRL, [0], [0.4], round=2)])
    assert line["reply quality"].startswith("+0.100 ")


def test_a_contestant_without_replies_is_compared_by_its_intents_alone() -> None:
    (line,) = paired_table([run(RUN, [1, 1], [0.5, 0.7]), run(SETFIT, [1, 0], None)])
    assert line["correct intents, %"] == "+50.0 (+0.0 .. +100.0)"
    assert (line["reply quality"], line["task score, of 70"]) == ("–", "–")


def test_a_split_or_a_base_that_this_program_did_not_run_and_lines_without_a_split_are_left_out() -> None:
    measured = [run(RUN, [1], [0.5]), run(TRL, [1], [0.4], split="b"), run(TRL, [1], [0.4], base="large")]
    old = run(TRL, [1], [0.4])
    del old["split"], old["correct_by_ticket"], old["quality_by_ticket"]
    assert paired_table([*measured, old]) == []
