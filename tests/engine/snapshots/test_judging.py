"""A snapshot of which nothing tells whether it is of our history is not merged."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from peerd.core.batch import Doubt
from peerd.core.forks import Side
from tests.engine.forks.test_forks import agreed, keys
from tests.engine.forks.test_old_partings import check, long_ago
from tests.engine.snapshots.test_snapshots import made, take

if TYPE_CHECKING:
    from tests.engine.conftest import Device, Until

Two = tuple["Device", "Device"]


async def settle(device: Device, parts: list[bytes]) -> bool:
    async def coming() -> Any:
        for part in parts:
            yield part

    return await device.space.snapshots.take_in(b"s" * 16, coming(), settles=True)


async def test_a_snapshot_is_not_merged_while_there_is_doubt(two: Two) -> None:
    """Neither way: what the further one lacks would count as removed there."""
    desk, laptop = two
    laptop, origin = await long_ago(desk, laptop)
    before = await keys(laptop)
    with pytest.raises(Doubt) as caught:
        await take(laptop, await made(desk))
    assert (caught.value.origin, caught.value.seq) == (origin, 7)
    assert await keys(laptop) == before
    with pytest.raises(Doubt):
        await take(desk, await made(laptop))


async def test_where_there_is_no_link_the_snapshot_that_is_further_settles_it(two: Two, until: Until) -> None:
    """As one that lies on a relay: what the copy had is set aside, and written again."""
    desk, laptop = two
    laptop, _ = await long_ago(desk, laptop)

    with pytest.raises(Doubt):
        await settle(desk, await made(laptop))
    assert await settle(laptop, await made(desk))
    await until(lambda: laptop.space.recopying.pending is None)
    await laptop.tell(desk)
    await agreed(until, desk, laptop)
    await check(desk, laptop)


async def test_whoever_is_cut_off_by_the_change_knows_what_it_has_now(two: Two, until: Until) -> None:
    """The link by which a copy came ends when it is in place."""
    desk, laptop = two
    laptop, origin = await long_ago(desk, laptop)
    task = asyncio.create_task(settle(laptop, await made(desk)))

    def cut() -> None:
        laptop.space.forks.sides = {origin: Side(stands=False, falls=True, unknown=False)}  # as it was before
        task.cancel()

    laptop.space.on_switch.append(cut)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert laptop.clock_now()[origin] == desk.clock_now()[origin]
    assert not laptop.space.forks.falls
    await until(lambda: laptop.space.recopying.pending is None)
