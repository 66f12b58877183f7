"""How far a copy that was set aside and the one in its place hold the same history."""

from __future__ import annotations

import sqlite3

import pytest

from peerd.core.roster.acceptance import ClosedFork
from peerd.core.roster.statements import Final
from tests.store.copies import Copy, put, write_number
from tests.store.test_asides import set_aside


async def test_common_history_reaches_to_where_the_shorter_one_stands(copy: Copy) -> None:
    for number in range(3):
        await write_number(copy, number)
    path = await set_aside(copy)
    await write_number(copy, 3)
    beside = await copy.store.asides.open(path)
    assert await beside.shared((), forked=False) == {copy.origin: 3}
    await beside.close()


@pytest.mark.parametrize("lot", [1, 3])
async def test_common_history_ends_before_a_fork(copy: Copy, lot: int) -> None:
    """Also if the runs behind it are not cut alike, so that no hash stands against another."""
    for number in range(3):
        await write_number(copy, number)
    before = await set_aside(copy)
    saved = before.read_bytes()
    await write_number(copy, 10)
    path = await set_aside(copy, 2)
    origin, inode = copy.origin, copy.path.stat().st_ino
    await copy.store.close()
    copy.path.write_bytes(saved)
    copy.mark_path.unlink()
    assert copy.path.stat().st_ino == inode
    await copy.open()
    copy.origin = origin  # as if nobody had noticed
    await copy.write(*[[put("todo", f"other {number}", n=number)] for number in range(lot)])
    assert copy.state.seq(origin) == 3 + lot
    beside = await copy.store.asides.open(path)
    assert await beside.shared((), forked=False) == await beside.shared((), forked=True) == {origin: 3}
    await beside.close()


async def test_what_a_run_had_seen_that_both_have_is_common(copy: Copy) -> None:
    """Though one of the two has let go of the log of that, and of its ends."""
    for number in range(3):
        await write_number(copy, number)
    seen, copy.origin = copy.origin, None
    await write_number(copy, 3)
    path = await set_aside(copy)
    witness, copy.origin = copy.origin, seen
    await write_number(copy, 4)
    await copy.store.close()
    with sqlite3.connect(copy.path) as connection:
        connection.execute("DELETE FROM run WHERE origin = (SELECT ref FROM origin WHERE id = ?) AND last < 4", (seen,))
    connection.close()
    await copy.open()
    beside = await copy.store.asides.open(path)
    assert await beside.shared((), forked=True) == {seen: 3, witness: 1}
    await beside.close()
    with sqlite3.connect(path) as connection:  # and if that has not the hash which that run had seen
        connection.execute("UPDATE run SET head = ? WHERE last = 3", (bytes(32),))
    connection.close()
    beside = await copy.store.asides.open(path)
    assert await beside.shared((), forked=True) == {witness: 1}
    await beside.close()


async def test_a_close_says_where_they_part_when_no_hash_does(copy: Copy) -> None:
    """Unless the copy set aside holds what stands as well."""
    for number in range(4):
        await write_number(copy, number)
    path = await set_aside(copy)
    origin = copy.origin
    head = copy.state.origins[origin].head[:8]
    beside = await copy.store.asides.open(path)
    for stands, shared in ((Final(4, head), 4), (Final(4, b"other..."), 2)):
        fork = ClosedFork(origin, 2, b"2" * 8, stands, (Final(3, b"f" * 8),))
        assert await beside.shared((fork,), forked=False) == {origin: shared}
    await beside.close()
