"""Making a snapshot of our copy, and serving it to one device part by part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from peerd.core import digest
from peerd.core.clocks import Clock
from peerd.core.entry import changes_of
from peerd.core.record_form import digest_of
from peerd.core.snapshots.parts import LEVEL, Begin, End, Ends, Origins, Part, Records, Runs, encode, portions
from peerd.core.snapshots.stored import RowCursor, SnapshotRows, SnapshotStart
from peerd.core.stored import LogRow
from peerd.engine.snapshots.ports import SnapshotStore
from peerd.errors import StoreDamaged, StoreError

if TYPE_CHECKING:
    from peerd.engine.space import Space

READ_BYTES = 380 << 10  # of records or runs at a time; what comes of it fits into one part
KEPT_PARTS = 12


class Outgoing:
    """A snapshot that is being made. `clock` and `records` are what it holds, known when the last part was given; of
    about `expected` records `given` have been read. `standing`: where others stand; they will ask what we had there.
    """

    def __init__(
        self, space: Space, store: SnapshotStore, among: set[Outgoing], standing: Mapping[bytes, Collection[int]]
    ) -> None:
        self.clock: Clock = {}
        self.records = 0
        self.expected = 0
        self.given = 0
        self.position: int | None = None  # the log from there on is still needed
        self._space = space
        self._store = store
        self._among = among
        self._standing = standing
        self._known = 0
        self._sums = digest.EMPTY

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """Every part, in order, each at most `snapshot.PART_BYTES`. Once only.

        Raises:
            StoreDamaged: the copy is damaged; what was given is of no use to anybody.
            StoreError: "snapshot-gone", the copy was replaced or its log trimmed meanwhile: begin again.
            LocalProtocolError: "snapshot-too-large".
        """
        self._among.add(self)
        try:
            async for part in self._parts():
                for data in encode(part):
                    yield data
        finally:
            self._among.discard(self)

    async def _parts(self) -> AsyncGenerator[Part, None]:
        damage = self._space.damage
        owed = damage.state.owed
        start = await self._store.start(self._standing)
        self.position = start.position
        self._known = max((one.number for one in start.origins), default=0)
        self.expected = start.records
        yield Begin(
            self._space.id, LEVEL if owed != digest.EMPTY else 1, start.records, len(start.origins), start.record_bytes
        )
        for origins in portions((200 + 40 * len(one.context), one) for one in start.origins):
            yield Origins(origins)
        for ends in portions((24 + 24 * len(one.ends), one) for one in start.ends):
            yield Ends(ends)
        cursor: RowCursor | None = (0, "")
        while cursor is not None:
            async with damage.turn:
                last = await self._store.rows(cursor, READ_BYTES, self._known)
                owes = damage.state.owed
            if last.copy_id != start.copy_id or owes != owed:
                raise _gone()
            cursor = last.cursor
            if last.groups or last.origins:
                yield self._records(last)
            if cursor is None:
                async for part in self._runs(start, last):
                    yield part
                yield _end(last, owes)

    def _records(self, read: SnapshotRows) -> Records:
        self._sums = digest.moved(self._sums, enumerate(read.shares))
        self.given += read.count
        self._known = max((number for number, _ in read.origins), default=self._known)
        return Records(read.groups, read.origins)

    async def _runs(self, start: SnapshotStart, last: SnapshotRows) -> AsyncGenerator[Part, None]:
        """What was written from the first record on to the last one."""
        clock = dict(start.clock)
        touched: set[int] = set()
        position = start.position
        while position < last.position:
            rows = await self._rows_after(position, last.position)
            position = rows[-1].position
            clock.update((row.run.origin, row.run.last) for row in rows)
            touched.update(_buckets(rows))
            for runs in portions((row.run.size_bytes + 20 * len(row.run.entries), row.run) for row in rows):
                yield Runs(runs)
        if set(digest.differing(self._sums, last.digest)) - touched:
            self._space.scrub.alarm()
            raise StoreDamaged(
                "The records of a space are not those that were written: some of them are missing or are too many.",
                next_step='See docs/recovery.md, "Copies diverged".',
            )
        self.clock, self.records = clock, last.records

    async def _rows_after(self, position: int, up_to: int) -> list[LogRow]:
        """At least one. What is not there any more was trimmed, or replaced with the copy."""
        slice_ = await self._space.store.runs_after(position, READ_BYTES)
        rows = [row for row in slice_.rows if row.position <= up_to]
        if [row.position for row in rows] != list(range(position + 1, position + 1 + len(rows))) or not rows:
            raise _gone()
        return rows


class Served:
    """One that a device asks for part by part. The last ones are kept, so that it can go on after its link was cut; the
    next ones are read while those before them are on their way.
    """

    def __init__(self, snapshot: bytes, outgoing: Outgoing) -> None:
        self.id = snapshot
        self.was_asked = True
        self.asked_s = 0.0
        self.outgoing = outgoing
        self._parts = outgoing.parts()
        self._kept: dict[int, bytes] = {}
        self._next = 0
        self._ahead: bytes | None = None
        self._reading: asyncio.Task[bytes | None] | None = None  # of the one behind `_ahead`
        self._turn = asyncio.Lock()

    @property
    def goes_on(self) -> bool:
        """Has some of it been sent, and not all?"""
        return self._next > 0 and self._ahead is not None

    def has(self, number: int) -> bool:
        return number in self._kept or number >= self._next

    async def part(self, number: int) -> tuple[bytes, bool] | None:
        """The part, and whether it is the last; None if it can not be had (any more). Raises what `parts` raises, and
        StoreError "snapshot-gone" if this is closed meanwhile.
        """
        self.was_asked = True
        async with self._turn:
            if number == self._next:
                if self._ahead is None:
                    self._ahead = await self._following()
                if self._ahead is not None:
                    following = await self._following()
                    self._kept[number], self._ahead = self._ahead, following
                    self._kept.pop(number - KEPT_PARTS, None)
                    self._next += 1
            data = self._kept.get(number)
            return None if data is None else (data, number == self._next - 1 and self._ahead is None)

    async def _following(self) -> bytes | None:
        """Whoever is cancelled meanwhile leaves the reading to those who come after it."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="snapshot read")
        await asyncio.wait([self._reading])
        if self._reading.cancelled():
            raise StoreError(
                "a snapshot was let go of before it was whole",
                code="snapshot-gone",
                next_step="It is made again by itself.",
            )
        data = self._reading.result()
        if data is not None:
            self._reading = asyncio.create_task(self._read(), name="snapshot read")
        return data

    async def _read(self) -> bytes | None:
        return await anext(self._parts, None)

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
            if not self._reading.cancelled():
                self._reading.exception()  # nobody asks for that part any more
        await self._parts.aclose()


def _end(last: SnapshotRows, owed: bytes) -> End:
    amounts = [(bucket, digest.at(owed, bucket).to_bytes(8, "big")) for bucket in digest.differing(owed, digest.EMPTY)]
    return End(digest.summary(last.digest), last.records, amounts)


def _buckets(rows: Iterable[LogRow]) -> set[int]:
    """The buckets of the digest that these runs change."""
    return {
        digest_of(*change.record, [], b"")[0] for row in rows for data in row.run.entries for change in changes_of(data)
    }


def _gone() -> StoreError:
    return StoreError(
        "the copy that a snapshot was being made of is another one by now",
        code="snapshot-gone",
        next_step="It is made again by itself.",
    )
