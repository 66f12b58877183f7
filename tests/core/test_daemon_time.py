"""How a database grows older: by running, by synchronised clocks, never by a jump."""

from __future__ import annotations

from peerd.core.daemon_time import Age, Passed, Synced, older

HOUR_MS = 3_600_000
NOW_MS = 1_750_000_000_000
YEARS_MS = 13 * 365 * 24 * HOUR_MS


def test_what_passed_while_running_counts() -> None:
    """Whatever the wall clock says, and it never goes back."""
    age = older(Age(5), Passed(HOUR_MS, NOW_MS, 0))
    assert age == Age(5 + HOUR_MS)
    assert older(age, Passed(HOUR_MS, NOW_MS + YEARS_MS, 1)).ms == 5 + 2 * HOUR_MS
    assert older(age, Passed(-7, NOW_MS - YEARS_MS, 0)) == age


def test_what_passed_while_off_counts_between_two_synchronised_moments() -> None:
    before = older(Age(), Passed(HOUR_MS, NOW_MS, 2))
    assert before == Age(HOUR_MS, Synced(HOUR_MS, NOW_MS))
    unknown = older(before, Passed(HOUR_MS, 0, 0))  # the clock is not set yet
    assert unknown.ms == 2 * HOUR_MS
    after = older(unknown, Passed(HOUR_MS, NOW_MS + 48 * HOUR_MS, 2))
    assert after == Age(49 * HOUR_MS, Synced(49 * HOUR_MS, NOW_MS + 48 * HOUR_MS))


def test_a_first_synchronised_moment_makes_nothing_old() -> None:
    assert older(Age(), Passed(1, NOW_MS, 2)).ms == 1


def test_a_jump_of_a_synchronised_clock_is_no_time_while_running() -> None:
    """What also counts sleep is the bound."""
    before = Age(0, Synced(0, NOW_MS))
    assert older(before, Passed(HOUR_MS, NOW_MS + YEARS_MS, 2, 3 * HOUR_MS)).ms == 3 * HOUR_MS
    assert older(before, Passed(HOUR_MS, NOW_MS - YEARS_MS, 2)).ms == HOUR_MS


def test_time_asleep_counts_if_the_clock_is_synchronised() -> None:
    before = Age(0, Synced(0, NOW_MS))
    assert older(before, Passed(HOUR_MS, NOW_MS + 9 * HOUR_MS, 2, 9 * HOUR_MS)).ms == 9 * HOUR_MS
    assert older(before, Passed(HOUR_MS, NOW_MS + 9 * HOUR_MS, 1, 9 * HOUR_MS)).ms == HOUR_MS
