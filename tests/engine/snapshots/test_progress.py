"""How much of a snapshot is here, and how long the rest will take."""

from __future__ import annotations

import pytest

from peerd.core.snapshots.intake import Progress
from peerd.engine.snapshots.progress import MARKS, Coming


def progress(records: int) -> Progress:
    return Progress(records=records, expected=1_000)


def test_the_rest_takes_as_long_as_what_came_lately() -> None:
    coming = Coming(b"maker", progress(100), 50.0)
    assert coming.left_s(50.0) is None
    coming.moved(progress(200), 50.5)
    assert coming.left_s(50.5) is None, "a rate of so short a time is a guess"
    coming.moved(progress(300), 52.0)
    assert coming.left_s(52.0) == pytest.approx(7.0)


def test_what_came_before_a_cut_is_no_part_of_the_rate() -> None:
    coming = Coming(b"maker", progress(900), 50.0)
    coming.moved(progress(910), 60.0)
    assert coming.left_s(60.0) == pytest.approx(90.0)


def test_while_nothing_comes_it_takes_longer() -> None:
    coming = Coming(b"maker", progress(0), 0.0)
    coming.moved(progress(500), 5.0)
    assert coming.left_s(5.0) == pytest.approx(5.0)
    assert coming.left_s(50.0) == pytest.approx(50.0)


def test_a_change_of_pace_is_noticed() -> None:
    coming = Coming(b"maker", progress(0), 0.0)
    for second in range(1, MARKS + 1):
        coming.moved(progress(second), float(second))
    for number in range(1, MARKS + 1):
        coming.moved(progress(MARKS + 10 * number), MARKS + float(number))
    left_s = coming.left_s(2.0 * MARKS)
    assert left_s is not None
    assert left_s == pytest.approx((1_000 - 11 * MARKS) / 10, rel=0.1)


def test_nothing_is_left_when_more_came_than_was_said_and_nothing_is_known_while_it_is_merged() -> None:
    coming = Coming(b"maker", progress(0), 0.0)
    coming.moved(progress(1_200), 2.0)
    assert coming.left_s(2.0) == 0
    coming.merging = True
    assert coming.left_s(2.0) is None
