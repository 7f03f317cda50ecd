from typing import Any

import pytest

from evaluation.benchmarks.reply_gate.rules import Draft, nearness_lines, split_lines, table


def draft(gain: float, nearer: float = 0.1, *, passed: bool = True) -> Draft:
    return {"text": "", "findings": [], "passed": passed, "draft": 0.5 + gain, "copy": 0.5, "nearer": nearer}


def line(folds: list[list[Draft]], test: list[Draft], **more: Any) -> dict[str, Any]:
    return {"split": "s", "scale": 1.0, "untested": "", "folds": folds, "test": test} | more


def by_rule(*lines: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    found = table(lines)
    quality, loses = "quality", "splits that lose"
    return {each["rule"]: (each["splits that generate"], each[quality], each[loses]) for each in found}


def test_each_rule_gets_the_replies_of_the_splits_in_which_it_generates() -> None:
    one = line([[draft(-0.5)] * 6, [draft(0.6)] * 6], [draft(0.4), draft(0.2)])
    other = line([[draft(0.005)] * 6] * 2, [draft(-0.5), draft(-0.5)])
    assert by_rule(one, other) == {
        "never generate": ("0 of 2", "0.500", "0"),
        "always, every draft that passes": ("2 of 2", "0.400", "1"),
        "always, the nearer one": ("2 of 2", "0.400", "1"),
        "always, nearer by -0.05": ("2 of 2", "0.400", "1"),
        "always, nearer by +0.05": ("2 of 2", "0.400", "1"),
        "always, nearer by +0.1": ("2 of 2", "0.500", "0"),  # .1 is not more than .1
        "gate, every draft that passes": ("0 of 2", "0.500", "0"),
        "gate, the nearer one: as a run decides": ("0 of 2", "0.500", "0"),  # a first fold that loses; a gain below .01
        "mean at least 0.01, both folds": ("1 of 2", "0.650", "0"),  # .05 in the first split, .005 in the other
        "mean above 0, both folds": ("2 of 2", "0.400", "1"),
        "6.3 % quantile above 0, both folds": ("1 of 2", "0.250", "1"),  # the other, whose gains are all alike
        "90 % quantile above 0, both folds": ("2 of 2", "0.400", "1"),
    }


def test_where_the_stored_reply_is_nearer_nothing_is_gained_or_lost() -> None:
    far = line([[*[draft(0.3)] * 3, *[draft(-0.5, -0.1)] * 3]] * 2, [draft(0.2), draft(-0.6, -0.01)])
    found = by_rule(far)
    assert found["always, every draft that passes"] == ("1 of 1", "0.300", "1")
    assert found["always, the nearer one"] == ("1 of 1", "0.600", "0")
    assert found["gate, every draft that passes"][0] == "0 of 1", "the mean gain of the fold is -.1"
    assert found["gate, the nearer one: as a run decides"][0] == "1 of 1", "it is .15"


def test_too_few_drafts_that_are_given_are_no_evidence() -> None:
    few = line([[*[draft(0.9)] * 2, *[draft(-0.5, -0.1)] * 8]] * 2, [draft(0.2)])
    enough = line([[*[draft(0.9)] * 3, *[draft(-0.5, -0.1)] * 8]] * 2, [draft(0.2)])
    for rule in ("gate, the nearer one: as a run decides", "mean at least 0.01, both folds"):
        assert by_rule(few)[rule][0] == "0 of 1"
        assert by_rule(enough)[rule][0] == "1 of 1"


def test_gains_without_any_spread_have_no_correlation() -> None:
    folds, _ = nearness_lines([line([[draft(0.1), draft(0.1, 0.2), draft(0.1, 0.3)]], [])])
    assert (folds["number"], folds["correlation"]) == ("3", "")


def test_a_draft_that_failed_the_check_is_a_copy_and_no_evidence() -> None:
    failed = line([[draft(0.9, passed=False)] * 6] * 2, [draft(0.4, passed=False)])
    assert {quality for _, quality, _ in by_rule(failed).values()} == {"0.500"}
    assert by_rule(failed)["gate, the nearer one: as a run decides"][0] == "0 of 1"


def test_a_split_is_a_line_with_what_its_folds_and_its_test_rows_say() -> None:
    one = line([[draft(0.4), draft(-0.2, -0.1)], [draft(0.1, passed=False)]], [draft(0.2), draft(-0.6, -0.01)])
    assert split_lines([one]) == [
        {
            "split": "s",
            "scale": "1",
            "passed, by fold": "2 of 2, 0 of 1",
            "first fold": "+0.200",
            "both folds": "+0.200",
            "test: the nearer one": "+0.100",
            "test: every draft that passes": "-0.200",
        }
    ]


def test_the_gain_of_nearer_drafts_stands_beside_that_of_the_others() -> None:
    one = line([[draft(0.4), draft(-0.2, -0.1), draft(0.0, 0.0)]], [draft(0.9, passed=False)])
    folds, test = nearness_lines([one])
    assert (folds["number"], folds["nearer than the stored reply"]) == ("3", "1")
    assert (folds["gain of these"], folds["gain of the others"]) == ("+0.400", "-0.100")
    assert float(folds["correlation"]) == pytest.approx(0.98, abs=0.01)
    assert (test["number"], test["gain of these"], test["correlation"]) == ("0", "", "")
