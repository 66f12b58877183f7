"""The disk is full, or fails, at any write or sync of a copy's life: what was asked for at that moment is refused and
not there, nothing acknowledged is lost, and when the disk works again the same is simply done.

    PEERD_RUNS=1000 pytest tests/store/test_failing_disk.py        more moments
"""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import apsw
import pytest

from peerd.core.daemon_time import Age
from peerd.core.snapshots.parts import Part
from peerd.core.trimming import Plan
from peerd.errors import DiskFull, StoreDamaged, StoreError
from peerd.store import checkpoints
from tests.store.copies import Copy, put
from tests.store.power import Disk, Failing, Op
from tests.store.snapshotting import made, take_in
from tests.store.test_power import ALL, left_by, new_folder, theirs_at, whole

MOMENTS = int(os.environ.get("PEERD_RUNS", "15"))
CUTS = 5
T = TypeVar("T")
FULL, IO, SYNC = ("write", apsw.SQLITE_FULL), ("write", apsw.SQLITE_IOERR_WRITE), ("sync", apsw.SQLITE_IOERR_FSYNC)


class Life:
    """A copy whose owner does again what the disk did not let it do, once the disk works."""

    def __init__(self, disk: Disk, copy: Copy) -> None:
        self.disk = disk
        self.copy = copy
        self.number = 0

    async def again(self, what: Callable[[], Awaitable[T]], *, one: bool = True) -> T:
        """Do it; when the disk fails, see that it is said, put the disk right, and do it once more. `one` commit is
        done or not at all; several go on where they were.
        """
        before = self.copy.state
        failed: StoreError | None = None
        try:
            return await what()
        except StoreError as problem:
            failed = problem
        await self.put_right(failed)
        assert not one or self.copy.state.clock() == before.clock()
        return await what()

    async def put_right(self, problem: StoreError) -> None:
        """It is said what is wrong, and with a disk that works all goes on: by itself, or with a new start."""
        failing, store = self.disk.failing, self.copy.store
        if problem.code == "store-closed":
            return  # it was opened anew between two steps of several
        assert failing is not None
        assert failing.failed
        assert not isinstance(problem, StoreDamaged)
        assert isinstance(problem, DiskFull) == (failing.code == apsw.SQLITE_FULL)
        assert problem.next_step
        assert store.failure is not None
        self.disk.failing = None
        await store.probe()
        if failing.kind == "sync":  # the kernel has forgotten what it lost
            assert store.is_unsynced
            await self.reopen()
        assert self.copy.store.failure is None

    async def write(self) -> None:
        number = self.number
        changes = [put("todo", f"{number:05}", n=number, text="x" * 700), put("state", "last", n=number)]
        await self.again(lambda: self.copy.write(changes))
        self.disk.acknowledge(number)
        self.number += 1

    async def reopen(self) -> None:
        await self.copy.store.close()
        self.copy.alone = self.copy.store.is_unsynced
        try:
            await self.copy.open()
        except StoreError:
            self.disk.failing = None
            await self.copy.open()

    async def live(self, theirs: Copy, parts: list[Part]) -> None:
        copy = self.copy
        announcement = theirs.state.origins[theirs.origin].announcement
        runs = [row.run for row in (await theirs.store.runs_after(0, 1 << 20)).rows]
        for _ in range(3):
            await self.write()
        await self.again(lambda: copy.take(announcement, *runs[:3]))
        staged = await self.again(lambda: copy.store.stage(runs[3:6], 1 << 20))
        await self.again(lambda: copy.take(announcement, *runs[3:6], unstaged=[one.number for one in staged]))
        await self.again(lambda: copy.store.upkeep.note_age(Age(60_000)))
        await self.reopen()
        copy.origin = None  # a new one
        await self.write()
        await self.again(lambda: copy.store.upkeep.trim(Plan(copy.state.clock(), ALL, ALL), 100))
        await self.again(lambda: copy.store.upkeep.forget(ALL, 100))
        await self.again(lambda: copy.store.upkeep.give_back(50))
        await self.again(lambda: take_in(copy, parts, self.write), one=False)
        await self.write()
        await self.reopen()
        await self.write()


