"""What is done now and then is durable, and costs nothing when there is nothing to do."""

from __future__ import annotations

from typing import Any

import pytest

from peerd.core.daemon_time import Age, Synced
from peerd.core.trimming import Plan
from peerd.store import database
from tests.store.copies import Copy, put


async def test_how_old_it_is_outlives_the_process(copy: Copy) -> None:
    for age in (Age(7), Age(9, Synced(8, 1_750_000_000_000)), Age(10, Synced(8, 1_750_000_000_000))):
        await copy.store.upkeep.note_age(age)
        assert (await copy.reopen()).age == age


async def test_what_is_written_is_as_old_as_it_was_noted_last(copy: Copy) -> None:
    await copy.store.upkeep.note_age(Age(5))
    await copy.write([put("todo", "a", n=1)])
    await copy.reopen()
    await copy.store.upkeep.note_age(Age(6))
    await copy.write([put("todo", "a", n=2)])
    clock = copy.state.clock()
    assert (await copy.store.upkeep.trim(Plan(clock, 5, 99), 9)).runs == 0
    assert (await copy.store.upkeep.trim(Plan(clock, 6, 99), 9)).runs == 1
    assert await copy.store.upkeep.forget(6, 9) == 0
    assert await copy.store.upkeep.forget(7, 9) == 1


async def test_nothing_to_do_is_no_commit(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle daemon does not wake the disk for it."""
    await copy.write([put("todo", "a", n=1)])
    kept: list[bool] = []
    committed = database.committed

    def noted(*arguments: Any) -> Any:
        outcome = committed(*arguments)
        kept.append(outcome.keep)
        return outcome

    monkeypatch.setattr(database, "committed", noted)
    assert await copy.store.upkeep.forget(0, 9) == 0
    assert (await copy.store.upkeep.trim(Plan({}, 9, 9), 9)).runs == 0
    assert await copy.store.upkeep.give_back(9) == 0
    assert kept == [False] * 3
