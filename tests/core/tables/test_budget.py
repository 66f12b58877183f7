"""How much of the time a file may be locked by us."""

from __future__ import annotations

import pytest

from peerd.core.tables.budget import SHARE, STORE_S, Budget


def test_what_is_stored_can_be_spent_at_once() -> None:
    budget = Budget()
    budget.spend(1000.0, STORE_S / 2)
    assert budget.ready_s <= 1000.0
    budget.spend(1000.0, STORE_S / 2)
    assert budget.ready_s == pytest.approx(1000.0)


def test_what_was_spent_too_much_is_missing_later() -> None:
    budget = Budget()
    budget.spend(1000.0, STORE_S + 0.03)
    assert budget.ready_s == pytest.approx(1000.0 + 0.03 / SHARE)


def test_no_more_than_the_store_is_saved_up() -> None:
    budget = Budget()
    budget.spend(1000.0, STORE_S)
    budget.spend(9_000_000.0, STORE_S + 0.01)
    assert budget.ready_s == pytest.approx(9_000_000.0 + 0.01 / SHARE)


def test_whoever_spends_as_soon_as_there_is_something_has_the_share_in_the_long_run() -> None:
    budget, now_s, spent_s = Budget(), 1000.0, 0.0
    while now_s < 2000.0:
        budget.spend(now_s, 0.01)
        spent_s += 0.01
        now_s = max(now_s + 0.001, budget.ready_s)
    assert spent_s == pytest.approx(1000.0 * SHARE + STORE_S, rel=0.01)


def test_a_clock_that_stands_gives_nothing() -> None:
    budget = Budget()
    for _ in range(10):
        budget.spend(1000.0, STORE_S)
    assert budget.ready_s == pytest.approx(1000.0 + 9 * STORE_S / SHARE)
