"""After a sync that failed; what the disk has then at any moment is in test_failing_disk.py."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from peerd.errors import StoreError
from peerd.store import checkpoints, database
from tests.store.copies import Copy, MakeCopy, put


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError


async def test_after_a_failed_sync_nothing_more_is_written(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel reports a lost write once: what is not written again may not be there."""
    await copy.write([put("todo", "a", n=1)])
    problem = sqlite3.OperationalError("disk I/O error")
    problem.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC

    def failing(*_: Any) -> Any:
        raise problem

    with monkeypatch.context() as patched:
        patched.setattr(database, "committed", failing)
        with pytest.raises(StoreError, match="The disk failed"):
            await copy.write([put("todo", "b", n=1)])
    with pytest.raises(StoreError, match="The disk failed"):
        await copy.write([put("todo", "c", n=1)])
    assert await copy.record("todo", "a")
    assert copy.store.is_unsynced
    await copy.store.probe()
    with pytest.raises(StoreError, match="The disk failed"):
        await copy.write([put("todo", "c", n=1)])
    wal = copy.path.with_name("space.db-wal")
    await copy.store.close()
    assert wal.stat().st_size > 0, "SQLite made no checkpoint of its own"
    copy.alone = True
    await copy.open()
    await copy.write([put("todo", "d", n=1)])


@pytest.mark.parametrize("threaded", [True])
async def test_after_a_failed_sync_of_the_file_nothing_more_is_written(
    make_copy: MakeCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a checkpoint copied may be lost, and the WAL has it: it must not begin anew."""
    monkeypatch.setattr(checkpoints, "QUIET_S", 0.02)
    copy = await make_copy()

    def failing(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    background: Any = copy.store._database._checkpoints
    background._sync = partial(failing, 0)
    await copy.write([put("todo", "a", n=1)])
    await until(lambda: copy.store._database.failure is not None)
    with pytest.raises(StoreError, match="The disk failed"):
        await copy.write([put("todo", "b", n=1)])
    assert await copy.record("todo", "a")
    await until(lambda: bool(background._task.done()))
    with pytest.raises(StoreError, match="The disk failed"):
        await copy.store.probe()
    background._sync = lambda: None
    await copy.store.probe()
    await copy.store.close()
    assert copy.path.with_name("space.db-wal").stat().st_size > 0
    copy.alone = True
    await copy.open()
    await copy.write([put("todo", "b", n=1)])


@pytest.mark.parametrize("threaded", [True])
async def test_what_a_sync_lost_is_written_again_by_whoever_is_alone(make_copy: MakeCopy) -> None:
    """A reader of our own is waited for; one of another program is named, and then it goes on."""
    copy = await make_copy()
    await copy.write([put("todo", "a", n=1)])
    database = copy.store._database
    may_end = threading.Event()
    reading = asyncio.create_task(database.open_beside(may_end.wait))
    await asyncio.sleep(0)
    database._lost(OSError(errno.EIO, "Input/output error"))
    await copy.store.probe()
    closing = asyncio.create_task(copy.store.close())
    await asyncio.sleep(0.05)
    assert not closing.done()
    may_end.set()
    await closing
    assert await reading
    program = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT 1 FROM space').fetchone(); input()"
    )
    command = (sys.executable, "-c", program, str(copy.path))
    with subprocess.Popen(command, stdin=PIPE) as other:  # noqa: ASYNC220 - nobody waits for it
        copy.alone = True
        await until(lambda: Path(f"{copy.path}-shm") in opened_by(other.pid))
        with pytest.raises(StoreError, match="another program has that file open") as held:
            await copy.open()
        assert "fuser" in held.value.next_step
        other.communicate(b"\n")
    await copy.open()
    await copy.write([put("todo", "b", n=1)])


def opened_by(pid: int) -> set[Path]:
    found = set()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            found.add(one.readlink())
    return found
