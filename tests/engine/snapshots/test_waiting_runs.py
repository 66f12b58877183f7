"""Runs that wait here while a snapshot takes the place of the copy: are they of the history that it brings?"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from tests.engine.forks.test_forks import heal, keys, past_of, set_back
from tests.engine.snapshots.test_snapshots import made, take

if TYPE_CHECKING:
    from tests.engine.conftest import Device, MakeDevice, Until, Wire


async def bring(own: bytes, of: Device, to: Device) -> None:
    """What it wrote itself, without what it had seen."""
    rows = (await of.space.store.runs_after(0, 1 << 20)).rows
    announced = [at.announcement for at in of.space.copy.origins.values()]
    await to.space.commits.take(announced, [row.run for row in rows if row.run.origin == own])


def forget(device: Device) -> None:
    """As if the log of most of what it wrote had been let go, with the ends of its runs, but not of the first."""
    (path,) = (device.folder / "spaces").glob("*.db")
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM run WHERE last BETWEEN 2 AND 5")
    connection.close()


async def test_what_saw_another_history_is_not_applied(desk: Device, make: MakeDevice) -> None:
    """It names a place at which nothing tells any more what the copy here has."""
    laptop, third, fifth = (make(name) for name in ("laptop", "third", "fifth"))
    await desk.admit(laptop, third, fifth)
    await laptop.put("common", {"n": 0})
    await laptop.tell(third, fifth)
    past, laptop = await past_of(laptop)
    await laptop.put("first", {"n": 1})
    await laptop.tell(third)
    await third.put("first", {"n": 3})
    own = third.space.commits.own_origin or b""
    laptop = await set_back(laptop, past)
    for number in range(5):
        await laptop.put(f"second {number}", {"n": number})
    forget(laptop)
    await bring(own, third, fifth)
    assert len(fifth.space.commits.staging) == 1
    assert await take(fifth, await made(laptop))
    assert own not in fifth.clock_now()
    assert not fifth.space.commits.staging.runs
    assert not await fifth.space.store.read(lambda transaction: transaction.staged())
    await fifth.put("later", {"n": 1})
    assert own not in fifth.clock_now()
    assert not fifth.space.commits.staging.runs
    assert not await fifth.space.store.read(lambda transaction: transaction.staged())


async def test_what_saw_a_history_that_falls_waits_no_more_once_that_is_known(
    desk: Device, make: MakeDevice, wire: Wire, until: Until
) -> None:
    laptop, third, fourth, fifth = (make(name) for name in ("laptop", "third", "fourth", "fifth"))
    await desk.admit(laptop, third, fourth, fifth)
    await laptop.put("common", {"n": 0})
    await laptop.tell(desk, third, fourth, fifth)
    past, laptop = await past_of(laptop)
    for life, holders in (("first", (desk, third)), ("second", (fourth,))):
        for number in range(2):
            await laptop.put(f"{life} {number}", {"n": number})
        await laptop.tell(*holders)
        if life == "first":
            laptop = await set_back(laptop, past)
    for one in (third, fourth):
        await one.put(f"of {one.name}", {"n": 1})
        await bring(one.space.commits.own_origin or b"", one, fifth)
    assert len(fifth.space.commits.staging) == 2
    await heal(until, wire, desk, laptop)
    await (laptop if (desk.folder / "set-aside").exists() else desk).tell(fifth)
    assert len(fifth.space.commits.staging) == 0
    fifth = await fifth.reopen()
    assert len(fifth.space.commits.staging) == 0
    assert len(await keys(fifth) & {"of third", "of fourth"}) == 1
