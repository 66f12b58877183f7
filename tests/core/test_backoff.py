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
