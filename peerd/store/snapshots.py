"""The snapshots of one space's database: reading the copy for one, and taking one in beside it. See the port
`SnapshotStore`.

The rows of a snapshot are built in a table beside the live one, in the same file, and take its place by a change of
names. So everything else that the file holds (log, history, roster, peers, bindings, staged runs) stays where it is,
the file and its mark stay the same, and the step is one transaction of SQLite: after a crash it has happened or not.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

from peerd.core.batch import Fork, Name, Reader
from peerd.core.snapshots.choice import Gap
from peerd.core.snapshots.doubt import Doubts
from peerd.core.snapshots.intake import SideWrites, Standing
from peerd.core.snapshots.stored import Incoming, Phase, RowCursor, SnapshotRows, SnapshotStart, Switched
from peerd.core.stored import Recopy
from peerd.store import incoming, replacing, snapshot_reading, switching
from peerd.store.database import Database, Outcome
from peerd.store.incoming import SideReader
from peerd.store.meta import Meta
from peerd.store.refs import Refs
from peerd.store.switching import Site, Touched

T = TypeVar("T")

FEW_TOUCHED = 500  # records that are left for the step itself
BYTES_IN_A_PAGE = 3_000  # of a part; the rest is the index, and what pages do not hold


class Snapshots:
    """`own_origin_ended` is called when a switch ended the own origin."""

    def __init__(
        self,
        database: Database,
        refs: Refs,
        meta: Meta,
        own_origin_ended: Callable[[], None],
        wall_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._refs = refs
        self._meta = meta
        self._own_origin_ended = own_origin_ended
        self._wall_ms = wall_ms

    # ---- reading

    async def gap(self, clock: Mapping[bytes, int], position: int) -> Gap:
        refs, reaching = self._refs, dict(clock)
        return await self._database.read(lambda connection: snapshot_reading.gap(connection, refs, reaching, position))

    async def start(self, standing: Mapping[bytes, Collection[int]]) -> SnapshotStart:
        refs, path = self._refs, self._database.path
        return await self._database.read(lambda connection: snapshot_reading.start(connection, refs, path, standing))

    async def rows(self, after: RowCursor, max_bytes: int, known: int) -> SnapshotRows:
        refs, path = self._refs, self._database.path
        return await self._database.read(
            lambda connection: snapshot_reading.rows(connection, refs, path, after, max_bytes, known)
        )

    # ---- taking in

    async def incoming(self) -> Incoming | None:
        """Asked of the writer, behind whatever was begun: also what somebody began who waits for it no longer."""
        refs, path = self._refs, self._database.path
        return await self._database.write(lambda connection: Outcome(incoming.load(connection, refs, path), keep=False))

    async def begin(self, snapshot: bytes, maker: bytes) -> None:
        await self._write(lambda connection: incoming.begin(connection, snapshot, maker, self._meta.age.ms))

    async def take(self, standing: Standing, decide: Callable[[Standing, Reader], SideWrites], parts: int) -> Standing:
        def work(connection: sqlite3.Connection) -> Outcome[Standing]:
            reader = SideReader(connection, self._refs, self._database.path)
            writes = decide(standing, reader)
            new_refs, new_numbers = incoming.write(connection, self._refs, self._meta.space, writes, reader)
            connection.execute("UPDATE incoming SET parts = ?, age_ms = ?", (parts, self._meta.age.ms))

            def publish() -> None:
                self._refs.ref_of.update(new_refs)
                self._refs.number_of.update(new_numbers)

            came_bytes = writes.progress.size_bytes - standing.progress.size_bytes
            return Outcome(standing.after(writes), pages=8 + came_bytes // BYTES_IN_A_PAGE, published=publish)

        return await self._database.write(work)

    async def merge(self, standing: Standing, doubts: Doubts) -> tuple[Standing, int]:
        position = await self._write(switching.begin)
        cursor: RowCursor | None = (0, "")
        while cursor is not None:
            standing, cursor = await self._merge_after(standing, doubts, cursor)
        row: int | None = 0
        while row is not None:
            standing, row = await self._merge_removed(standing, doubts, row)
        while len((found := await self._touched(position)).names) >= FEW_TOUCHED:
            standing = await self._merge_named(standing, doubts, found.names)
            position = found.position
        return standing, position

    async def _touched(self, position: int) -> Touched:
        return await self._database.read(lambda connection: switching.touched(connection, position))

    async def _merge_named(self, standing: Standing, doubts: Doubts, names: Collection[Name]) -> Standing:
        return await self._merge(standing, doubts, lambda site: switching.merge_named(site, names))

    async def _merge_after(
        self, standing: Standing, doubts: Doubts, cursor: RowCursor
    ) -> tuple[Standing, RowCursor | None]:
        return await self._merge(standing, doubts, lambda site: switching.merge_after(site, cursor))

    async def _merge_removed(self, standing: Standing, doubts: Doubts, after: int) -> tuple[Standing, int | None]:
        return await self._merge(standing, doubts, lambda site: switching.merge_removed(site, after))

    async def _merge(self, standing: Standing, doubts: Doubts, merging: Callable[[Site], T]) -> T:
        def work(connection: sqlite3.Connection) -> Outcome[T]:
            site = Site(connection, self._refs, self._database.path, standing, doubts)
            return Outcome(merging(site), pages=8 + switching.ROWS_AT_ONCE // 4)

        return await self._database.write(work)

    async def switch(self, standing: Standing, position: int, copy_id: bytes, doubts: Doubts) -> Switched:
        def work(connection: sqlite3.Connection) -> Outcome[Switched]:
            site = Site(connection, self._refs, self._database.path, standing, doubts)
            switched = switching.switch(site, self._meta, position, copy_id, self._wall_ms())

            return Outcome(switched, pages=64, published=lambda: self._publish(switched))

        return await self._database.write(work)

    def _publish(self, switched: Switched) -> None:
        self._meta.copy_id = switched.copy_id
        self._meta.horizon = switched.state.horizon()
        if switched.own_origin_ended:
            self._meta.own_origin = None
            self._own_origin_ended()

    async def hashes(self, ends: Sequence[tuple[bytes, int]]) -> list[bytes | None]:
        """What the snapshot beside says of these ends of runs (origin, seq)."""
        refs, path = self._refs, self._database.path

        def reading(connection: sqlite3.Connection) -> list[bytes | None]:
            reader = SideReader(connection, refs, path)
            return [reader.hash8(*end) for end in ends]

        return await self._database.read(reading)

    async def fork(self) -> Fork | None:
        refs = self._refs
        return await self._database.read(lambda connection: incoming.ends_of_fork(connection, refs))

    async def replace(
        self, standing: Standing, copy_id: bytes, limits: Mapping[bytes, int], recopy: Recopy
    ) -> Switched:
        def work(connection: sqlite3.Connection) -> Outcome[Switched]:
            site = Site(connection, self._refs, self._database.path, standing)
            switched = replacing.replace(site, copy_id, limits, recopy, self._wall_ms())
            return Outcome(switched, pages=64, published=lambda: self._publish(switched))

        return await self._database.write(work)

    async def agreed(self) -> None:
        await self._write(lambda connection: connection.execute("UPDATE space SET taken_agreed = 1"))

    async def give_up(self) -> None:
        phases = (Phase.FILLING, Phase.MERGING)
        await self._write(
            lambda connection: connection.execute(
                "UPDATE incoming SET phase = ? WHERE phase IN (?, ?)", (Phase.GIVEN_UP, *phases)
            )
        )

    async def clear_some(self, size: int) -> bool:
        return await self._database.write(
            lambda connection: Outcome(incoming.clear_some(connection, self._meta.age.ms, size), pages=8 + size // 8)
        )

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._database.write(lambda connection: Outcome(work(connection)))
