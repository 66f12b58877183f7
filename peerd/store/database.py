"""The SQLite file of a space: one writer, one reader, and a third connection that moves the WAL into the database.

    writer       every change, in BEGIN IMMEDIATE, durable at COMMIT (synchronous=FULL); never checkpoints
    reader       read transactions beside the writer, each short
    checkpoints  in the background (see `checkpoints`)

A transaction is one function that runs to its end in the writer's thread, commit or rollback included. Whoever waits
for it may be cancelled at any moment; the transaction is not.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from peerd.core.slowness import Slowness
from peerd.errors import StoreClosed, StoreDamaged, StoreError
from peerd.logs import get
from peerd.store import memory, runners, unsynced
from peerd.store.checkpoints import Checkpoints, Gates
from peerd.store.connecting import connect_checkpoints, connect_reader, connect_writer, wal_of
from peerd.store.failures import translate
from peerd.store.runners import Runner

log = get(__name__)

T = TypeVar("T")

SLOW_WRITE_S, HANGING_WRITE_S = 1.0, 5.0

# sqlite3 looks for an adapter of every `bytes` that is bound, and to find none takes it twice as long as all the rest
# of the binding; to find one that gives the same object back costs little.
sqlite3.register_adapter(bytes, bytes.__bytes__)


class Outcome(NamedTuple, Generic[T]):
    """What the work of a transaction gives: its result, and whether there is anything to commit. `pages` is a guess
    of how much it adds to the WAL; `published` runs after the commit, in the same thread.
    """

    result: T
    keep: bool = True
    pages: int = 8
    published: Callable[[], None] = lambda: None


class Database:
    """Made by `open_database`. `is_unsynced`: a sync failed (see `unsynced`); to go on, it is closed and opened
    `alone`.
    """

    def __init__(
        self, path: Path, writer: Runner, reader: Runner, gates: Gates, checkpoints: Checkpoints | None, file: int
    ) -> None:
        self.path = path
        self.unreadable: Callable[[], None] = lambda: None  # what stands in a row is not what was written there
        self._writer = writer
        self._reader = reader
        self._gates = gates
        self._checkpoints = checkpoints
        self._file = file
        self.slowness = Slowness(least_s=SLOW_WRITE_S, long_s=HANGING_WRITE_S)  # of what is durable only then
        self.is_unsynced = False
        self._wal_is_good = True  # what was written to it after the last acknowledged commit is not in doubt
        self._broken: StoreError | None = None
        self._failure: StoreError | None = None
        self._besides: set[asyncio.Task[Any]] = set()
        self._closing = False
        if checkpoints is not None:
            checkpoints.lost = self._lost

    async def write(self, work: Callable[[sqlite3.Connection], Outcome[T]]) -> T:
        """Run `work` inside BEGIN IMMEDIATE and commit what it did, or roll back if it raises or keeps nothing.

        Raises:
            DiskFull, StoreBusy, StoreDamaged, StoreError: nothing was written.
        """
        self._check()
        try:
            return await self._writer.run(lambda connection: self._transaction(connection, work))
        except StoreDamaged:
            self._alarm()
            raise
        finally:
            if self._checkpoints is not None:
                self._checkpoints.notice()

    async def prepare(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run `function`, which makes transactions of its own, over the writer's connection. Same errors."""
        try:
            return await self._writer.run(function)
        except sqlite3.Error as problem:
            raise translate(problem, self.path) from problem

    async def read(self, reading: Callable[[sqlite3.Connection], T]) -> T:
        """Run `reading` in one read transaction.

        Raises:
            StoreBusy, StoreDamaged, StoreError.
        """
        self._check()
        try:
            return await self._reader.run(lambda connection: self._reading_at_gate(connection, reading))
        except StoreDamaged:
            self._alarm()
            raise

    async def read_aside(self, reading: Callable[[sqlite3.Connection], T]) -> T:
        """As `read`, over a connection that is opened for it alone: nobody waits for what takes its time."""
        self._check()

        async def read() -> T:
            try:
                aside = await runners.start(lambda: connect_reader(self.path), threaded=self.is_threaded)
            except sqlite3.Error as problem:
                raise translate(problem, self.path) from problem
            try:
                return await aside.run(lambda connection: self._reading(connection, reading))
            finally:
                await aside.close()

        return await (self._beside(read()) if self.is_threaded else read())

    async def open_beside(self, work: Callable[[], T]) -> T:
        """Run `work`, which opens a connection of its own to this file, in a thread."""
        self._check()
        return await self._beside(asyncio.to_thread(work))

    async def rest(self) -> None:
        """Forget the pages that are kept in memory: who wants one reads it from the file again. Raises StoreError."""
        forget = _forget_and_give_back if self.is_threaded else _forget_pages
        for runner in (self._reader, self._writer):
            self._check()  # each time: it may be closed while we wait
            try:
                await runner.run(forget)
            except sqlite3.Error as problem:
                raise translate(problem, self.path) from problem

    async def _beside(self, work: Coroutine[Any, Any, T]) -> T:
        """Let it have its end, whoever waits for it: the file is not closed before."""
        task = asyncio.create_task(work, name="beside a database")
        self._besides.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._besides.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked has heard of it, or is gone

    @property
    def is_threaded(self) -> bool:
        return self._checkpoints is not None

    def is_closing(self) -> bool:
        return self._closing

    def _transaction(self, connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], Outcome[T]]) -> T:
        if self._broken is not None:
            raise self._broken
        try:
            with self._gates.writing:
                outcome = committed(connection, work, self.slowness)
        except sqlite3.Error as problem:
            error = self._failed(problem)
            if unsynced.is_lost_sync(problem):
                self._wal_is_good = False
                self._unsynced(error)
            raise error from problem
        if outcome.keep:
            self._failure = None
            if self._checkpoints is not None:
                self._checkpoints.committed(outcome.pages)
            outcome.published()
        return outcome.result

    def _reading_at_gate(self, connection: sqlite3.Connection, reading: Callable[[sqlite3.Connection], T]) -> T:
        with self._gates.reading:
            return self._reading(connection, reading)

    def _reading(self, connection: sqlite3.Connection, reading: Callable[[sqlite3.Connection], T]) -> T:
        try:
            connection.execute("BEGIN")
            try:
                return reading(connection)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except sqlite3.Error as problem:
            raise self._failed(problem) from problem

    def _alarm(self) -> None:
        if self._broken is None:  # the file itself is sound
            self.unreadable()

    def _failed(self, problem: sqlite3.Error) -> StoreError:
        """What it means, remembered until a commit succeeds; for good if the file is damaged."""
        error = self._failure = translate(problem, self.path)
        if isinstance(error, StoreDamaged):
            self._broken = error  # what stands on damaged pages may not be made the truth by writing beside them
        return error

    def _lost(self, problem: sqlite3.Error | OSError) -> None:
        """A checkpoint could not sync the file. The WAL still has all of it."""
        self._unsynced(translate(problem, self.path))

    def _unsynced(self, error: StoreError) -> None:
        self.is_unsynced = True
        self._broken = error  # nothing may be built on this file now
        if self._checkpoints is not None:
            self._checkpoints.halt()

    async def probe(self) -> None:
        """Write nothing of interest, to see whether the disk takes it. Raises StoreError."""
        if not self.is_unsynced:
            return await self.write(_touch)
        self._check()
        try:
            await self._writer.run(self._commit_again)
            if self._checkpoints is not None:
                await self._checkpoints.again()
        except (sqlite3.Error, OSError) as problem:
            self._broken = translate(problem, self.path)
            raise self._broken from problem

    def _commit_again(self, connection: sqlite3.Connection) -> None:
        if not self._wal_is_good:  # once only: it must not begin anew before the database is synced
            with self._gates.writing:
                committed(connection, _touch, self.slowness)
            self._wal_is_good = True

    @property
    def failure(self) -> StoreError | None:
        """Why the last commit or read failed, as far as no commit has succeeded since."""
        return self._broken or self._failure

    def condemn(self, why: StoreDamaged) -> None:
        """The file is known to be damaged: nothing is written to it any more."""
        self._broken = why

    def _check(self) -> None:
        if self._closing:
            raise StoreClosed(f"{self.path} is closed.", next_step="Try again in a moment.")

    def size_bytes(self) -> int:
        """What the files take on disk, the WAL included."""
        return sum(self.file_sizes())

    @property
    def wal_held(self) -> bool:
        """The WAL is large, and somebody's reading keeps it from being emptied."""
        return self._checkpoints is not None and self._checkpoints.held

    def file_sizes(self) -> tuple[int, int]:
        """What the file takes on disk, and what its WAL does."""
        return _size(self.path), _size(wal_of(self.path))

    async def close(self) -> None:
        """Finish what is queued, move the WAL into the database, close. If a sync failed, the WAL stays as it is."""
        self._closing = True
        try:
            if self._checkpoints is not None:
                await self._checkpoints.close()
        finally:
            if self.is_unsynced:
                unsynced.keep_wal(self._file)
                if self._besides:
                    await asyncio.wait(self._besides)
            try:
                await self._reader.close()
            finally:
                try:
                    await self._writer.close()
                finally:
                    self._release()

    def _release(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def committed(
    connection: sqlite3.Connection,
    work: Callable[[sqlite3.Connection], Outcome[T]],
    slowness: Slowness | None = None,
) -> Outcome[T]:
    """One transaction, from BEGIN IMMEDIATE to the end. `slowness` hears how long the disk took for it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        outcome = work(connection)
        if outcome.keep:
            began_s = time.monotonic()
            if slowness is not None:
                slowness.begins(began_s)
            try:
                connection.execute("COMMIT")
            finally:
                if slowness is not None:
                    ended_s = time.monotonic()
                    slowness.took(ended_s, ended_s - began_s)
    finally:
        # An error may have ended the transaction already; a failed commit has not.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return outcome


async def open_database(path: Path, *, threaded: bool, alone: bool = False) -> Database:
    """Open an existing database of a space. `alone`: as long as nobody else has it open (see `unsynced`).

    Raises:
        StoreBusy, StoreDamaged, StoreError.
    """
    opened: list[Runner] = []
    gates = Gates(threading.Lock(), threading.Lock())
    if alone:
        unsynced.check_alone(path)
    try:
        opened.append(await runners.start(lambda: connect_writer(path, checkpoints=not threaded), threaded=threaded))
        await opened[0].run(lambda connection: unsynced.copy_all(connection, path, alone=alone))
        opened.append(await runners.start(lambda: connect_reader(path), threaded=threaded))
        if threaded:
            opened.append(await runners.start(lambda: connect_checkpoints(path), threaded=True))
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except BaseException as problem:
        known = translate(problem, path) if isinstance(problem, sqlite3.Error | OSError) else None
        for runner in reversed(opened):
            await runner.close()
        if known is not None:
            raise known from problem
        raise
    checkpoints = Checkpoints(opened[2], wal_of(path), gates, partial(os.fdatasync, file)) if threaded else None
    return Database(path, opened[0], opened[1], gates, checkpoints, file)


def _touch(connection: sqlite3.Connection) -> Outcome[None]:
    """Have a page written that says what it said: a row that is put there as it is, SQLite does not write at all."""
    connection.execute("UPDATE space SET age_ms = age_ms + 1")
    connection.execute("UPDATE space SET age_ms = age_ms - 1")
    return Outcome(None)


def _forget_pages(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA shrink_memory")


def _forget_and_give_back(connection: sqlite3.Connection) -> None:
    _forget_pages(connection)
    memory.give_back()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
