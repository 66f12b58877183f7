"""The log: runs come back as they were, from any position, without what the reader has."""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import Any

from peerd.core.chain import first_hash, hash_after
from peerd.core.origin import origin_of
from peerd.core.stored import LogSlice
from peerd.store.transaction import OpenTransaction
from tests.store.copies import DEVICE, NOW_MS, SPACE, Copy, MakeCopy, patch, put


async def runs_of(copy: Copy, position: int = 0, max_bytes: int = 1 << 30, **rest: Any) -> LogSlice:
    return await copy.store.runs_after(position, max_bytes, **rest)


async def two_devices(make_copy: MakeCopy) -> tuple[Copy, Copy]:
    """A copy that has taken three runs of another and written two of its own between them."""
    ours, theirs = await make_copy("ours"), await make_copy("theirs", device=b"E" * 32)
    for key in "xyz":
        await theirs.write([put("todo", key, n=1)])
    rows = (await runs_of(theirs)).rows
    announcement = theirs.state.origins[theirs.origin].announcement
    for number, row in enumerate(rows):
        await ours.take(announcement, row.run)
        if number < 2:
            await ours.write([put("todo", f"own {number}", n=1)])
    return ours, theirs


async def test_a_run_keeps_the_bytes_of_its_entries(copy: Copy) -> None:
    """Entries, signature and first sequence come back; their chain ends in the head of the state."""
    await copy.write([put("todo", "a", n=1)], [put("todo", "b", n=1)])
    await copy.write([patch("todo", "a", n=2)])
    rows = (await runs_of(copy)).rows
    assert [(row.position, row.run.origin, row.run.first, row.run.last) for row in rows] == [
        (1, copy.origin, 1, 2),
        (2, copy.origin, 3, 3),
    ]
    assert all(row.run.signature == b"s" * 64 and row.arrived_ms == NOW_MS for row in rows)
    head = first_hash(SPACE, DEVICE, copy.origin)
    assert hash_after(head, rows[0].run.entries + rows[1].run.entries) == copy.state.origins[copy.origin].head


async def test_hashes_are_kept_at_run_ends_only(copy: Copy) -> None:
    """A position inside a run, or of an unknown origin, has none."""
    await copy.write([put("todo", "a", n=1)], [put("todo", "b", n=1)])
    head = copy.state.origins[copy.origin].head
    for origin, seq, expected in ((copy.origin, 2, head[:8]), (copy.origin, 1, None), (b"?" * 16, 2, None)):
        found = await copy.store.read(partial(OpenTransaction.hash8, origin=origin, seq=seq))
        assert found == expected


async def test_reading_stops_at_the_limits_but_gives_at_least_one(copy: Copy) -> None:
    """`read_up_to` is where the next read goes on: no run is skipped and none is given twice."""
    for number in range(10):
        await copy.write([put("todo", f"key {number}", text="x" * 500)])
    one = await runs_of(copy, max_bytes=1)
    assert [row.position for row in one.rows] == [1]
    assert one.read_up_to == 1
    few = await runs_of(copy, 1, max_bytes=2000)
    assert 1 < len(few.rows) < 9
    assert few.read_up_to == few.rows[-1].position
    rest = await runs_of(copy, few.read_up_to, max_runs=1000)
    assert [row.position for row in rest.rows] == list(range(few.read_up_to + 1, 11))
    assert rest.read_up_to == 10
    assert [row.position for row in (await runs_of(copy, 3, max_runs=2)).rows] == [4, 5]
    assert (await runs_of(copy, 10)).rows == []
    assert (await runs_of(copy, 10)).read_up_to == 10


async def test_what_the_reader_covers_is_left_out(make_copy: MakeCopy) -> None:
    """Runs of both origins in apply order, those that the clock covers passed over."""
    ours, theirs = await two_devices(make_copy)
    everything = await runs_of(ours)
    assert [row.run.origin for row in everything.rows] == [
        theirs.origin, ours.origin, theirs.origin, ours.origin, theirs.origin,
    ]  # fmt: skip
    left = await runs_of(ours, covered={theirs.origin: 2, b"?" * 16: 9})
    assert [(row.position, row.run.origin == ours.origin) for row in left.rows] == [(2, True), (4, True), (5, False)]
    assert left.read_up_to == 5
    nothing = await runs_of(ours, covered=ours.state.clock())
    assert nothing.rows == []
    assert nothing.read_up_to == 5
    stopped = await runs_of(ours, max_runs=1, covered={theirs.origin: 3})
    assert [row.position for row in stopped.rows] == [2]
    assert stopped.read_up_to == 2


async def test_the_position_before_what_a_clock_lacks(make_copy: MakeCopy) -> None:
    """Everything that the clock does not cover lies after it, and it is the last such position."""
    ours, theirs = await two_devices(make_copy)
    ask = ours.store.position_before
    assert await ask({}) == 0
    assert await ask({theirs.origin: 1}) == 1
    assert await ask({theirs.origin: 3}) == 1
    assert await ask({theirs.origin: 3, ours.origin: 1}) == 3
    assert await ask({theirs.origin: 2, ours.origin: 2}) == 4
    assert await ask(ours.state.clock()) == await ours.store.last_position() == 5


async def test_positions_go_on_after_the_end_of_the_log_was_taken_away(copy: Copy) -> None:
    """A position is never given twice, even if the run that had it is gone: feeds remember positions."""
    await copy.write([put("todo", "a", n=1)])
    await copy.write([put("todo", "b", n=1)])
    await copy.store._write(lambda connection: connection.execute("DELETE FROM run"))
    assert await copy.store.last_position() == 2
    await copy.reopen()
    await copy.write([put("todo", "c", n=1)])
    assert [row.position for row in (await runs_of(copy)).rows] == [3]


async def test_the_hash_of_a_trimmed_run_is_found_among_the_ends(copy: Copy) -> None:
    """Forks are checked at positions that the log no longer has."""
    await copy.write([put("todo", "a", n=1)])

    def trim(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO run_end (origin, seq, hash8) SELECT origin, last, substr(head, 1, 8) FROM run")
        connection.execute("DELETE FROM run")

    await copy.store._write(trim)
    head = copy.state.origins[copy.origin].head
    assert await copy.store.read(lambda transaction: transaction.hash8(copy.origin, 1)) == head[:8]


async def test_a_foreign_origin_is_known_by_its_announcement_after_a_restart(make_copy: MakeCopy) -> None:
    """Announcement, head and context of every origin are read back."""
    ours, theirs = await two_devices(make_copy)
    before = ours.state
    assert before.origins[ours.origin].context == {theirs.origin: 2}
    assert (await ours.reopen()).state == before
    assert origin_of(SPACE, ours.state.origins[theirs.origin].announcement) == theirs.origin


async def test_an_origin_that_is_durable_and_not_told_of_yet_counts(copy: Copy) -> None:
    """What is kept in memory follows a commit; somebody may ask in between, and would never be sent that run."""
    await copy.write([put("todo", "a", n=1)])
    copy.store._refs.ref_of.clear()
    assert await copy.store.position_before({}) == 0
