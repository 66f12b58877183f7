"""What a file takes is known, and what it does not need is given back."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from peerd.core.copy import CopyState
from peerd.core.trimming import Plan
from peerd.store import room
from tests.store.copies import Copy, put

ALL = 1 << 62


def everything(state: CopyState) -> Plan:
    return Plan(state.clock(), ALL, ALL)


async def test_sizes_say_what_the_file_holds(copy: Copy) -> None:
    for number in range(5):
        await copy.write([put("todo", str(number), n=number)])
    before = await copy.store.upkeep.sizes()
    rows = (await copy.store.runs_after(0, 1 << 20)).rows
    assert before.log_bytes == sum(row.run.size_bytes for row in rows)
    assert before.history_bytes == 0
    await copy.write([put("todo", "0", text="y" * 1_000)])
    changed = await copy.store.upkeep.sizes()
    assert changed.history_bytes > 0
    await copy.store.upkeep.trim(everything(copy.state), 100)
    await copy.store.upkeep.forget(ALL, 100)
    after = await copy.store.upkeep.sizes()
    assert (after.log_bytes, after.history_bytes) == (0, 0)
    assert after.database_bytes + after.wal_bytes == await copy.store.size_bytes()


async def test_the_file_becomes_smaller_by_small_steps(copy: Copy) -> None:
    """Without anybody having to stop: what is free at the end is what the next writes take."""
    for number in range(40):
        await copy.write([put("todo", str(number), text=str(number) * 200_000)])
    await copy.store.upkeep.trim(everything(copy.state), 1_000_000)
    await copy.store.close()
    await copy.open()
    before = await copy.store.upkeep.sizes()
    assert before.free_bytes > 8 << 20
    assert await copy.store.upkeep.give_back(10) == 10
    given = 10
    while pages := await copy.store.upkeep.give_back(500):
        given += pages
    await copy.reopen()
    after = await copy.store.upkeep.sizes()
    assert before.database_bytes - after.database_bytes == given * 4096
    assert after.free_bytes <= max(room.SPARE_PAGES * 4096, after.database_bytes // 8)
    assert (await copy.record("todo", "39")).record.winner("text") is not None


async def test_a_file_that_was_not_made_for_it_stays_as_large(copy: Copy) -> None:
    """Until somebody writes it anew; see docs/recovery.md."""
    await copy.store.close()
    with closing(sqlite3.connect(copy.path)) as connection:
        connection.execute("PRAGMA auto_vacuum = 0")
        connection.execute("VACUUM")
    await copy.open()
    for number in range(40):
        await copy.write([put("todo", str(number), text=str(number) * 200_000)])
    await copy.store.upkeep.trim(everything(copy.state), 1_000_000)
    assert await copy.store.upkeep.give_back(10) == 0
    await copy.store.close()
    with closing(sqlite3.connect(copy.path)) as connection:
        connection.execute("PRAGMA auto_vacuum = 2")
        connection.execute("VACUUM")
    opened = await copy.open()
    assert opened.own_origin == copy.origin, "it is no other file for that"
    await copy.write([put("todo", str(number), text="x" * 1_000_000) for number in range(20)])
    await copy.write([put("todo", str(number), text="") for number in range(20)])
    await copy.store.upkeep.trim(everything(copy.state), 1_000_000)
    await copy.store.upkeep.forget(ALL, 1_000)
    assert await copy.store.upkeep.give_back(10) == 10
