"""What the disk does to us, and what stays true then."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from peerd.errors import DiskFull, StoreBusy, StoreDamaged, StoreError
from peerd.store import checkpoints, connecting, database
from peerd.store.failures import translate
from tests.store.copies import Copy, LogEvents, MakeCopy, put


def pragma(text: str) -> Callable[[sqlite3.Connection], Any]:
    return lambda connection: connection.execute(f"PRAGMA {text}").fetchone()[0]


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError


async def test_commits_are_synced_and_never_checkpoint(make_copy: MakeCopy, request: pytest.FixtureRequest) -> None:
    """The writer's settings; a simulation without a background leaves checkpoints to SQLite."""
    copy = await make_copy()
    prepare = copy.store._database.prepare
    assert await prepare(pragma("synchronous")) == 2
    assert await prepare(pragma("journal_mode")) == "wal"
    assert await prepare(pragma("cache_size")) == -(64 << 10)
    assert await prepare(pragma("wal_autocheckpoint")) == (0 if request.getfixturevalue("threaded") else 1000)
    assert await copy.store._database.read(pragma("query_only")) == 1
    assert await copy.store._database.read(pragma("cache_size")) == -(4 << 10)


async def test_a_full_disk_loses_the_transaction_and_nothing_else(copy: Copy) -> None:
    """Nothing of it is written, the sequence is not used up, and when there is room it goes through."""
    await copy.write([put("todo", "a", n=1)])
    before = copy.state
    prepare = copy.store._database.prepare
    pages = await prepare(pragma("page_count"))
    await prepare(pragma(f"max_page_count = {pages + 2}"))
    with pytest.raises(DiskFull) as raised:
        await copy.write([put("new", "big", text="x" * 100_000)])
    assert "nothing was written" in str(raised.value)
    assert "Free some space" in raised.value.next_step
    assert await copy.record("new", "big") is None
    await prepare(pragma("max_page_count = 1000000"))
    await copy.write([put("new", "big", text="x" * 100_000)])
    assert copy.state.seq(copy.origin) == before.seq(copy.origin) + 1
    assert (await copy.reopen()).state == copy.state


@pytest.mark.namespaces
def test_a_file_system_without_space_gives_the_same_error(tmp_path: Path) -> None:
    """A real ENOSPC, on a file system of 2 MiB: what was acknowledged is there afterwards, and there is room again."""
    story = f"""
import asyncio
from pathlib import Path
from peerd.errors import DiskFull
from tests.store import copies

async def main():
    copy = await copies.Copy(Path({str(tmp_path)!r}), threaded=True).create()
    await copy.open()
    ballast = copy.path.with_name("ballast")
    ballast.write_bytes(b"x" * 900_000)
    written = 0
    try:
        while True:
            await copy.write([copies.put("todo", f"{{written:05}}", text="x" * 20_000)])
            written += 1
    except DiskFull:
        pass
    assert 3 < written < 100, written
    ballast.unlink()
    assert len((await copy.store.page("todo", "", None, 1000)).records) == written
    await copy.write([copies.put("todo", "after", n=1)])
    opened = await copy.reopen()
    assert opened.state.visible == written + 1, opened.state.visible
    assert opened.own_origin == copy.origin
    await copy.store.close()

asyncio.run(main())
"""
    command = f'mount -t tmpfs -o size=2m tmpfs "{tmp_path}" && exec "{sys.executable}" -c "$1"'
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    root = Path(__file__).parents[2]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command, "sh", story], cwd=root, capture_output=True, text=True, check=False
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("needs root")
    assert done.returncode == 0, done.stderr