async def lived(folder: Path, failing: Failing | None, *, threaded: bool = False) -> tuple[Disk, int]:
    """A whole life, in which the disk fails so; gives the trace, and how much was acknowledged."""
    disk = Disk(new_folder(folder / "home"))
    theirs = await theirs_at(new_folder(folder / "theirs"))
    parts = await made(theirs)
    copy = await Copy(disk.folder, threaded=threaded).create()
    with disk.watched():
        await copy.open()
        disk.failing = failing
        life = Life(disk, copy)
        try:
            await life.live(theirs, parts)
        finally:
            disk.failing = None
            await copy.store.close()
    await theirs.store.close()
    return disk, life.number


@pytest.mark.parametrize("failure", [FULL, IO, SYNC], ids=["full", "write", "sync"])
async def test_a_disk_that_fails_at_any_moment(tmp_path: Path, failure: tuple[str, int]) -> None:
    """Everything the owner was told is there, once, and the database is whole."""
    kind, code = failure
    disk, _ = await lived(new_folder(tmp_path / "well"), None)
    moments = len([op for op in disk.trace if op.kind == kind])
    assert moments > 50
    failed = 0
    for after in random.Random(code).sample(range(moments), min(MOMENTS, moments)):
        folder = new_folder(tmp_path / f"after{after}")
        failing = Failing(kind, code, after)
        disk, number = await lived(folder, failing)
        failed += failing.failed
        await whole(disk.folder, set(range(number)))
    assert failed > MOMENTS // 2


@pytest.mark.parametrize("threaded", [True, False], ids=["threads", "inline"])
async def test_the_power_goes_after_a_sync_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, threaded: bool
) -> None:
    """At any moment of what comes then: nothing is built on what the kernel lost without a word."""
    monkeypatch.setattr(checkpoints, "DUE_PAGES", 12)
    monkeypatch.setattr(checkpoints, "FEW_PAGES", 12)
    kind, code = SYNC
    disk, _ = await lived(new_folder(tmp_path / "well"), None, threaded=threaded)
    moments = len([op for op in disk.trace if op.kind == kind])
    chance = random.Random(f"{MOMENTS} {threaded}")
    lost = 0
    for number in range(MOMENTS):
        folder = new_folder(tmp_path / f"life{number}")
        disk, _ = await lived(folder, Failing(kind, code, chance.randrange(moments)), threaded=threaded)
        losses = [place for place, op in enumerate(disk.trace) if op.kind == "lost"]
        lost += bool(losses)
        for cut in range(CUTS if losses else 0):
            end = chance.randrange(losses[0], len(disk.trace)) + 1
            left = left_by(disk, end, folder / f"cut{cut}", chance)
            if (left / "space.db").exists():
                await whole(left, disk.acknowledged(end))
    assert lost > MOMENTS // 2


async def test_what_was_counted_as_copied_is_copied_once_more(tmp_path: Path) -> None:
    """A checkpoint that a reader stopped half-way had copied pages without a sync, and the next sync lost them."""
    disk = Disk(new_folder(tmp_path / "home"))
    copy = await Copy(disk.folder, threaded=True).create()
    with disk.watched():
        await copy.open()
        life = Life(disk, copy)
        reader = disk.connect(f"file://{copy.path}")
        try:
            await life.write()
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM record").fetchone()
            await life.write()
            disk.failing = Failing(*SYNC, 1)  # the WAL is synced, the database is not
            background: Any = copy.store._database._checkpoints
            await background._attempt(background._move)
            assert disk.trace[-1] == Op("lost", str(copy.path))
            assert any(op.kind == "write" and op.path == str(copy.path) for op in disk.trace)
            disk.failing = None
            reader.close()
            await copy.store.probe()
            await life.reopen()
            await life.write()
        finally:
            disk.failing = None
            reader.close()
            await copy.store.close()
    chance = random.Random(1)
    for cut in range(20):
        left = left_by(disk, len(disk.trace), tmp_path / f"cut{cut}", chance)
        await whole(left, {0, 1, 2})
