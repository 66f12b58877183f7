"""Runs that wait: durable, bounded, used up in the transaction that applies them."""

from __future__ import annotations

import sqlite3

import pytest

from peerd.core.batch import Verdict
from peerd.core.chain import Run
from peerd.core.origin import Announcement
from peerd.errors import StoreDamaged
from tests.store.copies import MakeCopy, put


async def foreign_runs(make_copy: MakeCopy, count: int) -> tuple[Announcement, list[Run]]:
    theirs = await make_copy("theirs", device=b"E" * 32)
    for number in range(count):
        await theirs.write([put("todo", f"key {number}", n=number)])
    rows = (await theirs.store.runs_after(0, 1 << 30)).rows
    return theirs.state.origins[theirs.origin].announcement, [row.run for row in rows]


async def test_staged_runs_survive_a_restart_in_order(make_copy: MakeCopy) -> None:
    """An origin that is unknown here is no obstacle; inside a transaction they can be read too."""
    ours = await make_copy("ours")
    _, runs = await foreign_runs(make_copy, 3)
    kept = await ours.store.stage(runs[1:], 1 << 20)
    assert [staged.run for staged in kept] == runs[1:]
    assert (await ours.reopen()).staged == tuple(kept)
    assert list(await ours.store.read(lambda transaction: transaction.staged())) == kept
    await ours.store.unstage([kept[0].number])
    assert (await ours.reopen()).staged == tuple(kept[1:])


async def test_what_is_staged_is_bounded_in_all(make_copy: MakeCopy) -> None:
    """What does not fit is left out, and what follows it too; room comes back when runs are used up."""
    ours = await make_copy("ours")
    _, runs = await foreign_runs(make_copy, 3)
    limit = runs[0].size_bytes + runs[1].size_bytes
    kept = await ours.store.stage(runs[:1], limit)
    kept += await ours.store.stage(runs[1:], limit)
    assert [staged.run for staged in kept] == runs[:2]
    assert await ours.store.stage(runs[2:], limit) == []
    await ours.store.unstage([kept[0].number])
    again = await ours.store.stage(runs[2:], limit)
    assert [staged.run for staged in again] == runs[2:]
    assert again[0].number not in {staged.number for staged in kept}


async def test_a_number_is_not_given_again_when_all_are_gone(make_copy: MakeCopy) -> None:
    """The engine remembers numbers across transactions."""
    ours = await make_copy("ours")
    _, runs = await foreign_runs(make_copy, 1)
    (first,) = await ours.store.stage(runs, 1 << 20)
    await ours.store.unstage([first.number])
    await ours.reopen()
    (second,) = await ours.store.stage(runs, 1 << 20)
    assert second.number > first.number


async def test_a_run_leaves_the_staging_area_in_the_commit_that_applies_it(make_copy: MakeCopy) -> None:
    """Neither is it lost in between, nor is it there twice."""
    ours = await make_copy("ours")
    announcement, runs = await foreign_runs(make_copy, 2)
    (staged,) = await ours.store.stage(runs[1:], 1 << 20)
    verdicts = await ours.take(announcement, *runs, unstaged=[staged.number])
    assert verdicts == [Verdict.APPLIED, Verdict.APPLIED]
    opened = await ours.reopen()
    assert opened.staged == ()
    assert opened.state.visible == 2


async def test_a_damaged_staged_run_is_named_at_the_opening(make_copy: MakeCopy) -> None:
    """The error says which file, and the lock is free again afterwards."""
    ours = await make_copy("ours")
    _, runs = await foreign_runs(make_copy, 1)
    await ours.store.stage(runs, 1 << 20)
    await ours.store.close()
    with sqlite3.connect(ours.path) as connection:
        connection.execute("UPDATE staged SET entries = x'c1'")
    connection.close()
    with pytest.raises(StoreDamaged, match="a staged run"):
        await ours.open()
    with sqlite3.connect(ours.path) as connection:
        connection.execute("DELETE FROM staged")
    connection.close()
    assert (await ours.open()).staged == ()
