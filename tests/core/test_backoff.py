"""When to dial again: bounds, growth and spread."""

from __future__ import annotations

from random import Random

import pytest

from peerd.core import backoff


@pytest.mark.parametrize("attempt", [1, 2, 5, 9, 16, 100, 10**6])
@pytest.mark.parametrize("away_s", [0.0, 299.9, 300.0, 1e6, float("inf")])
def test_nobody_is_dialled_more_often_than_twice_a_second_or_less_than_every_five_minutes(
    attempt: int, away_s: float
) -> None:
    draw = Random(f"{attempt} {away_s}").uniform
    delays = [backoff.delay_s(attempt, away_s, draw) for _ in range(200)]
    assert min(delays) >= 0.5
    assert max(delays) <= backoff.LONGEST_S


def test_who_was_seen_lately_is_tried_every_second_or_so() -> None:
    draw = Random(1).uniform
    assert max(backoff.delay_s(50, 10.0, draw) for _ in range(500)) <= backoff.FRESH_LONGEST_S


def test_who_is_away_is_asked_less_and_less() -> None:
    longest = [backoff.delay_s(attempt, 1e6, lambda _low, high: high) for attempt in range(1, 20)]
    assert longest == sorted(longest)
    assert longest[0] <= 2.0
    assert longest[-1] == backoff.LONGEST_S


def test_delays_are_spread_over_all_of_the_time() -> None:
    """Full jitter: many devices that lost the same peer do not come back together."""
    draw = Random(1).uniform
    delays = sorted(backoff.delay_s(12, 1e6, draw) for _ in range(1_000))
    assert delays[100] < 60
    assert delays[900] > 240


def test_a_pause_doubles_up_to_the_longest() -> None:
    assert [backoff.doubling_s(2.0, 30.0, times) for times in (0, 1, 2, 3, 4, 10**6)] == [2, 4, 8, 16, 30, 30]
