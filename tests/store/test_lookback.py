"""The log by time and author, and where what is known begins."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from peerd.core.clocks import Dot
from peerd.core.stored import LogWish, Reach
from peerd.core.trimming import Plan
from peerd.store import lookback
from peerd.store.migrate import migrate, migrations
from peerd.store.refs import Refs
from tests.store.copies import NOW_MS, Copy, MakeCopy, delete, patch, put
from tests.store.snapshotting import made, put_in_place, take_in
from tests.store.test_history import grow_older

DAY_MS = 86_400_000
EVERYTHING = 1 << 60


def run_sql(copy: Copy, sql: str) -> list[Any]:
    with sqlite3.connect(copy.path) as connection:
        rows = connection.execute(sql).fetchall()
    connection.close()
    return rows


async def positions(copy: Copy, **wish: Any) -> list[int]:
    back = await copy.store.lookback.rows_back(LogWish(**{"position": 1 << 40, **wish}))
    return [row.position for row in back.rows]


async def nothing() -> None:
    pass


@pytest.fixture
async def ten(copy: Copy) -> Copy:
    """Ten runs, a second apart."""
    for number in range(10):
        await copy.write([put("todo", f"{number}", n=number)])
    run_sql(copy, f"UPDATE run SET arrived_ms = {NOW_MS} + 1000 * position")  # noqa: S608 - a number
    return copy


async def test_runs_come_newest_first_and_go_on_where_they_stopped(ten: Copy) -> None:
    assert await positions(ten) == list(range(10, 0, -1))
    back = await ten.store.lookback.rows_back(LogWish(10, max_runs=4))
    assert ([row.position for row in back.rows], back.position) == ([10, 9, 8, 7], 6)
    back = await ten.store.lookback.rows_back(LogWish(2, max_runs=2))
    assert [row.position for row in back.rows] == [2, 1]
    assert (await ten.store.lookback.rows_back(LogWish(back.position))).rows == []
    back = await ten.store.lookback.rows_back(LogWish(10, max_bytes=1))
    assert ([row.position for row in back.rows], back.position) == ([10], 9)


async def test_runs_are_chosen_by_time_and_author(ten: Copy) -> None:
    at = {"since_ms": NOW_MS + 3000, "until_ms": NOW_MS + 5000}
    assert await positions(ten, **at) == [5, 4, 3]
    assert await positions(ten, **at, position=4) == [4, 3]
    assert await positions(ten, since_ms=NOW_MS + 11_000) == []
    assert await positions(ten, until_ms=NOW_MS) == []
    assert await positions(ten, origins=frozenset({ten.origin}), **at) == [5, 4, 3]
    assert await positions(ten, origins=frozenset({b"nobody's origin."})) == []
    assert await positions(ten, origins=frozenset()) == []


async def test_a_time_names_the_last_state_before_the_clock_passed_it(ten: Copy) -> None:
    async def at(ms: int) -> int:
        return await ten.store.lookback.read(lambda reader: reader.position_at(ms))

    assert [await at(NOW_MS + ms) for ms in (0, 1000, 1999, 2000, 99_000)] == [0, 1, 1, 2, 10]
    run_sql(ten, f"UPDATE run SET arrived_ms = {NOW_MS} - 5000 WHERE position IN (5, 6)")  # noqa: S608 - a number
    assert await at(NOW_MS + 3500) == 3


async def test_what_lies_outside_of_a_span_is_not_read(ten: Copy) -> None:
    """Plans of SQLite: the arrival has an index, the rows are looked up by position, an author by its own index."""
    asked: list[str] = []
    with sqlite3.connect(ten.path) as connection:
        connection.set_trace_callback(asked.append)
        refs = Refs()
        refs.load(connection)
        wish = LogWish(9, frozenset({ten.origin}), NOW_MS + 3000, NOW_MS + 5000)
        assert len(lookback.rows_back(connection, refs, {}, wish).rows) == 3
        lookback.rows_back(connection, refs, {}, LogWish(9, None, NOW_MS + 3000))
        connection.set_trace_callback(None)
        plans = [
            row[3] for text in asked if "FROM run" in text for row in connection.execute(f"EXPLAIN QUERY PLAN {text}")
        ]
    connection.close()
    searches = [plan for plan in plans if "run" in plan]
    assert len(searches) >= 5
    for plan in searches:
        assert plan.startswith("SEARCH run USING"), plan
    assert sum("run_by_arrival" in plan for plan in searches) == 3
    assert sum("run_by_origin" in plan for plan in searches) == 1


# ---- records


async def test_what_was_dropped_comes_newest_first_with_its_time(copy: Copy) -> None:
    await copy.write([put("todo", "a", n=1)])
    await copy.write([patch("todo", "a", n=2), put("todo", "b", n=1)])
    await copy.write([delete("todo", "a")])
    found = await copy.store.lookback.read(lambda reader: list(reader.removals(("todo", "a"))))
    assert [removal.by.seq for removal in found] == [3, 2]
    assert {removal.arrived_ms for removal in found} == {NOW_MS}
    assert found[0].dropped.births == {Dot(copy.origin, 1)}
    assert list(found[1].dropped.fields["n"]) == [Dot(copy.origin, 1)]
    assert await copy.store.lookback.read(lambda reader: list(reader.removals(("nowhere", "a")))) == []
    record = await copy.store.lookback.read(lambda reader: reader.record(("todo", "b")))
    assert record is not None
    assert record.visible


async def test_what_was_dropped_stays_when_the_log_is_trimmed(copy: Copy) -> None:
    """It knows when that was without it."""
    await copy.write([put("todo", "a", n=1)])
    await copy.write([delete("todo", "a")])
    await copy.store.upkeep.trim(Plan({copy.origin: 2}, EVERYTHING, EVERYTHING, {}), 100)
    (removal,) = await copy.store.lookback.read(lambda reader: list(reader.removals(("todo", "a"))))
    assert (removal.by.seq, removal.arrived_ms) == (2, NOW_MS)
    assert await copy.store.lookback.read(lambda reader: reader.place(removal.by, 7)) == (0, 7, 2)


# ---- where it begins


async def test_a_whole_copy_knows_everything(ten: Copy) -> None:
    assert await ten.store.lookback.reach() == Reach(None, None, None)


async def test_a_trimmed_log_begins_at_its_first_run(ten: Copy) -> None:
    await ten.store.upkeep.trim(Plan({ten.origin: 4}, EVERYTHING, EVERYTHING, {}), 100)
    assert await ten.store.lookback.reach() == Reach(NOW_MS + 4000, None, None)
    await ten.store.upkeep.trim(Plan({ten.origin: 10}, EVERYTHING, EVERYTHING, {}), 100)
    assert await ten.store.lookback.reach() == Reach(NOW_MS + 10_000, None, None)


async def test_a_snapshot_is_remembered_for_as_long_as_history(make_copy: MakeCopy) -> None:
    sender, receiver = await make_copy("sender"), await make_copy("receiver")
    await sender.write([put("todo", "a", n=1)])
    await sender.write([put("todo", "b", n=1)])
    await take_in(receiver, await made(sender), nothing)
    await receiver.reopen()
    assert await receiver.store.lookback.reach() == Reach(NOW_MS, None, NOW_MS)
    dot = Dot(sender.origin, 2)
    assert await receiver.store.lookback.read(lambda reader: reader.place(dot, 7)) == (0, NOW_MS, 2)
    await receiver.write([put("todo", "c", n=1)])
    await receiver.write([delete("todo", "c")])
    await grow_older(receiver, 3 * DAY_MS, 2 * DAY_MS)
    assert run_sql(receiver, "SELECT count(*) FROM leap") == [(0,)]


async def test_a_snapshot_in_the_place_of_a_copy_is_where_its_log_begins(make_copy: MakeCopy) -> None:
    """And not where that was trimmed, which says nothing any more: what came in between may be of another history."""
    sender, receiver = await make_copy("sender"), await make_copy("receiver")
    await sender.write([put("todo", "a", n=1)])
    parts = await made(sender)
    for number in range(3):
        await receiver.write([put("todo", str(number), n=1)])
    await receiver.store.upkeep.trim(Plan({receiver.origin: 2}, EVERYTHING, EVERYTHING, {}), 100)
    run_sql(receiver, "UPDATE space SET trimmed_ms = 5")
    assert await receiver.store.lookback.reach() == Reach(5, None, None)
    await put_in_place(receiver, parts)
    await receiver.reopen()
    assert await receiver.store.lookback.reach() == Reach(NOW_MS, None, NOW_MS)
    dot = Dot(sender.origin, 1)
    assert await receiver.store.lookback.read(lambda reader: reader.place(dot, 7)) == (0, NOW_MS, 1)


async def test_history_begins_behind_what_was_forgotten(copy: Copy) -> None:
    for number in range(5):
        await copy.write([put("todo", "a", n=number)])
        await grow_older(copy, DAY_MS, 100 * DAY_MS)
    run_sql(copy, "UPDATE history SET arrived_ms = 1000 * by_seq")
    assert (await copy.store.lookback.reach()).history_ms is None
    await grow_older(copy, 0, 3 * DAY_MS)  # now is the fifth day: what is older than the second
    assert (await copy.store.lookback.reach()).history_ms == 2000
    assert len(await copy.store.lookback.read(lambda reader: list(reader.removals(("todo", "a"))))) == 3
    await copy.store.upkeep.trim(Plan({copy.origin: 3}, EVERYTHING, EVERYTHING, {}), 100)
    await copy.reopen()
    assert (await copy.store.lookback.reach()).history_ms == 2000


def test_a_database_from_before_learns_when_things_were_dropped(tmp_path: Path) -> None:
    """Of those whose runs it still has."""
    connection = sqlite3.connect(tmp_path / "space.db", isolation_level=None)
    old = tuple(one for one in migrations() if one[0] < 9)
    migrate(connection, tmp_path / "space.db", old)
    connection.execute("INSERT INTO origin VALUES (1, ?, x'', x'', x'', 9, 0, x'', x'', x'')", (b"o" * 16,))
    connection.execute("INSERT INTO run VALUES (1, 1, 3, 5, 0, 777, 0, x'', x'', x'')")
    rows = "INSERT INTO history VALUES (NULL, 1, 'a', ?, ?, 0, x'', x'')"
    connection.executemany(rows, [(1, 4), (1, 6), (0, 0)])
    migrate(connection, tmp_path / "space.db")
    assert connection.execute("SELECT arrived_ms FROM history ORDER BY id").fetchall() == [(777,), (0,), (0,)]
    connection.close()
