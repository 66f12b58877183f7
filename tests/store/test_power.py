"""The power goes at any point of a copy's life: everything acknowledged is there, the database is whole, it goes on.

PEERD_RUNS=5000 PEERD_SEED=7 pytest tests/store/test_power.py        more cuts, or those of a failure again
"""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from peerd.core import digest
from peerd.core.daemon_time import Age
from peerd.core.record_form import digest_of
from peerd.core.stored import Opened
from peerd.core.trimming import Plan
from peerd.store.machine import Machine
from tests.store.copies import Copy, put
from tests.store.power import Disk
from tests.store.snapshotting import made, take_in

CUTS = int(os.environ.get("PEERD_RUNS", "150"))
SEED = int(os.environ.get("PEERD_SEED", "0"))
ALL = 1 << 62


class Life:
    """A copy that lives on a disk; each of its own transactions is acknowledged by its number."""

    def __init__(self, disk: Disk, copy: Copy) -> None:
        self.disk = disk
        self.copy = copy
        self.number = 0

    async def write(self) -> None:
        """One transaction: a record of its own, and one that all of them change."""
        number, self.number = self.number, self.number + 1
        await self.copy.write([put("todo", f"{number:05}", n=number, text="x" * 700), put("state", "last", n=number)])
        self.disk.acknowledge(number)

    async def live(self, theirs: Copy) -> None:
        """All that a store does: commits, runs of others that wait and are applied, age, trimming, room given back, a
        new origin, a snapshot that takes the place of the copy, and ends and starts between.
        """
        copy = self.copy
        for _ in range(8):
            await self.write()
        announcement = theirs.state.origins[theirs.origin].announcement
        runs = [row.run for row in (await theirs.store.runs_after(0, 1 << 20)).rows]
        await copy.take(announcement, *runs[:3])
        staged = await copy.store.stage(runs[3:6], 1 << 20)
        await self.write()
        await copy.take(announcement, *runs[3:6], unstaged=[one.number for one in staged])
        await copy.store.upkeep.note_age(Age(60_000))
        await copy.reopen()
        await self.write()
        copy.origin = None  # a new one
        await self.write()
        await copy.store.upkeep.trim(Plan(copy.state.clock(), ALL, ALL), 100)
        await copy.store.upkeep.forget(ALL, 100)
        await copy.store.upkeep.give_back(50)
        await self.write()
        await take_in(copy, await made(theirs), self.write)
        await copy.reopen()
        for _ in range(3):
            await self.write()


def left_by(disk: Disk, end: int, folder: Path, chance: random.Random) -> Path:
    """A folder with what a cut leaves."""
    folder.mkdir()
    for path, content in disk.after_cut(end, chance).items():
        (folder / Path(path).name).write_bytes(content)
    return folder


def is_there(path: Path) -> bool:
    return path.exists()


def new_folder(path: Path) -> Path:
    path.mkdir()
    return path


async def theirs_at(folder: Path) -> Copy:
    """Another device's copy, on a disk that nothing happens to."""
    copy = await Copy(folder, threaded=False, device=b"T" * 32).create()
    await copy.open()
    for number in range(30):
        await copy.write([put("notes", f"{number:02}", text="y" * 300)])
    return copy


async def whole(folder: Path, acknowledged: set[int]) -> None:
    """As the next start finds it: another start of the kernel, after a power cut without a mark."""
    with closing(sqlite3.connect(folder / "space.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    copy = Copy(folder, threaded=False)
    copy.chance.seed(str(folder))
    copy.machine = Machine("this machine", "another boot")
    marked = is_there(copy.mark_path)
    opened = await copy.open()
    try:
        assert marked or opened.own_origin is None
        await check(copy, opened, acknowledged)
    finally:
        await copy.store.close()


async def check(copy: Copy, opened: Opened, acknowledged: set[int]) -> None:
    def look(transaction: Any) -> tuple[bytes, set[int], int]:
        connection, refs = transaction._connection, transaction._refs
        names = {number: name for name, number in refs.number_of.items()}
        rows = connection.execute("SELECT collection, key, stamps, body FROM record").fetchall()
        steps = [digest_of(names[number], key, refs.decode_stamps(stamps), body) for number, key, stamps, body in rows]
        keys = {int(key) for number, key, _, _ in rows if names[number] == "todo"}
        return digest.moved(digest.EMPTY, steps), keys, len(rows)

    sums, keys, rows = await copy.store.read(look)
    assert acknowledged <= keys
    assert keys == set(range(len(keys))), "transactions are there up to one, and none after it"
    assert len(keys) <= len(acknowledged) + 1
    assert sums == opened.state.digest
    assert opened.state.visible == rows
    log = (await copy.store.runs_after(0, 1 << 30, max_runs=10_000)).rows
    assert len({row.position for row in log}) == len(log)
    await copy.write([put("todo", f"{len(keys):05}", n=1)])
    incoming = await copy.store.snapshots.incoming()
    assert incoming is None or incoming.parts >= 0
    while await copy.store.snapshots.clear_some(1_000):
        pass


@pytest.mark.parametrize("threaded", [True, False], ids=["threads", "inline"])
async def test_what_was_acknowledged_outlives_the_power(tmp_path: Path, *, threaded: bool) -> None:
    """At every step of the trace in turn, as far as the runs reach: each with its own choice of what was lost."""
    home = new_folder(tmp_path / "home")
    disk = Disk(home)
    theirs = await theirs_at(new_folder(tmp_path / "theirs"))
    copy = await Copy(home, threaded=threaded).create()
    with disk.watched():
        await copy.open()
        life = Life(disk, copy)
        try:
            await life.live(theirs)
        finally:
            await copy.store.close()
    await theirs.store.close()
    assert len([op for op in disk.trace if op.kind == "sync"]) > 60
    assert life.number > 20
    steps = len(disk.trace) + 1
    chance = random.Random(SEED)
    ends = [*range(steps)] * (CUTS // steps) + chance.sample(range(steps), CUTS % steps)
    for run, end in enumerate(ends):
        there = left_by(disk, end, tmp_path / f"cut{run}", random.Random(f"{SEED} {run} {end}"))
        try:
            await whole(there, disk.acknowledged(end))
        except BaseException as problem:
            problem.add_note(f"PEERD_SEED={SEED} PEERD_RUNS={CUTS}, run {run}: the power went after step {end}")
            raise


async def test_the_disk_of_these_tests_really_loses_what_was_not_synced(tmp_path: Path) -> None:
    """Without syncs at commits (as `synchronous = NORMAL` in WAL), acknowledged transactions are lost, and seen so."""
    home = new_folder(tmp_path / "home")
    disk = Disk(home)
    copy = await Copy(home, threaded=False).create()
    with disk.watched():
        await copy.open()
        await copy.store._database.prepare(lambda connection: connection.execute("PRAGMA synchronous = NORMAL"))
        life = Life(disk, copy)
        for _ in range(10):
            await life.write()
        end = len(disk.trace)
        await copy.store.close()
    lost = 0
    for run in range(20):
        there = left_by(disk, end, tmp_path / f"cut{run}", random.Random(run))
        try:
            await whole(there, disk.acknowledged(end))
        except AssertionError:
            lost += 1
    assert lost > 5