async def test_another_process_in_the_database_is_waited_for_and_then_named(
    make_copy: MakeCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody with a shell in our file: an error with a next step, and no harm when it lets go."""
    monkeypatch.setattr(connecting, "BUSY_TIMEOUT_S", 0.05)
    copy = await make_copy()
    await copy.write([put("todo", "a", n=1)])
    other = sqlite3.connect(copy.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy, match="Another process") as raised:
        await copy.write([put("todo", "b", n=1)])
    assert "fuser" in raised.value.next_step
    assert await copy.record("todo", "a")
    other.execute("ROLLBACK")
    other.close()
    await copy.write([put("todo", "b", n=1)])


async def test_a_file_that_is_no_database_is_refused(copy: Copy) -> None:
    """The error says that it is damaged and what to do; the file is left alone."""
    await copy.store.close()
    good = copy.path.read_bytes()
    copy.path.write_bytes(b"not a database, whatever its name" * 200)
    with pytest.raises(StoreDamaged, match="is damaged") as raised:
        await copy.open()
    assert "space rebuild" in raised.value.next_step
    assert copy.path.read_bytes().startswith(b"not a database")
    copy.path.write_bytes(good)
    await copy.open()


async def test_an_empty_file_is_refused(copy: Copy) -> None:
    """A database that lost all its bytes is not taken for a new one."""
    await copy.store.close()
    good = copy.path.read_bytes()
    copy.path.write_bytes(b"")
    with pytest.raises(StoreDamaged, match="which space"):
        await copy.open()
    copy.path.write_bytes(good)
    await copy.open()


async def test_a_damaged_page_is_named_when_it_is_met(copy: Copy) -> None:
    """Reads that meet it fail with the reason, and nothing worse happens."""
    await copy.write(*[[put("todo", f"key {number}", text="x" * 300)] for number in range(200)])
    await copy.store.close()
    with sqlite3.connect(copy.path) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'record_by_key'").fetchone()
    connection.close()
    good = copy.path.read_bytes()
    with copy.path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    await copy.open()
    with pytest.raises(StoreDamaged):
        await copy.store.page("todo", "", None, 10)
    with pytest.raises(StoreDamaged):
        await copy.write([put("todo", "key 1", n=2)])
    await copy.store.close()
    copy.path.write_bytes(good)
    await copy.open()


async def test_a_missing_database_is_not_made_by_opening(copy: Copy) -> None:
    """An error with the path, and no empty file afterwards."""
    await copy.store.close()
    hidden = copy.path.with_suffix(".hidden")
    copy.path.rename(hidden)
    with pytest.raises(StoreError, match="cannot be opened"):
        await copy.open()
    assert not copy.path.exists()
    hidden.rename(copy.path)
    await copy.open()


async def test_a_file_that_may_not_be_read_is_named(make_copy: MakeCopy, tmp_path: Path) -> None:
    """A lock that cannot be taken because the directory is missing."""
    copy = await make_copy()
    good = copy.path
    await copy.store.close()
    copy.path = tmp_path / "nowhere" / "space.db"
    with pytest.raises(StoreError, match="nowhere") as raised:
        await copy.open()
    assert "owner and mode" in raised.value.next_step
    copy.path = good
    await copy.open()


def test_a_file_system_that_is_mounted_read_only_is_not_a_matter_of_modes(tmp_path: Path) -> None:
    error = translate(OSError(errno.EROFS, os.strerror(errno.EROFS)), tmp_path / "lock")
    assert "read-only" in str(error)
    assert error.next_step.startswith("Mount it for writing")


@pytest.mark.parametrize(
    ("code", "kind", "word"),
    [
        (sqlite3.SQLITE_FULL, DiskFull, "no space"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StoreBusy, "Another process"),
        (sqlite3.SQLITE_CORRUPT_INDEX, StoreDamaged, "damaged"),
        (sqlite3.SQLITE_IOERR_READ, StoreError, "disk failed"),
        (sqlite3.SQLITE_READONLY, StoreError, "cannot be opened for writing"),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, StoreError, "boom"),
        (None, StoreError, "boom"),
    ],
)
def test_each_kind_of_failure_has_a_sentence_and_a_next_step(
    tmp_path: Path, code: int | None, kind: type[StoreError], word: str
) -> None:
    """By SQLite's code, extended ones included."""
    problem = sqlite3.OperationalError("boom")
    if code is not None:
        problem.sqlite_errorcode = code
    error = translate(problem, tmp_path / "space.db")
    assert type(error) is kind
    assert word in str(error)
    assert error.next_step


def test_an_io_error_on_a_full_disk_is_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite says I/O error where a mapped file cannot grow."""
    problem = sqlite3.OperationalError("disk I/O error")
    problem.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
    assert type(translate(problem, tmp_path / "space.db")) is StoreError
    monkeypatch.setattr("peerd.store.failures._FREE_ENOUGH_BYTES", 1 << 62)
    assert type(translate(problem, tmp_path / "space.db")) is DiskFull


@pytest.mark.parametrize("threaded", [True])
async def test_the_wal_stays_bounded_under_writes_without_a_pause(
    make_copy: MakeCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten times as much is written as it may hold."""
    monkeypatch.setattr(checkpoints, "DUE_PAGES", 64)
    monkeypatch.setattr(checkpoints, "LARGE_WAL_BYTES", 1 << 20)
    copy = await make_copy()
    wal = copy.path.with_name("space.db-wal")
    for number in range(300):
        await copy.write([put("todo", f"key {number}", text="x" * 60_000)])
    assert wal.stat().st_size < 8 << 20
    assert await copy.store.size_bytes() > 30 << 20


@pytest.mark.parametrize("threaded", [True])
async def test_the_wal_stays_bounded_under_writes_and_reads_without_a_pause(
    make_copy: MakeCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody is always reading: no moment in which the WAL could begin anew by itself."""
    monkeypatch.setattr(checkpoints, "DUE_PAGES", 64)
    monkeypatch.setattr(checkpoints, "LARGE_WAL_BYTES", 1 << 20)
    copy = await make_copy()
    wal = copy.path.with_name("space.db-wal")
    ended = False

    async def read_on() -> None:
        while not ended:
            await asyncio.gather(*(copy.store.page("todo", "", None, 20) for _ in range(4)))

    reading = asyncio.create_task(read_on())
    sizes = []
    for number in range(300):
        await copy.write([put("todo", f"key {number % 20}", text="x" * 60_000)])
        sizes.append(wal.stat().st_size)
    ended = True
    await reading
    assert max(sizes) < 8 << 20
    assert not (await copy.store.upkeep.sizes()).wal_held


@pytest.mark.parametrize("threaded", [True])
async def test_whoever_reads_without_end_is_told_of_and_stops_nobody(
    make_copy: MakeCopy, monkeypatch: pytest.MonkeyPatch, log_events: LogEvents
) -> None:
    """The WAL grows as long as another process keeps an old state of it, and is emptied when that ends."""
    monkeypatch.setattr(checkpoints, "DUE_PAGES", 64)
    monkeypatch.setattr(checkpoints, "QUIET_S", 0.02)
    monkeypatch.setattr(checkpoints, "LARGE_WAL_BYTES", 1 << 20)
    copy = await make_copy()
    await copy.write([put("todo", "a", n=1)])
    wal = copy.path.with_name("space.db-wal")
    database = copy.store._database
    with closing(sqlite3.connect(copy.path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM record").fetchone()
        for number in range(100):
            await copy.write([put("todo", f"key {number}", text="x" * 60_000)])
        await until(lambda: database.wal_held)
        assert (await copy.store.upkeep.sizes()).wal_held
        assert wal.stat().st_size > 4 << 20
    await copy.write([put("todo", "b", n=1)])
    await until(lambda: wal.stat().st_size == 0 and not database.wal_held)
    assert [one["event"] for one in log_events()].count("journal held by a reader") == 1


@pytest.mark.parametrize("threaded", [True])
async def test_small_commits_go_round_in_a_small_wal(make_copy: MakeCopy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that does not grow takes them in half the time; several times as much goes through it."""
    monkeypatch.setattr(checkpoints, "SMALL_PAGES", 64)
    monkeypatch.setattr(checkpoints, "SMALL_COMMITS", 5)
    copy = await make_copy()
    for number in range(400):
        await copy.write([put("todo", f"key {number}", n=number)])
    assert copy.path.with_name("space.db-wal").stat().st_size < 3 << 20


@pytest.mark.parametrize("threaded", [True])
async def test_a_quiet_database_is_checkpointed_and_a_large_wal_cut(
    make_copy: MakeCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing wakes up any more afterwards."""
    monkeypatch.setattr(checkpoints, "QUIET_S", 0.02)
    monkeypatch.setattr(checkpoints, "LARGE_WAL_BYTES", 1 << 18)
    copy = await make_copy()
    await copy.write([put("todo", "a", text="x" * 400_000)])
    wal = copy.path.with_name("space.db-wal")
    assert wal.stat().st_size > 1 << 18
    background: Any = copy.store._database._checkpoints
    await until(lambda: wal.stat().st_size == 0 and background._task.done())
    assert background.pending_pages == 0


@pytest.mark.parametrize("threaded", [True])
async def test_a_checkpoint_that_fails_is_logged_and_tried_less_often(
    make_copy: MakeCopy, monkeypatch: pytest.MonkeyPatch, log_events: LogEvents
) -> None:
    """What was committed is safe without it."""
    waits = []
    real = asyncio.wait_for

    async def recorded(waiting: Any, wait_s: float) -> Any:
        waits.append(wait_s)
        return await real(waiting, wait_s)

    monkeypatch.setattr(checkpoints, "QUIET_S", 0.01)
    monkeypatch.setattr(checkpoints, "LONGEST_WAIT_S", 0.04)
    monkeypatch.setattr(asyncio, "wait_for", recorded)
    copy = await make_copy()
    background: Any = copy.store._database._checkpoints
    await until(lambda: background.pending_pages == 0 and (background._task is None or background._task.done()))
    waits.clear()  # what the making of it took

    def failing(*_: Any) -> Any:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(background, "_checkpoint", failing)
        await copy.write([put("todo", "a", n=1)])
        await until(lambda: waits.count(0.04) >= 2)
    assert sorted(waits) == waits
    assert set(waits) == {0.01, 0.02, 0.04}
    assert "checkpoint failed" in {event["event"] for event in log_events()}
    await until(background._task.done)
    assert background.pending_pages == 0


async def test_closing_leaves_one_file(copy: Copy) -> None:
    """All of the WAL is in the database then, so that the file alone can be copied."""
    await copy.write([put("todo", "a", n=1)])
    await copy.store.close()
    assert not copy.path.with_name("space.db-wal").exists()
    await copy.open()
    assert await copy.record("todo", "a")


async def test_an_opening_without_file_descriptors_says_so(copy: Copy) -> None:
    """However many are left: each of the files of an opening may be the one that cannot be opened."""
    await copy.store.close()
    gc.collect()  # what earlier tests dropped closes now, not in between
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/", os.O_PATH)  # the system gives the lowest that is free
    os.close(lowest)
    told = []
    for left in range(20):
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + left, limits[1]))
        try:
            opened = await database.open_database(copy.path, threaded=True)
        except StoreError as problem:
            told.append((problem.code, bool(problem.next_step)))
        else:
            await opened.close()
            break
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(told) >= 3
    assert set(told) == {("too-many-files", True)}
    await copy.reopen()


async def test_a_commit_that_takes_long_is_known(copy: Copy) -> None:
    copy.store.slowness.least_s = copy.store.slowness.long_s = 0.0
    await copy.store.probe()
    slow = copy.store.slowness.standing(time.monotonic())
    assert slow is not None
    assert slow.times == 1
