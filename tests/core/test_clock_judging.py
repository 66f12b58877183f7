"""Whose clock is wrong, as far as clocks can say."""

from __future__ import annotations

import pytest

from peerd.core.clock_judging import ClockReading, Judgement, judge

YEAR_MS = 365 * 24 * 3600 * 1000
A, B, C = b"a", b"b", b"c"


@pytest.mark.parametrize(
    ("offsets", "expected"),
    [
        ({}, Judgement()),
        ({A: 0, B: 119_000}, Judgement()),
        ({A: YEAR_MS}, Judgement(doubtful={A: YEAR_MS})),
        ({A: 0, B: YEAR_MS}, Judgement(theirs={B: YEAR_MS})),
        ({A: 20, B: 10, C: -YEAR_MS}, Judgement(theirs={C: -YEAR_MS - 10})),
        ({A: YEAR_MS, B: YEAR_MS + 1000}, Judgement(ours=-YEAR_MS - 500)),
        ({A: -YEAR_MS, B: -YEAR_MS, C: YEAR_MS}, Judgement(ours=YEAR_MS, theirs={C: 2 * YEAR_MS})),
        ({A: YEAR_MS, B: -YEAR_MS}, Judgement(doubtful={A: YEAR_MS, B: -YEAR_MS})),
        ({A: 0, B: YEAR_MS, C: YEAR_MS}, Judgement(doubtful={B: YEAR_MS, C: YEAR_MS})),
    ],
)
def test_the_larger_group_is_right(offsets: dict[bytes, int], expected: Judgement) -> None:
    readings = {device: ClockReading(offset, 0) for device, offset in offsets.items()}
    assert judge(readings, 0) == expected


def test_a_clock_that_is_kept_decides_between_two() -> None:
    """And only then: a majority knows better."""
    assert judge({A: ClockReading(YEAR_MS, 2)}, 0) == Judgement(ours=-YEAR_MS)
    assert judge({A: ClockReading(YEAR_MS, 1)}, 2) == Judgement(theirs={A: YEAR_MS})
    assert judge({A: ClockReading(YEAR_MS, 2)}, 2) == Judgement(doubtful={A: YEAR_MS})
    readings = {A: ClockReading(0, 0), B: ClockReading(YEAR_MS, 2)}
    assert judge(readings, 0) == Judgement(theirs={B: YEAR_MS})


def test_a_chain_of_small_differences_is_no_rival() -> None:
    """Groups that share a member are not told apart by it."""
    readings = {A: ClockReading(100_000, 0), B: ClockReading(200_000, 0)}
    assert judge(readings, 0) == Judgement()
