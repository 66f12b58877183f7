"""Runs leave the log whole, from the front of their origin, and what is needed of them stays."""

from __future__ import annotations

from typing import Any

import pytest

from peerd.core.chain import Run
from peerd.core.daemon_time import Age
from peerd.core.trimming import Plan
from peerd.store import trimming
from tests.store.copies import Copy, MakeCopy, patch, put

DAY_MS = 86_400_000
ALL = 1 << 62


async def ages(copy: Copy, ms: int) -> None:
    await copy.store.upkeep.note_age(Age(ms))


async def positions(copy: Copy) -> list[int]:
    return [row.position for row in (await copy.store.runs_after(0, 1 << 30)).rows]


async def ends(copy: Copy) -> list[int]:
    """Those that outlive their runs."""

    def reading(transaction: Any) -> list[int]:
        return [seq for (seq,) in transaction._connection.execute("SELECT seq FROM run_end ORDER BY origin, seq")]

    return await copy.store.read(reading)


def everything(copy: Copy, before_ms: int = ALL, up_to: int = ALL, **standing: Any) -> Plan:
    return Plan(copy.state.clock(), before_ms, up_to, standing.get("standing", {}))


async def written(copy: Copy, count: int = 5, every_ms: int = 60_000) -> None:
    """Runs of one transaction each, one after the other."""
    for number in range(count):
        await ages(copy, number * every_ms)
        await copy.write([put("todo", str(number), n=number)])


async def test_what_is_old_enough_goes(copy: Copy) -> None:
    await written(copy)
    trimmed = await copy.store.upkeep.trim(everything(copy, before_ms=120_000), 100)
    assert (trimmed.runs, trimmed.horizon) == (2, {copy.origin: 2})
    assert trimmed.size_bytes > 0
    assert await positions(copy) == [3, 4, 5]
    assert await copy.store.first_position() == 3
    assert (await copy.store.upkeep.trim(everything(copy, before_ms=120_000), 100)).runs == 0


async def test_what_somebody_lacks_or_still_reads_stays(copy: Copy) -> None:
    await written(copy)
    lacking = Plan({copy.origin: 1}, ALL, ALL)
    assert (await copy.store.upkeep.trim(lacking, 100)).horizon == {copy.origin: 1}
    assert (await copy.store.upkeep.trim(Plan({}, ALL, ALL), 100)).runs == 0
    assert (await copy.store.upkeep.trim(everything(copy, up_to=3), 100)).horizon == {copy.origin: 3}


async def test_a_run_goes_whole_or_not_at_all(copy: Copy) -> None:
    await copy.write([put("todo", "a", n=1)], [put("todo", "b", n=1)], [put("todo", "c", n=1)])
    assert (await copy.store.upkeep.trim(Plan({copy.origin: 2}, ALL, ALL), 100)).runs == 0
    assert (await copy.store.upkeep.trim(Plan({copy.origin: 3}, ALL, ALL), 100)).horizon == {copy.origin: 3}


async def test_a_step_does_as_much_as_it_may(copy: Copy) -> None:
    """A large run counts as more than a small one, and one goes in any case."""
    await written(copy)
    assert (await copy.store.upkeep.trim(everything(copy), 2)).runs == 2
    await copy.write([put("todo", "large", text="x" * 50_000)])
    await copy.write([put("todo", "small", n=1)])
    assert (await copy.store.upkeep.trim(everything(copy), 4)).runs == 4
    assert (await copy.store.upkeep.trim(everything(copy), 0)).runs == 0


