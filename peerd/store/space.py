"""The database of one space, as the engine knows it. What is written where stands in the modules beside this one."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from peerd.core.batch import Name
from peerd.core.chain import Run
from peerd.core.clocks import Dot, join
from peerd.core.record import Record
from peerd.core.roster.statements import SignedStatement
from peerd.core.stored import (
    ArrivalPage,
    Awaited,
    CollectionCount,
    LogSlice,
    Note,
    Opened,
    Recopy,
    RecordPage,
    StagedRun,
    StoredPeer,
    StoredPetition,
)
from peerd.core.writes import Writes
from peerd.errors import StoreDamaged, StoreError
from peerd.store import (
    asides,
    awaited,
    bindings,
    log,
    peers,
    petitions,
    records,
    relays,
    roster,
    scrub_rows,
    staging,
    transaction,
)
from peerd.store.binding_copy import BindingCopy
from peerd.store.copying import copy_database, look_through
from peerd.store.database import Database, Outcome, open_database
from peerd.store.lock import Lock
from peerd.store.lookback import Lookback
from peerd.store.machine import Machine, this_machine
from peerd.store.mark import MarkFile, OwnMark
from peerd.store.opening import Opening, lock_of
from peerd.store.roster_copy import RosterCopy
from peerd.store.scrubs import Scrubs
from peerd.store.snapshots import Snapshots
from peerd.store.transaction import OpenTransaction, Written
from peerd.store.upgrading import upgrade
from peerd.store.upkeep import Upkeep

T = TypeVar("T")


class SpaceStore:
    """Made by `open`. Every method that writes is durable when it returns, and whole whenever its caller is cancelled:
    what has been called is done, even if nobody waits for it any more.
    """

    def __init__(
        self,
        database: Database,
        opening: Opening,
        lock: Lock,
        mark: MarkFile,
        wall_ms: Callable[[], int],
        *,
        threaded: bool,
    ) -> None:
        self.opened: Opened = opening.opened
        self._database = database
        self._refs = opening.refs
        self._meta = opening.meta
        self._lock = lock
        self._mark = OwnMark(mark, opening.mark)
        self._wall_ms = wall_ms
        self._closing: asyncio.Task[None] | None = None
        self.scrubs = Scrubs(database, opening.refs, opening.meta)
        self.upkeep = Upkeep(database, opening.refs, opening.meta)
        self.snapshots = Snapshots(database, opening.refs, opening.meta, self._mark.forget, wall_ms)
        self._roster_copy = RosterCopy(database.path, opening.opened.statements)
        self.bindings = bindings.Bindings(database, BindingCopy(database.path, opening.bound))
        self.relays = relays.Relays(database)
        self.slowness = database.slowness
        self.asides = asides.Asides(database.path, opening.meta.space, threaded=threaded)
        self.lookback = Lookback(database, opening.refs, opening.meta)

    @classmethod
    async def open(
        cls,
        path: Path,
        device: bytes,
        mark_path: Path,
        random_bytes: Callable[[int], bytes],
        wall_ms: Callable[[], int],
        *,
        threaded: bool = True,
        machine: Machine | None = None,
        backups: Path | None = None,
        alone: bool = False,
    ) -> SpaceStore:
        """Open the database at `path` for this process alone; with `alone`, no other program may read it.

        `device` is the id of this device's key: an own origin of another one does not go on. `mark_path` lies outside
        of whatever is backed up. Not `threaded`, everything runs in the caller's thread. `machine` is read from the
        system unless it is given. `backups` is where a copy goes before an upgrade.

        Raises:
            StoreBusy: another peerd has it. StoreDamaged. StoreError: code "store-newer", or it cannot be opened.
        """
        lock = Lock.take(lock_of(path))
        mark_file = database = None
        try:
            mark_file = MarkFile.open(mark_path)
            database = await open_database(path, threaded=threaded, alone=alone)
            await database.prepare(lambda connection: upgrade(connection, path, backups, wall_ms()))
            opening = Opening(path, device, mark_file, machine or this_machine(), random_bytes)
            await database.write(opening.work)
            return cls(database, opening, lock, mark_file, wall_ms, threaded=threaded)
        except BaseException:
            try:
                if database is not None:
                    await database.close()
            finally:
                if mark_file is not None:
                    mark_file.close()
                lock.release()
            raise

    def on_unreadable(self, alarm: Callable[[], None]) -> None:
        """Have `alarm` called whenever a row cannot be read, though the file is sound."""
        self._database.unreadable = alarm

    # ---- transactions

    async def transact(
        self,
        decide: Callable[[OpenTransaction], tuple[Writes | None, T]],
        own_origin: Callable[[], bytes | None] = lambda: None,
        unstaged: Callable[[], Iterable[int]] = tuple,
        notes: Callable[[], Iterable[tuple[Note, Dot]]] = tuple,
        scrub: scrub_rows.Owing | None = None,
    ) -> T:
        """See `engine.store_ports.SpaceStore`. `decide` runs in the writer's thread."""

        def work(connection: sqlite3.Connection) -> Outcome[T]:
            open_transaction = OpenTransaction(connection, self._refs, self._database.path)
            writes, result = decide(open_transaction)
            if writes is None:
                return Outcome(result, keep=False)
            written = transaction.write(
                open_transaction, connection, writes, own_origin(), self._meta, self._refs, self._wall_ms()
            )
            if used_up := list(unstaged()):
                staging.unstage(connection, used_up)
            bindings.keep_notes(connection, notes())
            scrub_rows.keep(connection, scrub, writes.state)
            return Outcome(result, pages=written.pages, published=lambda: self._publish(writes, written))

        return await self._database.write(work)

    def _publish(self, writes: Writes, written: Written) -> None:
        """The commit is durable: what it gave and moved becomes true for the next ones."""
        self._refs.ref_of.update(written.new_refs)
        self._refs.number_of.update(written.new_numbers)
        moved = written.own_origin != self._meta.own_origin
        self._meta.position = written.position
        self._meta.own_origin = written.own_origin
        if written.own_origin is None:
            return
        origin = self._refs.origin_of[written.own_origin]
        if moved or origin in writes.origins:
            self._mark.moved(origin, writes.state.seq(origin))

    async def read(self, reading: Callable[[OpenTransaction], T]) -> T:
        """Run `reading` in one read transaction of another connection, in its thread."""
        return await self._database.read(
            lambda connection: reading(OpenTransaction(connection, self._refs, self._database.path))
        )

    # ---- records

    async def page(self, collection: str, prefix: str, after: str | None, limit: int) -> RecordPage:
        """Visible records whose keys begin with `prefix` and come after `after`, in the order of their UTF-8 bytes: at
        most `limit`, and fewer if they are large.
        """
        number = self._refs.number_of.get(collection)
        if number is None:
            return RecordPage([], more=False)
        refs, path = self._refs, self._database.path
        return await self._database.read(
            lambda connection: records.page(connection, refs, path, number, prefix, after, limit)
        )

    async def by_arrival(self, collection: str, after: int, limit: int) -> ArrivalPage:
        """Visible records behind the place `after` in the order in which they came here first: at most `limit`, and
        fewer if they are large.
        """
        number = self._refs.number_of.get(collection)
        if number is None:
            return ArrivalPage([], after, more=False)
        refs, path = self._refs, self._database.path
        return await self._database.read(
            lambda connection: records.by_arrival(connection, refs, path, number, after, limit)
        )

    async def collections(self) -> list[CollectionCount]:
        """The collections that have visible records, by name."""
        return await self._database.read(records.collections)

    async def flagged(self, after: Name | None, limit: int) -> list[tuple[Name, Record]]:
        """Records whose flags are not 0, in the order of (collection, key)."""
        refs, path = self._refs, self._database.path
        return await self._database.read(lambda connection: records.flagged(connection, refs, path, after, limit))

    # ---- the log

    async def runs_after(
        self, position: int, max_bytes: int, max_runs: int = 1000, covered: Mapping[bytes, int] | None = None
    ) -> LogSlice:
        """Runs in local apply order after `position`, without those that `covered` covers: at least one if there is
        any, else up to `max_bytes` and `max_runs`.
        """
        refs, path, skipped = self._refs, self._database.path, join(self._meta.horizon, covered or {})
        return await self._database.read(
            lambda connection: log.runs_after(connection, refs, path, position, max_bytes, max_runs, skipped)
        )

    async def position_before(self, clock: Mapping[bytes, int]) -> int:
        """The position after which every run lies that `clock` does not cover."""
        reaching = join(self._meta.horizon, clock)
        return await self._database.read(lambda connection: log.position_before(connection, reaching))

    async def first_position(self) -> int:
        """Of what the log has; behind the last position, if it has nothing."""
        return await self._database.read(log.first_position)

    async def last_position(self) -> int:
        return await self._database.read(log.last_position)

    # ---- roster, peers, staging

    async def add_statements(self, statements: Sequence[SignedStatement]) -> None:
        """Keep them, here and in the copy that stands beside the database."""

        def work(connection: sqlite3.Connection) -> Outcome[None]:
            roster.add(connection, statements)
            return Outcome(None, published=lambda: self._roster_copy.add(statements))

        await self._database.write(work)

    async def save_peer(self, peer: StoredPeer) -> None:
        await self._write(lambda connection: peers.save(connection, peer))

    async def save_awaited(self, one: Awaited) -> None:
        await self._write(lambda connection: awaited.save(connection, one))

    async def drop_awaited(self, devices: Sequence[bytes]) -> None:
        await self._write(lambda connection: awaited.drop(connection, devices))

    async def save_petition(self, petition: StoredPetition | None) -> None:
        """Keep that this device asks to be let in, or that it does no longer."""
        await self._write(lambda connection: petitions.save(connection, petition))

    async def save_recopy(self, recopy: Recopy | None) -> None:
        """Keep which copy that was set aside is being taken in, or that none is any more."""
        await self._write(lambda connection: asides.save(connection, recopy))

    async def end_own_origin(self) -> None:
        """Keep that what is written next belongs to a new origin, in whatever life."""

        def work(connection: sqlite3.Connection) -> Outcome[None]:
            connection.execute("UPDATE space SET own_origin = NULL")
            return Outcome(None, published=ended)

        def ended() -> None:
            self._meta.own_origin = None
            self._mark.forget()

        await self._database.write(work)

    async def stage(self, runs: Sequence[Run], max_bytes: int) -> list[StagedRun]:
        """Keep runs durably until they can be applied; those beyond `max_bytes` in all are left out."""
        age_ms = self._meta.age.ms
        return await self._write(lambda connection: staging.stage(connection, runs, max_bytes, age_ms))

    async def unstage(self, numbers: Sequence[int]) -> None:
        await self._write(lambda connection: staging.unstage(connection, numbers))

    # ---- housekeeping

    @property
    def failure(self) -> StoreError | None:  # StoreDamaged is for good
        return self._database.failure

    @property
    def is_unsynced(self) -> bool:
        """A sync failed. Once `probe` succeeds, it goes on when it is closed and opened `alone`."""
        return self._database.is_unsynced

    async def probe(self) -> None:
        """Write nothing of interest, to see whether it can be written. Raises StoreError."""
        await self._database.probe()

    async def look_through(self) -> None:
        """Read every page of the file. Raises StoreDamaged, which stays then; StoreError."""
        try:
            await self._database.open_beside(partial(look_through, self._database.path))
        except StoreDamaged as problem:
            self._database.condemn(problem)
            raise

    async def size_bytes(self) -> int:  # on the disk
        return self._database.size_bytes()

    def room_bytes(self) -> tuple[int, int]:  # what is free on the disk for us, and all of it
        disk = os.statvfs(self._database.path.parent)
        return disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize

    async def back_up(self, target: Path, moved: Callable[[int, int], None]) -> None:
        """Copy the database as it stands to the new file `target`, beside whoever writes. `moved` hears, in another
        thread, how many bytes of how many are there, and ends it by raising.
        """
        await self._database.open_beside(partial(copy_database, self._database.path, target, moved))

    async def close(self) -> None:
        """Finish what was called, close, and mark the copy as closed in order. Idempotent, and not undone by a
        cancellation.
        """
        await self._end(clean=True)

    async def abandon(self) -> None:
        """Close as a killed process would leave it: simulations crash with this."""
        await self._end(clean=False)

    async def _end(self, *, clean: bool) -> None:
        self._closing = self._closing or asyncio.create_task(self._close(clean=clean), name="close store")
        await asyncio.shield(self._closing)

    async def _close(self, *, clean: bool) -> None:
        in_order = False
        try:
            await self._database.close()
            in_order = clean and not self.is_unsynced
        finally:
            self._mark.close(clean=in_order)
            self._lock.release()

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._database.write(lambda connection: Outcome(work(connection)))
