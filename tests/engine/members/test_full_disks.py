"""The disk is full at any moment of joining, or of getting a new copy: nothing is left that is not listed, what was
there before is there still, and with room the same is simply done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import apsw
import pytest

from peerd.errors import DiskFull
from tests.store.power import Disk, Failing

if TYPE_CHECKING:
    from tests.engine.conftest import Device, MakeDevice

EARLIER = 3  # moments that are spread over all writes but the last ones, at which the new database is there already
LAST = range(1, 100, 24)

Step = Callable[["Device", "Device"], Awaitable[Any]]


async def outside(desk: Device, laptop: Device) -> None:
    await desk.spaces.admit(desk.space, laptop.spaces.card())


async def member(desk: Device, laptop: Device) -> None:
    await desk.admit(laptop)


async def removed(desk: Device, laptop: Device) -> None:
    """And let in again, of which it has not heard."""
    await desk.admit(laptop)
    await desk.spaces.remove(desk.space, laptop.id)
    await desk.spaces.admit(desk.space, laptop.spaces.card())


async def adopt(desk: Device, laptop: Device) -> None:
    await laptop.spaces.adopt(desk.space.id, "home", desk.space.roster.statements)


async def rebuild(_: Device, laptop: Device) -> None:
    await laptop.spaces.rebuild("home")


def listed(device: Device) -> set[str]:
    return {space.name for space in device.spaces.by_id.values()} | set(device.spaces.failed)


async def written(desk: Device, laptop: Device, what: Step) -> int:
    """How many writes it takes."""
    disk = Disk(laptop.folder)
    with disk.watched():
        await what(desk, laptop)
        await laptop.close()
    return sum(op.kind == "write" for op in disk.trace)


@pytest.mark.parametrize(
    ("before", "what"),
    [(outside, adopt), (removed, adopt), (member, rebuild)],
    ids=["joining", "joining again", "a new copy"],
)
async def test_a_full_disk(desk: Device, make: MakeDevice, before: Step, what: Step) -> None:
    await desk.put("milk", {"n": 1})
    first = make("first")
    await before(desk, first)
    writes = await written(desk, first, what)
    failed = 0
    for after in (*range(0, writes, writes // EARLIER), *(writes - one for one in LAST)):
        laptop = make(f"laptop{after}")
        await before(desk, laptop)
        there = {path for path in (laptop.folder / "spaces").iterdir() if path.suffix != ".lock"}
        had = listed(laptop)
        disk = Disk(laptop.folder)
        with disk.watched():
            disk.failing = Failing("write", apsw.SQLITE_FULL, after)
            is_done = await tried(desk, laptop, what)
            now = listed(laptop)
            assert had <= now
            if not is_done:
                failed += 1
                left = {path for path in (laptop.folder / "spaces").iterdir() if path.suffix != ".lock"}
                assert now or left == there
            disk.failing = None
            laptop = await laptop.reopen()
            assert {space.name for space in laptop.spaces.by_id.values()} == now
            if had and not is_done:
                assert await laptop.value("milk") == {"n": 1}
            await what(desk, laptop)
            assert laptop.space.roster.is_member(laptop.id)
            await laptop.close()
    assert failed > EARLIER


async def tried(desk: Device, laptop: Device, what: Step) -> bool:
    try:
        await what(desk, laptop)
    except DiskFull:
        return False
    return True
