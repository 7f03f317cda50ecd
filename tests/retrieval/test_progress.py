"""The share done and the remaining time, on a clock that the tests turn."""

from dataclasses import dataclass

import pytest

from retrieval.progress import OFTEN, REPLY_S, Group, Part, Progress, plan_of, plan_of_answers


@dataclass
class Time:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def work(progress: Progress, time: Time, label: str, *, items: int, seconds: float) -> list[tuple[float, float | None, float]]:
    """A bar of so many items that take so many seconds each: after each the share, the remaining time, and the clock."""
    seen = []
    progress.begin_bar(label)
    for done in range(items + 1):
        progress.report(label, done, items)
        seen.append((progress.share(), progress.remaining(), time.now))
        time.now += seconds if done < items else 0.0
    progress.end_bar()
    return seen


PLAN = (
    Part("load", 2.0),
    Part("train", 20.0, "train", model=True),
    Part("train", 10.0, "judge", model=True),
    Part("write", 2.0),
)


def test_at_a_steady_rate_the_remaining_time_is_right_whatever_the_machine() -> None:
    for slow in (0.1, 1.0, 30.0):
        time = Time()
        progress = Progress(PLAN, now=time)
        progress.begin("load")
        time.now += 2.0
        progress.begin("train")
        seen = work(progress, time, "train", items=10, seconds=2.0 * slow)
        seen += work(progress, time, "judge", items=5, seconds=2.0 * slow)
        end = time.now + 2.0
        assert [left for _, left, _ in seen[:1]] == [None], "nothing was measured yet"
        for _, left, now in seen[1:]:
            assert left is not None
            assert left == pytest.approx(end - now, rel=0.01), f"at {now}, {slow} times as slow"


def test_within_a_bar_its_own_rate_decides_and_where_the_plan_is_wrong_the_time_is_right_within_a_factor() -> None:
    time = Time()
    progress = Progress(PLAN, now=time)
    progress.begin("train")
    seen = work(progress, time, "train", items=10, seconds=6.0)  # 60 seconds, as the pace says
    seen += work(progress, time, "judge", items=10, seconds=6.0)  # 60 seconds, twice as long as the plan says
    errors = [left / (time.now + 2.0 - now) for _, left, now in seen[1:] if left is not None]
    assert all(0.5 < error < 1.2 for error in errors)
    assert errors[-2] == pytest.approx(1.0, abs=0.05)


def test_between_two_items_the_remaining_time_runs_down_with_the_clock() -> None:
    time = Time()
    progress = Progress(PLAN, now=time)
    progress.begin("train")
    progress.begin_bar("train")
    time.now += 10.0
    progress.report("train", 1, 4)
    before = progress.remaining()
    time.now += 5.0
    assert before is not None
    assert progress.remaining() == before - 5.0
    time.now += 10_000.0
    assert progress.remaining() == 0.0, "never negative"


def test_no_time_is_given_while_a_kind_of_work_is_unmeasured() -> None:
    time = Time()
    progress = Progress((Part("index", 10.0, "embed"), Part("train", 20.0, "train", model=True)), now=time)
    progress.begin("index")
    assert all(left is None for _, left, _ in work(progress, time, "embed", items=4, seconds=1.0))
    assert Progress().remaining() is None


def test_the_share_never_goes_down_and_a_part_that_is_left_out_lets_it_jump() -> None:
    time = Time()
    progress = Progress(PLAN, now=time)
    shares = [progress.share()]
    progress.begin("load")
    for _ in range(50):  # takes ten times as long as planned
        time.now += 0.4
        shares.append(progress.share())
    progress.begin("train")
    shares += [share for share, _, _ in work(progress, time, "train", items=3, seconds=1.0)]
    progress.begin("write")  # the judging is left out
    shares.append(progress.share())
    assert shares == sorted(shares)
    assert 0 < shares[1] < shares[50] < 2 / 34, "a part without a bar moves on, but is not done before it is"
    assert shares[-2:] == [pytest.approx(22 / 34), pytest.approx(32 / 34)]


