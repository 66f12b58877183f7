"""A space in which nothing happens lets go of memory once, and again after it was written to."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from peerd.engine.upkeep import housekeeping
from peerd.engine.upkeep.resting import Resting
from peerd.errors import StoreClosed

if TYPE_CHECKING:
    from tests.engine.conftest import Device, Until


@pytest.fixture
def rested(desk: Device, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Where the log ended whenever the desk's space rested."""
    found: list[int] = []

    async def rest() -> None:
        found.append(desk.space.commits.last_position)

    monkeypatch.setattr(desk.space.store.upkeep, "rest", rest)
    return found


async def test_it_rests_once_when_nothing_was_written_since_the_last_look(desk: Device, rested: list[int]) -> None:
    resting = Resting(desk.spaces)
    await desk.put("a", {})
    await resting.look()
    assert rested == []
    for _ in range(3):
        await resting.look()
    assert rested == [1]
    await desk.put("b", {})
    await resting.look()
    assert rested == [1]
    for _ in range(3):
        await resting.look()
    assert rested == [1, 2]


async def test_one_that_is_written_to_all_the_time_keeps_what_makes_it_fast(desk: Device, rested: list[int]) -> None:
    resting = Resting(desk.spaces)
    for number in range(5):
        await desk.put("a", {"n": number})
        await resting.look()
    assert rested == []


async def test_a_copy_that_took_the_place_of_another_rests_by_itself(
    desk: Device, rested: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log may end at the same position."""
    resting = Resting(desk.spaces)
    for _ in range(3):
        await resting.look()
    assert rested == [0]
    monkeypatch.setattr(desk.space, "copy_id", b"n" * 16)
    await resting.look()
    assert rested == [0]
    await resting.look()
    assert rested == [0, 0]


async def test_a_space_that_is_closed_meanwhile_is_nobodys_fault(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[None] = []

    async def rest() -> None:
        asked.append(None)
        raise StoreClosed("closed")

    monkeypatch.setattr(desk.space.store.upkeep, "rest", rest)
    resting = Resting(desk.spaces)
    for _ in range(2):
        await resting.look()
    assert asked == [None]
    desk.spaces.by_id.clear()
    await resting.look()


async def test_housekeeping_looks_whenever_it_looks(
    desk: Device, rested: list[int], monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    monkeypatch.setattr(housekeeping, "LOOK_S", 0.01)
    task = asyncio.create_task(desk.housekeeping.run())
    await until(lambda: rested == [0])
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
