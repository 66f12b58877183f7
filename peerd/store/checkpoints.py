"""Moving the WAL into the database, beside the commits and never inside one.

    4 MiB in 100 commits, or 32 MiB      PASSIVE: copies what it can while the writer goes on; a sync; and again, until
                                         little is left
    then, if little is left,             PASSIVE again while the writer waits at the gate: all is copied, and the next
                                         commit starts the WAL from its beginning, unless somebody is just reading
    or the file is above 64 MiB          RESTART while writer and reader wait, each at its gate: it begins anew; from
                                         128 MiB on, also if much is left
    quiet for 5 s                        PASSIVE; TRUNCATE likewise if the file is large

The second line is what bounds the WAL under writes that never pause: without it each checkpoint ends behind commits
that were made meanwhile, and the file only grows. Small commits go round soon because a commit into a part of the file
that exists takes half the time of one that makes it longer; large ones go further because a page that is changed by
many of them is then copied once.

A checkpoint that ends behind commits does not sync what it copied, so the next one has to, and that would be the one
for which the writer waits. Hence the sync before, through a descriptor of our own. Closing it drops the locks that
SQLite has on the file (POSIX says so), so it is closed last.

Reads of ours are short, and the last line waits for the end of one. A read that takes long, of another process or one
that we do aside, keeps the WAL from being emptied: it grows until that ends, which nobody can help and `held` says.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from peerd import logs
from peerd.store.runners import Runner
from peerd.store.unsynced import is_lost_sync

log = logs.get(__name__)

PAGE_BYTES = 4096
DUE_PAGES = (32 << 20) // PAGE_BYTES
SMALL_PAGES = (4 << 20) // PAGE_BYTES
SMALL_COMMITS = 100
FEW_PAGES = (1 << 20) // PAGE_BYTES  # may be copied while the writer waits
ROUNDS = 3
LARGE_WAL_BYTES = 64 << 20
QUIET_S = 5.0
READ_S = 0.02  # longer we do not wait for the end of a read, since writers wait meanwhile
LONGEST_WAIT_S = 300.0


class _Count(NamedTuple):
    pages: int = 0
    commits: int = 0


class Gates(NamedTuple):
    """Held by the writer during each transaction, and by the reader during each read."""

    writing: threading.Lock
    reading: threading.Lock


class Checkpoints:
    """The writer reports each transaction to `committed`. `held`: the WAL is large, and somebody's reading keeps it
    from being emptied.
    """

    def __init__(self, runner: Runner, wal: Path, gates: Gates, sync: Callable[[], None]) -> None:
        self.held = False
        self.lost: Callable[[sqlite3.Error | OSError], None] = lambda _: None  # the file could not be synced
        self._sync = sync
        self._written = _Count()  # changed by the writer's thread alone, as the next is by ours
        self._moved = _Count()
        self._gates = gates
        self._runner = runner
        self._wal = wal
        self._is_long = False  # the WAL began anew in a file that is not made shorter yet
        self._task: asyncio.Task[None] | None = None
        self._due = asyncio.Event()
        self._closing = False

    @property
    def pending_pages(self) -> int:
        """About how much of what was committed is not in the database yet."""
        return self._written.pages - self._moved.pages

    def committed(self, pages: int) -> None:
        """A transaction added about so many pages to the WAL. Called in the writer's thread."""
        self._written = _Count(self._written.pages + pages, self._written.commits + 1)

    def _is_due(self) -> bool:
        commits, pages = self._written.commits - self._moved.commits, self.pending_pages
        return pages >= DUE_PAGES or (pages >= SMALL_PAGES and commits >= SMALL_COMMITS)

    def halt(self) -> None:
        """No more of them: the next sync would succeed, and the WAL begin anew over what the one before it lost."""
        self._closing = True

    def notice(self) -> None:
        """Something may have been committed: see to it that it is moved, soon or when it is quiet."""
        if self._closing or not self.pending_pages:
            return
        if self._is_due():
            self._due.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work(), name="checkpoints")

    async def close(self) -> None:
        """Move all of the WAL and close the connection."""
        was_closing, self._closing = self._closing, True
        self._due.set()
        if self._task is not None:
            await asyncio.wait([self._task])
        try:
            if not was_closing:
                await self._attempt(self._at_the_end)
        finally:
            await self._runner.close()

    async def again(self) -> None:
        """What can be moved, once more, after a sync of the file failed. Raises sqlite3.Error, OSError."""
        await self._runner.run(self._move_all)

    async def _work(self) -> None:
        """Until nothing is pending: wait until a checkpoint is due, or until nothing has been written for a while."""
        wait_s = QUIET_S
        while (self.pending_pages or self._is_long) and not self._closing:
            seen = self._written
            try:
                await asyncio.wait_for(self._due.wait(), wait_s)
            except TimeoutError:
                done = self._written is not seen or await self._attempt(self._when_quiet)
            else:
                self._due.clear()
                done = self._closing or await self._attempt(self._when_due)
            wait_s = QUIET_S if done else min(2 * wait_s, LONGEST_WAIT_S)

    async def _attempt(self, checkpoint: Callable[[sqlite3.Connection], None]) -> bool:
        try:
            await self._runner.run(checkpoint)
        except (sqlite3.Error, OSError) as problem:
            # What was committed is safe in the WAL. A disk that is full or failing shows at the next commit.
            log.warning("checkpoint failed", path=str(self._wal), cause=str(problem))
            if isinstance(problem, OSError) or is_lost_sync(problem):
                self.lost(problem)
            return False
        return True

    def _when_due(self, connection: sqlite3.Connection) -> None:
        self._move(connection)
        if self._is_above(2 * LARGE_WAL_BYTES) or (
            self.pending_pages < SMALL_PAGES and self._is_above(LARGE_WAL_BYTES)
        ):
            self._empty(connection, "RESTART")
        elif self.pending_pages < SMALL_PAGES:
            with self._gates.writing:
                self._checkpoint(connection, "PASSIVE")

    def _move(self, connection: sqlite3.Connection) -> None:
        """Nearly all, beside the writer."""
        for _ in range(ROUNDS):
            self._checkpoint(connection, "PASSIVE")
            self._sync()
            if self.pending_pages < FEW_PAGES:
                break

    def _move_all(self, connection: sqlite3.Connection) -> None:
        with self._gates.writing:
            self._checkpoint(connection, "PASSIVE")
            self._sync()

    def _when_quiet(self, connection: sqlite3.Connection) -> None:
        self._move(connection)
        if self._is_above(LARGE_WAL_BYTES):
            self._empty(connection, "TRUNCATE")

    def _at_the_end(self, connection: sqlite3.Connection) -> None:
        self._checkpoint(connection, "TRUNCATE")

    def _empty(self, connection: sqlite3.Connection, mode: str) -> None:
        with self._gates.writing:
            if not self._gates.reading.acquire(timeout=READ_S):
                self._checkpoint(connection, "PASSIVE")  # our own reader is busy: the next time
                return
            try:
                held = not self._checkpoint(connection, mode)
                self._is_long = mode == "RESTART"
            finally:
                self._gates.reading.release()
        if held and not self.held:
            log.warning("journal held by a reader", path=str(self._wal))
        self.held = held

    def _checkpoint(self, connection: sqlite3.Connection, mode: str) -> bool:
        """False if somebody was in the way."""
        written = self._written
        busy, _, _ = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        self._moved = written
        return not busy

    def _is_above(self, size_bytes: int) -> bool:
        try:
            return self._wal.stat().st_size > size_bytes
        except FileNotFoundError:
            return False
