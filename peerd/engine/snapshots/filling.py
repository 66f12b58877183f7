"""Taking in the parts of a snapshot, one after the other, so that neither side of the work waits for the other.

While some parts are being written and synced, the next are here already and their records are read and checked, a slice
at a time on the loop; what is checked by then is written in one transaction. AHEAD parts at most are here and not yet
durable, the pieces of a large one counted: whoever sends them keeps a few for us, in case that we have to ask for them
again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from peerd.core.batch import Name, Reader, Stored
from peerd.core.restore import Image
from peerd.core.snapshots.intake import Intake, SideOrigin, SideWrites, Standing
from peerd.core.snapshots.parts import End, Group, Joiner, Part, Records
from peerd.core.snapshots.rows import PlainRows
from peerd.core.writes import RecordRow
from peerd.engine.snapshots.ports import SnapshotStore

AHEAD = 8
JOINED_BYTES = 1300 << 10  # of parts with records in one transaction
SLICE_ROWS = 1_500  # between two slices the loop serves whoever else waits


class _Arrived(NamedTuple):
    """A part, of how many pieces and bytes it was put together, and how many slots it takes up."""

    part: Part
    pieces: int
    size_bytes: int
    slots: int


class _Nothing:
    """Records that come are no reason to read what is beside."""

    def records(self, _names: object) -> Mapping[Name, Stored]:
        return {}

    def images(self, _names: object) -> Mapping[Name, Image]:
        return {}

    def hash8(self, _origin: bytes, _seq: int) -> bytes | None:
        return None

    def passes(self, _origin: bytes, _seq: int) -> bool:
        return False


class _Decided(NamedTuple):
    """What the records of a part write, and the number of the part behind it."""

    writes: SideWrites
    number: int
    size_bytes: int
    slots: int


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
        self._decided: deque[_Decided] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._durable = Standing()

    async def fill(self, standing: Standing, number: int, parts: AsyncIterator[bytes]) -> Standing:
        """Take in `parts`, of which the first has this number, until they end or the snapshot is whole; what stands
        then is durable. Raises what `parts`, `look`, `Intake.take` and the store raise; what was written stays.
        """
        reading = asyncio.create_task(self._read(parts), name="snapshot ahead")
        self._durable = standing
        try:
            while not standing.is_whole and (arrived := await self._next()) is not None:
                number += arrived.pieces
                if isinstance(arrived.part, Records):
                    writes = await self._decide(standing, arrived)
                    standing = standing.after(writes)
                    self._write_soon(_Decided(writes, number, arrived.size_bytes, arrived.slots))
                    await asyncio.sleep(0)  # the disk has its work before we go on with ours
                    continue
                await self._written()
                standing = await self._store.take(standing, partial(_take, self._intake, arrived), number)
                self._stands(standing, arrived.slots)
            await self._written()
        finally:
            reading.cancel()
            writing = self._writing
            await asyncio.wait([reading] if writing is None else [reading, writing])
            if writing is not None and not writing.cancelled():
                writing.exception()  # if it is not raised here, something else is
        return standing

    async def _read(self, parts: AsyncIterator[bytes]) -> None:
        """Each piece takes a slot; one part takes all of them at most, however many pieces it has."""
        joiner, pieces, size_bytes, slots = Joiner(), 0, 0, 0
        part: Part | None = None
        try:
            while not isinstance(part, End):
                if slots < AHEAD:
                    await self._slots.acquire()
                    slots += 1
                if (data := await anext(parts, None)) is None:
                    break
                self._look(None)
                part = joiner.take(data)
                pieces += 1
                size_bytes += len(data)
                if part is None:
                    continue
                self._look(part)
                self._put(_Arrived(part, pieces, size_bytes, slots))
                pieces = size_bytes = slots = 0
        except Exception as problem:  # noqa: BLE001 - whatever it is, `fill` raises it when what came before is written
            self._put(problem)
        else:
            self._put(None)

    def _put(self, one: _Arrived | Exception | None) -> None:
        self._arrived.append(one)
        self._something.set()

    async def _next(self) -> _Arrived | None:
        """Raises what came instead of a part, or instead of writing those before it."""
        while not self._arrived:
            self._check_writing()
            self._something.clear()
            await self._something.wait()
        one = self._arrived.popleft()
        if isinstance(one, Exception):
            raise one
        return one

    async def _decide(self, standing: Standing, arrived: _Arrived) -> SideWrites:
        """What these records write, decided in slices."""
        rows: list[RecordRow] = []
        plain: list[PlainRows] = []
        origins: list[SideOrigin] = []
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

    # ---- writing

    def _write_soon(self, one: _Decided) -> None:
        self._check_writing()
        self._decided.append(one)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="snapshot write")
            self._writing.add_done_callback(lambda _: self._something.set())

    def _check_writing(self) -> None:
        if self._writing is not None and self._writing.done():
            self._writing.result()

    async def _written(self) -> None:
        if self._writing is not None:
            await self._writing

    async def _write(self) -> None:
        """What is decided, as much of it at once as one transaction takes, until nothing is left."""
        while self._decided:
            some = [self._decided.popleft()]
            size_bytes = some[0].size_bytes
            while self._decided and (size_bytes := size_bytes + self._decided[0].size_bytes) <= JOINED_BYTES:
                some.append(self._decided.popleft())
            decided = partial(_given, _joined([one.writes for one in some]))
            standing = await self._store.take(self._durable, decided, some[-1].number)
            self._stands(standing, sum(one.slots for one in some))

    def _stands(self, standing: Standing, slots: int) -> None:
        self._durable = standing
        self._moved(standing)
        for _ in range(slots):
            self._slots.release()


_NOTHING: Reader = _Nothing()


def _take(intake: Intake, arrived: _Arrived, standing: Standing, reader: Reader) -> SideWrites:
    return intake.take(standing, arrived.part, reader, arrived.size_bytes)


def _given(writes: SideWrites, _standing: Standing, _reader: Reader) -> SideWrites:
    return writes


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


def _joined(some: Sequence[SideWrites]) -> SideWrites:
    """Of several parts with records, one after the other."""
    return SideWrites(
        some[-1].progress,
        [at for one in some for at in one.origins],
        rows=[row for one in some for row in one.rows],
        plain=[rows for one in some for rows in one.plain],
    )
