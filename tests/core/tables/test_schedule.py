"""When a bound file is harvested and projected to, in times that nobody has to wait for."""

from __future__ import annotations

from functools import partial

from peerd.core.tables.budget import SHARE, STORE_S
from peerd.core.tables.schedule import Schedule, Step


def steps(
    schedule: Schedule, until_s: float, *, from_s: float = 0.0, is_read: bool = False
) -> list[tuple[float, Step]]:
    """What is done by whoever asks only when told to ask."""
    done: list[tuple[float, Step]] = []
    now_s = from_s
    while now_s <= until_s:
        step = schedule.step(now_s, lambda: is_read)
        if step is not Step.SLEEP:
            done.append((round(now_s, 3), step))
            continue
        wake_s = schedule.wake_s()
        if wake_s is None:
            break
        assert wake_s > now_s, "or it would spin"
        now_s = wake_s
    return done


def test_nothing_is_done_and_no_timer_runs_while_nothing_happens() -> None:
    schedule = Schedule()
    assert schedule.step(5.0) is Step.SLEEP
    assert schedule.wake_s() is None


def test_a_change_of_the_file_is_harvested_after_a_moment_of_quiet() -> None:
    schedule = Schedule()
    schedule.file_changed(1.000)
    schedule.file_changed(1.005)
    assert steps(schedule, 1.9, from_s=1.005) == [(1.015, Step.HARVEST)]


def test_a_file_that_is_never_quiet_is_harvested_a_tenth_of_a_second_after_the_first_change() -> None:
    schedule = Schedule()
    for number in range(30):
        now_s = 1.0 + number * 0.005
        schedule.file_changed(now_s)
        if schedule.step(now_s) is Step.HARVEST:
            break
    assert round(now_s, 3) == 1.1


def test_a_commit_is_projected_after_a_moment_of_quiet() -> None:
    schedule = Schedule()
    schedule.space_moved(1.0)
    assert steps(schedule, 9.0, from_s=1.0) == [(1.01, Step.PROJECT)]


def test_a_space_that_never_rests_is_projected_two_seconds_after_the_first_commit() -> None:
    schedule = Schedule()
    projected = []
    for number in range(500):
        now_s = 1.0 + number * 0.005
        schedule.space_moved(now_s)
        if schedule.step(now_s) is Step.PROJECT:
            projected.append(round(now_s, 2))
    assert projected == [3.0]


def test_a_projection_waits_for_a_reader_but_not_for_ever() -> None:
    schedule = Schedule()
    schedule.space_moved(1.0)
    assert steps(schedule, 9.0, from_s=1.0, is_read=True) == [(3.0, Step.PROJECT)]
    assert schedule.forced == 1
    schedule.space_moved(10.0)
    assert steps(schedule, 10.015, from_s=10.0, is_read=True) == []
    assert steps(schedule, 10.1, from_s=10.02) == [(10.02, Step.PROJECT)]
    assert schedule.forced == 1


def test_what_the_application_did_is_harvested_before_anything_is_written() -> None:
    schedule = Schedule()
    schedule.space_moved(1.0)
    schedule.file_changed(1.0)
    assert steps(schedule, 1.9, from_s=1.0) == [(1.01, Step.HARVEST), (1.01, Step.PROJECT)]


def test_trouble_is_tried_again_after_pauses_that_grow() -> None:
    """Nothing else is attempted meanwhile, and one retry does all there is to do."""
    schedule = Schedule()
    schedule.file_changed(1.0)
    schedule.space_moved(1.0)
    tried = []
    now_s = 1.0
    for _ in range(10):
        schedule.failed(now_s)
        ((now_s, step),) = steps(schedule, now_s + 99.0, from_s=now_s)
        assert step is Step.RETRY
        tried.append(now_s)
    pauses = [round(later - sooner, 1) for sooner, later in zip([1.0, *tried], tried, strict=False)]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    schedule.succeeded()
    schedule.failed(now_s)
    assert steps(schedule, now_s + 99.0, from_s=now_s) == [(now_s + 0.5, Step.RETRY)]


def test_a_file_that_moves_is_looked_at_before_the_pause_is_over() -> None:
    schedule = Schedule()
    for _ in range(9):
        schedule.failed(1.0)
    schedule.try_now(2.0)
    assert steps(schedule, 9.0, from_s=2.0) == [(2.01, Step.RETRY)]


def test_while_somebody_writes_no_look_is_the_last_one() -> None:
    """The last event of a commit comes before others see it."""
    schedule = Schedule()
    schedule.file_changed(1.0)
    looks = []
    now_s = 1.0
    while now_s < 1.5:
        writes = now_s < 1.3
        if schedule.step(now_s, is_written=partial(bool, writes)) is Step.HARVEST:
            looks.append(round(now_s, 3))
            assert schedule.is_busy == writes
        wake_s = schedule.wake_s()
        assert wake_s is not None
        now_s = wake_s
    assert looks == [1.01, 1.02, 1.04, 1.08, 1.16, 1.32]