async def test_each_origin_goes_by_itself(make_copy: MakeCopy) -> None:
    """What one device still lacks of one author holds nothing back of another."""
    desk, laptop = await make_copy(), await make_copy("laptop", b"L" * 32)
    await laptop.write([put("todo", "theirs", n=1)])
    run: Run = (await laptop.store.runs_after(0, 1 << 20)).rows[0].run
    await desk.write([put("todo", "ours", n=1)])
    await desk.take(laptop.state.origins[laptop.origin].announcement, run)
    await desk.write([put("todo", "ours", n=2)])
    await desk.store.upkeep.trim(Plan({desk.origin: 2}, ALL, ALL), 100)
    assert await positions(desk) == [2]
    slice_ = await desk.store.runs_after(1, 1 << 20)
    assert slice_.trimmed == 3, "whoever reads all of the log from before that has missed something"


async def test_the_horizon_outlives_the_process_and_what_is_below_is_not_sent(copy: Copy) -> None:
    await written(copy)
    await copy.store.upkeep.trim(everything(copy, up_to=3), 100)
    assert await copy.store.position_before({}) == 3
    opened = await copy.reopen()
    assert opened.state.horizon() == {copy.origin: 3}
    assert await copy.store.last_position() == 5
    assert await positions(copy) == [4, 5]
    await copy.write([put("todo", "more", n=1)])
    assert await positions(copy) == [4, 5, 6]


async def test_an_empty_log_goes_on_at_the_next_position(copy: Copy) -> None:
    await written(copy)
    await copy.store.upkeep.trim(everything(copy), 100)
    assert await positions(copy) == []
    assert await copy.store.first_position() == 6
    await copy.reopen()
    await copy.write([patch("todo", "0", n=9)])
    assert await positions(copy) == [6]


# --- ends of runs ---------------------------------------------------------------------------------------


async def test_the_ends_of_what_has_gone_are_kept(copy: Copy) -> None:
    """However it is cut into steps: a copy that was set back to any of them can tell that it has the same history."""
    await written(copy, 10)
    before = await copy.store.read(lambda transaction: transaction.hash8(copy.origin, 3))
    for up_to in (2, 5, 8):
        await copy.store.upkeep.trim(everything(copy, up_to=up_to), 100)
    assert await ends(copy) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert await copy.store.read(lambda transaction: transaction.hash8(copy.origin, 3)) == before


async def test_there_are_only_so_many_ends(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trimming, "ENDS_PER_ORIGIN", 8)
    await written(copy, 60)
    for up_to in range(5, 61, 5):
        await copy.store.upkeep.trim(everything(copy, up_to=up_to, standing={copy.origin: {2}}), 100)
    kept = await ends(copy)
    assert len(kept) <= 9
    assert kept[0] == 2
    assert kept[-1] == 60


# --- what somebody holds back ---------------------------------------------------------------------------


async def test_what_is_lacking_and_old_is_held_back(copy: Copy) -> None:
    """By whole runs, whatever there is of young ones."""
    await written(copy, 10)
    rows = (await copy.store.runs_after(0, 1 << 20)).rows
    sizes = [row.run.size_bytes for row in rows]
    for before_ms in (0, 1, 200_000, ALL):
        old = [row.position for row in rows if (row.position - 1) * 60_000 < before_ms]
        for after in (0, 3, 9, 10):
            (held,) = await copy.store.upkeep.held_back([{copy.origin: after}], before_ms)
            lacking = [position for position in old if position > after]
            assert held.transactions == len(lacking)
            assert held.size_bytes == sum(sizes[position - 1] for position in lacking)
            assert (held.since_ms is None) == (not lacking)


async def test_what_has_gone_is_held_back_by_nobody(copy: Copy) -> None:
    await written(copy)
    await copy.store.upkeep.trim(everything(copy, up_to=3), 100)
    one, other = await copy.store.upkeep.held_back([{}, {copy.origin: 4}], ALL)
    assert (one.transactions, other.transactions) == (2, 1)


async def test_runs_of_many_transactions_are_held_back_whole(copy: Copy) -> None:
    for _ in range(3):
        await copy.write(*[[put("todo", str(number), n=number)] for number in range(5)])
    (held,) = await copy.store.upkeep.held_back([{copy.origin: 5}], ALL)
    assert held.transactions == 10
