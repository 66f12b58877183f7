"""Moving the WAL into the database, beside the commits and never inside one.

    some 32 MiB written        PASSIVE: copies what it can while the writer goes on
    WAL still above 64 MiB     PASSIVE again while the writer waits at the gate: little is left to copy, and the next
                               commit starts the WAL from its beginning
    quiet for 5 s              PASSIVE; TRUNCATE if the file is large

The second line is what bounds the WAL under writes that never pause: without it each checkpoint ends behind commits
that were made meanwhile, and the file only grows.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from peerd import logs
from peerd.store.runners import Runner

log = logs.get(__name__)

PAGE_BYTES = 4096
DUE_PAGES = (32 << 20) // PAGE_BYTES
LARGE_WAL_BYTES = 64 << 20
QUIET_S = 5.0
LONGEST_WAIT_S = 300.0


class Checkpoints:
    """The writer holds `gate` during each transaction and adds to `written_pages`."""

    def __init__(self, runner: Runner, wal: Path, gate: threading.Lock) -> None:
        self.written_pages = 0  # moved by the writer's thread alone, as the next is by ours
        self._moved_pages = 0
        self._gate = gate
        self._runner = runner
        self._wal = wal
        self._task: asyncio.Task[None] | None = None
        self._due = asyncio.Event()
        self._closing = False

    @property
    def pending_pages(self) -> int:
        return self.written_pages - self._moved_pages

    def notice(self) -> None:
        """Something may have been committed: see to it that it is moved, soon or when it is quiet."""
        if self._closing or not self.pending_pages:
            return
        if self.pending_pages >= DUE_PAGES:
            self._due.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work(), name="checkpoints")

    async def close(self) -> None:
        """Move all of the WAL and close the connection."""
        self._closing = True
        self._due.set()
        if self._task is not None:
            await asyncio.wait([self._task])
        try:
            await self._attempt(lambda connection: self._checkpoint(connection, "TRUNCATE"))
        finally:
            await self._runner.close()

    async def _work(self) -> None:
        """Until nothing is pending: wait until a checkpoint is due, or until nothing has been written for a while."""
        wait_s = QUIET_S
        while self.pending_pages and not self._closing:
            seen = self.written_pages
            try:
                await asyncio.wait_for(self._due.wait(), wait_s)
            except TimeoutError:
                done = self.written_pages != seen or await self._attempt(self._when_quiet)
            else:
                self._due.clear()
                done = self._closing or await self._attempt(self._when_due)
            wait_s = QUIET_S if done else min(2 * wait_s, LONGEST_WAIT_S)

    async def _attempt(self, checkpoint: Callable[[sqlite3.Connection], None]) -> bool:
        try:
            await self._runner.run(checkpoint)
        except sqlite3.Error as problem:
            # What was committed is safe in the WAL. A disk that is full or failing shows at the next commit.
            log.warning("checkpoint failed", path=str(self._wal), cause=str(problem))
            return False
        return True

    def _when_due(self, connection: sqlite3.Connection) -> None:
        self._checkpoint(connection, "PASSIVE")
        if self._is_large():
            with self._gate:
                self._checkpoint(connection, "PASSIVE")

    def _when_quiet(self, connection: sqlite3.Connection) -> None:
        self._checkpoint(connection, "PASSIVE")
        if self._is_large():
            with self._gate:
                self._checkpoint(connection, "TRUNCATE")

    def _checkpoint(self, connection: sqlite3.Connection, mode: str) -> None:
        written = self.written_pages
        connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        self._moved_pages = written

    def _is_large(self) -> bool:
        try:
            return self._wal.stat().st_size > LARGE_WAL_BYTES
        except FileNotFoundError:
            return False