def test_a_second_after_the_last_change_there_is_one_more_look() -> None:
    schedule = Schedule()
    schedule.file_changed(1.0)
    schedule.file_changed(1.005)
    assert steps(schedule, 9.0, from_s=1.005) == [(1.015, Step.HARVEST), (2.005, Step.HARVEST)]
    assert not schedule.is_busy
    assert schedule.wake_s() is None


def test_a_look_as_a_precaution_keeps_nobody_busy() -> None:
    schedule = Schedule()
    schedule.file_changed(1.0)
    assert schedule.is_busy
    assert schedule.step(1.01) is Step.HARVEST
    assert not schedule.is_busy


def locked(now_s: float, seconds: float) -> Schedule:
    """A file in which we were in the way for so long."""
    schedule = Schedule()
    schedule.was_in_the_way(now_s, STORE_S + seconds)
    return schedule


def test_in_a_busy_file_a_harvest_waits_until_our_share_of_the_time_is_made_up_for() -> None:
    schedule = locked(1.0, 0.5 * SHARE)
    schedule.file_changed(1.0)
    assert steps(schedule, 1.9, from_s=1.0) == [(1.5, Step.HARVEST)]


def test_in_a_busy_file_that_is_never_quiet_too() -> None:
    schedule = locked(1.0, 0.5 * SHARE)
    harvested = []
    for number in range(120):
        now_s = 1.0 + number * 0.005
        schedule.file_changed(now_s)
        if schedule.step(now_s) is Step.HARVEST:
            harvested.append(round(now_s, 3))
    assert [round(one, 2) for one in harvested] == [1.5]


def test_in_a_busy_file_nothing_is_later_than_two_seconds() -> None:
    schedule = locked(1.0, 1.0)
    schedule.space_moved(1.5)
    harvested = []
    for number in range(440):
        now_s = 1.0 + number * 0.005
        schedule.file_changed(now_s)
        if (step := schedule.step(now_s)) is not Step.SLEEP:
            harvested.append((round(now_s, 2), step))
    assert harvested == [(3.0, Step.HARVEST)]
    assert steps(schedule, 3.6, from_s=3.2) == [(3.5, Step.PROJECT)]


def test_a_look_as_a_precaution_does_not_wait_for_our_share() -> None:
    """It only reads, and finds what the last look could not see yet."""
    schedule = locked(1.0, 1.0)
    schedule.file_changed(1.0)
    assert steps(schedule, 2.5, from_s=1.0) == [(2.0, Step.HARVEST)]


def test_where_our_reading_disturbs_a_harvest_waits_for_others_but_not_for_ever() -> None:
    schedule = Schedule()
    schedule.file_changed(1.0)
    assert steps(schedule, 1.5, from_s=1.0, is_read=True) == [(1.01, Step.HARVEST)]
    schedule = Schedule()
    schedule.reading_disturbs = True
    schedule.file_changed(1.0)
    assert steps(schedule, 1.5, from_s=1.0, is_read=True) == []
    assert steps(schedule, 1.6, from_s=1.5) == [(1.5, Step.HARVEST)]
    schedule.file_changed(5.0)
    assert steps(schedule, 9.0, from_s=5.0, is_read=True) == [(7.0, Step.HARVEST)]


def test_where_our_reading_disturbs_later_looks_wait_too() -> None:
    schedule = Schedule()
    schedule.reading_disturbs = True
    schedule.file_changed(1.0)
    assert schedule.step(1.01) is Step.HARVEST
    assert steps(schedule, 9.0, from_s=1.01, is_read=True) == [(4.0, Step.HARVEST)]
    assert schedule.wake_s() is None


def test_what_is_shown_already_is_written_down_later_and_keeps_nobody_busy() -> None:
    schedule = Schedule()
    schedule.shown_already(1.0)
    schedule.shown_already(2.5)
    assert not schedule.is_busy
    assert steps(schedule, 9.0, from_s=2.5) == [(3.0, Step.KEEP)]
    assert schedule.wake_s() is None
    schedule.shown_already(10.0)
    schedule.kept()
    assert steps(schedule, 99.0, from_s=10.0) == []


def test_what_is_shown_already_is_not_written_down_while_somebody_is_at_the_file() -> None:
    schedule = Schedule()
    schedule.shown_already(1.0)
    assert steps(schedule, 8.0, from_s=1.0, is_read=True) == []
    assert [step for _, step in steps(schedule, 20.0, from_s=8.0)] == [Step.KEEP]