def test_a_bar_that_is_not_in_the_plan_of_its_stage_changes_nothing_but_the_text() -> None:
    time = Time()
    progress = Progress((Part("train", 9.0, "train"), Part("answer", 1.0, "embed")), now=time)
    progress.begin("train")
    progress.begin_bar("embed")
    progress.report("embed", 1, 2)
    assert (progress.text, progress.share()) == ("embed, 1 of 2", 0.0)
    progress.end_bar()
    assert (progress.text, progress.share()) == ("train", 0.0)


def test_a_part_that_is_often_left_out_counts_for_less_and_still_measures_the_pace() -> None:
    time = Time()
    plan = (Part("a", 10.0, "first", chance=0.1), Part("a", 10.0, "second"), Part("a", 10.0, "third", chance=0.5))
    progress = Progress(plan, now=time)
    progress.begin("a")
    work(progress, time, "first", items=2, seconds=5.0)
    assert progress.share() == pytest.approx(1 / 16)
    assert progress.remaining() == pytest.approx(15.0)


def test_the_plan_grows_with_the_rows_and_the_tickets() -> None:
    def seconds(*sizes: int, model: bool) -> float:
        return sum(part.weight for part in plan_of(*sizes, model=model))

    assert seconds(30, 10, model=False) < 30 < seconds(30, 10, model=True) < seconds(60, 10, model=True)
    many = plan_of(30, 600, model=True)
    writing = [part for part in many if (part.stage, part.bar) == ("answer", "write replies")]
    assert [part.seconds for part in writing] == [256 * REPLY_S, 256 * REPLY_S, 88 * REPLY_S], "a part for each block"
    assert {part.chance for part in writing} == {OFTEN}


def test_a_stage_that_begins_once_more_does_not_take_the_share_back() -> None:
    time = Time()
    progress = Progress(PLAN, now=time)
    progress.begin("load")
    time.now += 1.5
    before = progress.share()
    progress.begin("load")
    assert progress.share() == before > 0


@pytest.mark.parametrize("model", [False, True])
def test_answering_again_has_the_parts_that_answering_has_in_a_run(model: bool) -> None:
    whole, again = plan_of(30, 300, model=model), plan_of_answers(300, model=model)
    assert again[:-1] == tuple(part for part in whole if part.stage in ("embed", "answer"))
    assert again[-1].stage == "write"


def test_parts_that_are_known_not_to_come_count_no_longer_and_hold_no_remaining_time_back() -> None:
    time = Time()
    plan = (
        Part("load", 10.0, "read"),
        Part("train", 60.0, "replies", model=True, group=Group.MEASURING),
        Part("write", 20.0, "tickets", model=True, group=Group.REPLIES),
        Part("write", 10.0),
    )
    progress = Progress(plan, now=time)
    progress.begin("load")
    progress.begin_bar("read")
    time.now += 5.0
    progress.report("read", 1, 2)
    assert progress.share() == pytest.approx(0.05)
    assert progress.remaining() is None, "the model's pace is not known"
    progress.leave_out(Group.MEASURING)
    assert progress.share() == pytest.approx(5 / 40)
    assert progress.remaining() is None
    progress.leave_out(Group.REPLIES)
    assert progress.share() == pytest.approx(5 / 20)
    assert progress.remaining() == pytest.approx(15.0)


def test_what_runs_already_is_not_left_out() -> None:
    time = Time()
    progress = Progress((Part("train", 10.0, "replies", group=Group.MEASURING), Part("write", 10.0)), now=time)
    progress.begin("train")
    progress.begin_bar("replies")
    time.now += 5.0
    progress.report("replies", 1, 2)
    progress.leave_out(Group.MEASURING)
    assert (progress.share(), progress.remaining()) == (pytest.approx(0.25), pytest.approx(15.0))


def test_a_run_that_measures_no_replies_and_writes_none_is_left_with_training_and_the_answers() -> None:
    left_out = {Group.MEASURING, Group.REPLIES}
    kept = [part.bar for part in plan_of(30, 10, model=True) if part.group not in left_out]
    assert not {"write replies", "train fold 1 of 2", "train fold 2 of 2"} & set(kept)
    assert {"train the adapter", "LM intent scores", "LM intent scores of the train rows", "embed"} <= set(kept)
