"""Taking in the parts of a snapshot, one after the other, so that neither side of the work waits for the other.

While some parts are being written and synced, the next are here already and their records are read and checked, a slice
at a time on the loop; what has come by then is written in one transaction. AHEAD parts at most are here and not yet
durable: whoever sends them keeps a few for us, in case that we have to ask for them again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from peerd.core.batch import Name, Reader, Stored
from peerd.core.restore import Image
from peerd.core.snapshots.intake import Intake, SideOrigin, SideWrites, Standing
from peerd.core.snapshots.parts import End, Group, Joiner, Part, Records
from peerd.core.snapshots.rows import PlainRows
from peerd.core.writes import RecordRow
from peerd.engine.store_ports import SnapshotStore

AHEAD = 4
JOINED_BYTES = 800 << 10  # of parts with records in one transaction
SLICE_ROWS = 800  # between two slices the loop serves whoever else waits


class _Arrived(NamedTuple):
    """A part, and of how many pieces and bytes it was put together."""

    part: Part
    pieces: int
    size_bytes: int


class _Nothing:
    """Records that come are no reason to read what is beside."""

    def records(self, _names: object) -> Mapping[Name, Stored]:
        return {}

    def images(self, _names: object) -> Mapping[Name, Image]:
        return {}

    def hash8(self, _origin: bytes, _seq: int) -> bytes | None:
        return None


class Filling:
    """`look` is shown every part before anything of it is written, and None before each piece; it may raise. `moved`
    hears what stands durably.
    """

    def __init__(
        self,
        store: SnapshotStore,
        intake: Intake,
        look: Callable[[Part | None], None],
        moved: Callable[[Standing], None],
    ) -> None:
        self._store = store
        self._intake = intake
        self._look = look
        self._moved = moved
        self._arrived: deque[_Arrived | Exception | None] = deque()
        self._something = asyncio.Event()
        self._slots = asyncio.Semaphore(AHEAD)

    async def fill(self, standing: Standing, number: int, parts: AsyncIterator[bytes]) -> Standing:
        """Take in `parts`, of which the first has this number, until they end or the snapshot is whole; what stands
        then is durable. Raises what `parts`, `look`, `Intake.take` and the store raise; what was written stays.
        """
        reading = asyncio.create_task(self._read(parts), name="snapshot ahead")
        writing: asyncio.Task[None] | None = None
        try:
            while not standing.is_whole and (arrived := await self._next()) is not None:
                if isinstance(arrived.part, Records):
                    joined = [arrived, *self._records_here(arrived.size_bytes)]
                    writes = await self._decide(standing, joined)
                    await _end_of(writing)
                    number += sum(one.pieces for one in joined)
                    write = self._write(standing, writes, number, len(joined))
                    writing = asyncio.create_task(write, name="snapshot write")
                    standing = standing.after(writes)
                    continue
                await _end_of(writing)
                number += arrived.pieces
                decide = partial(_take, self._intake, arrived)
                standing = await self._store.take(standing, decide, number)
                self._written(standing, 1)
            await _end_of(writing)
        finally:
            reading.cancel()
            await asyncio.wait([reading] if writing is None else [reading, writing])
            if writing is not None and not writing.cancelled():
                writing.exception()  # if it is not raised here, something else is
        return standing

    async def _read(self, parts: AsyncIterator[bytes]) -> None:
        joiner, pieces, size_bytes = Joiner(), 0, 0
        part: Part | None = None
        try:
            while not isinstance(part, End):
                await self._slots.acquire()
                if (data := await anext(parts, None)) is None:
                    break
                self._look(None)
                part = joiner.take(data)
                pieces += 1
                size_bytes += len(data)
                if part is None:
                    self._slots.release()  # it is one part with those that follow
                    continue
                self._look(part)
                self._put(_Arrived(part, pieces, size_bytes))
                pieces = size_bytes = 0
        except Exception as problem:  # noqa: BLE001 - whatever it is, `fill` raises it when what came before is written
            self._put(problem)
        else:
            self._put(None)

    def _put(self, one: _Arrived | Exception | None) -> None:
        self._arrived.append(one)
        self._something.set()

    async def _next(self) -> _Arrived | None:
        while not self._arrived:
            self._something.clear()
            await self._something.wait()
        one = self._arrived.popleft()
        if isinstance(one, Exception):
            raise one
        return one

    def _records_here(self, size_bytes: int) -> Iterator[_Arrived]:
        """What follows and is here already, as far as one transaction goes."""
        while self._arrived and isinstance(one := self._arrived[0], _Arrived) and isinstance(one.part, Records):
            size_bytes += one.size_bytes
            if size_bytes > JOINED_BYTES:
                return
            self._arrived.popleft()
            yield one

    async def _decide(self, standing: Standing, joined: list[_Arrived]) -> SideWrites:
        """What these records write, decided in slices."""
        rows: list[RecordRow] = []
        plain: list[PlainRows] = []
        origins: list[SideOrigin] = []
        for arrived in joined:
            size_bytes = arrived.size_bytes
            for records in _slices(arrived.part):
                if rows or plain:
                    await asyncio.sleep(0)
                writes = self._intake.take(standing, records, _NOTHING, size_bytes)
                standing = standing.after(writes)
                rows += writes.rows
                plain += writes.plain
                origins += writes.origins
                size_bytes = 0
        return SideWrites(standing.progress, origins, rows=rows, plain=plain)

    async def _write(self, standing: Standing, writes: SideWrites, number: int, parts: int) -> None:
        self._written(await self._store.take(standing, lambda _now, _reader: writes, number), parts)

    def _written(self, standing: Standing, parts: int) -> None:
        self._moved(standing)
        for _ in range(parts):
            self._slots.release()


_NOTHING: Reader = _Nothing()


def _take(intake: Intake, arrived: _Arrived, standing: Standing, reader: Reader) -> SideWrites:
    return intake.take(standing, arrived.part, reader, arrived.size_bytes)


def _slices(part: Part) -> Iterator[Records]:
    """The same records in parts of a few; the first has the origins."""
    if not isinstance(part, Records):
        raise TypeError("only records are taken in slices")
    origins = part.origins
    for group in part.groups:
        for at in range(0, len(group.rows), SLICE_ROWS):
            yield Records([Group(group.collection, group.rows[at : at + SLICE_ROWS])], origins)
            origins = []
    if origins or not part.groups:
        yield Records([], origins)


async def _end_of(writing: asyncio.Task[None] | None) -> None:
    if writing is not None:
        await writing
