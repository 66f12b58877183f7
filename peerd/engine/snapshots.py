"""Snapshots of one space: made of our copy for others, and taken in from others.

A snapshot that comes in is kept beside the copy, part by part and durably, so one that was cut goes on where it
stopped. Our copy goes on meanwhile. When the snapshot is whole, our records are merged into it, and then it takes the
place of ours in one short step inside the commit door.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from peerd.core.batch import Fork
from peerd.core.clocks import Clock
from peerd.core.entry import NeedsNewer
from peerd.core.origin import Announcement
from peerd.core.snapshot import Joiner, Part
from peerd.core.snapshot_intake import Authority, Intake, Standing
from peerd.core.snapshot_stored import Incoming, Phase
from peerd.engine.ports import Times
from peerd.engine.snapshot_making import Outgoing, Served
from peerd.engine.store_ports import SnapshotStore
from peerd.errors import DiskFull, RemoteProtocolError, StoreError
from peerd.logs import get

if TYPE_CHECKING:
    from peerd.engine.space import Space

log = get(__name__)

SERVED = 4  # devices at once
ABANDONED_MS = 7 * 24 * 3600 * 1000


class Snapshots:
    """Of `space`, which is open."""

    def __init__(self, space: Space, store: SnapshotStore, times: Times) -> None:
        self.outgoing: set[Outgoing] = set()
        self.served: dict[bytes, Served] = {}  # by device
        self.fetching = asyncio.Lock()  # one at a time, from whomever
        self._space = space
        self._store = store
        self._times = times
        self._turn = asyncio.Lock()
        self._clearing: asyncio.Task[None] | None = None
        self._closed = False

    async def open(self) -> None:
        """Go on clearing away what an earlier life left; on a disk that is full somebody else begins with it later."""
        with suppress(DiskFull):
            if (found := await self._store.incoming()) is not None and found.phase >= Phase.CLEARING:
                self._clear_soon()

    async def close(self) -> None:
        self._closed = True
        for device in list(self.served):
            await self.end_serving(device)
        if self._clearing is not None:
            await asyncio.wait([self._clearing])

    # ---- out

    def begin_outgoing(self) -> Outgoing:
        """A snapshot of our copy; its `parts` are read as they are asked for."""
        return Outgoing(self._space, self._store, self.outgoing)

    def pinned(self) -> int | None:
        """The position in the log after which nothing may be trimmed, for those that are being made or taken in."""
        if self._turn.locked():  # what is touched while one is merged into our copy is looked up in the log
            return 0
        return min((one.position or 0 for one in self.outgoing), default=None)

    async def serve(self, device: bytes, snapshot: bytes, number: int) -> Served:
        """What a device is being served: the snapshot that it names, if that can go on with this part, else another."""
        served = self.served.pop(device, None)
        if served is not None and (served.id != snapshot or not served.has(number)):
            await served.close()
            served = None
        while len(self.served) >= SERVED:
            await self.served.pop(next(iter(self.served))).close()
        if served is None:
            served = Served(self._times.random_bytes(16), self.begin_outgoing())
        self.served[device] = served
        return served

    def is_serving(self, device: bytes, snapshot: bytes) -> bool:
        served = self.served.get(device)
        return served is not None and served.id == snapshot

    async def end_serving(self, device: bytes) -> None:
        served = self.served.pop(device, None)
        if served is not None:
            await served.close()

    # ---- in

    async def begun(self) -> bytes | None:
        """The id of the one of which some parts are here."""
        found = await self._store.incoming()
        return found.id if found is not None and found.phase < Phase.CLEARING else None

    async def wanted(self, snapshot: bytes) -> int:
        """The number of the part of this snapshot, from 0, with which `take_in` goes on."""
        found = await self._store.incoming()
        return found.parts if found is not None and _is_of(found, snapshot) else 0

    async def take_in(
        self,
        snapshot: bytes,
        parts: AsyncIterator[bytes],
        clock: Clock | None = None,
        whole: Callable[[Clock], None] = lambda _: None,
    ) -> bool:
        """Take in the snapshot with this id, 16 bytes, from the part on that `wanted` names, and merge it into our
        copy. False if `parts` ends before it is whole: what came is kept. `clock` is where it is said to stand; `whole`
        is told where it stands, before it is put in place.

        Raises:
            RemoteProtocolError: it is of no use, and what came of it is forgotten: "malformed", "bad-signature",
                "bad-entry", "unknown-author", "snapshot-damaged", "snapshot-refused", "too-large", "needs-newer".
            Fork: it tells another history of an origin than our copy, likewise.
            StoreError: our own disk; what came is kept. Whatever `parts` raises, likewise.
        """
        async with self._turn:
            standing = await self._begin(snapshot)
            try:
                standing = await self._fill(snapshot, standing, parts)
                if not standing.is_whole:
                    return False
                _check_clock(standing, clock)
                whole(standing.clock)
                await self._put_in_place(standing)
            except (RemoteProtocolError, Fork, NeedsNewer) as problem:
                log.warning("snapshot refused", space=self._space.name, cause=str(problem))
                await self._give_up()
                if isinstance(problem, NeedsNewer):
                    raise RemoteProtocolError(f"{problem} needs a newer peerd here", code="needs-newer") from None
                raise
            self._clear_soon()
            return True

    async def _begin(self, snapshot: bytes) -> Standing:
        found = await self._store.incoming()
        if found is not None:
            if _is_of(found, snapshot):
                return found.standing
            await self._give_up()
        if self._clearing is not None:
            await asyncio.wait([self._clearing])
        await self._clear()
        await self._store.begin(snapshot)
        return Standing()

    async def _fill(self, snapshot: bytes, standing: Standing, parts: AsyncIterator[bytes]) -> Standing:
        commits, joiner = self._space.commits, Joiner()
        authority = Authority(self._is_admitted, commits.limit_of, commits.verify)
        intake = Intake(self._space.id, authority)
        number = await self.wanted(snapshot)
        while not standing.is_whole and (data := await anext(parts, None)) is not None:
            self._space.check_room()
            part = joiner.take(data)
            number += 1
            if part is not None:
                standing = await self._take(intake, standing, part, number)
        return standing

    async def _take(self, intake: Intake, standing: Standing, part: Part, number: int) -> Standing:
        return await self._store.take(standing, lambda now, reader: intake.take(now, part, reader), number)

    def _is_admitted(self, announcement: Announcement) -> bool:
        admission = self._space.roster.entry(announcement.admission)
        return admission is not None and admission.device == announcement.device

    async def _put_in_place(self, standing: Standing) -> None:
        began_s = self._times.monotonic_s()
        standing, position = await self._store.merge(standing)
        copy_id = self._times.random_bytes(16)
        await _to_the_end(self._space.commits.switch(standing, position, copy_id))
        log.info(
            "snapshot in place",
            space=self._space.name,
            count=standing.progress.records,
            took_ms=round(1000 * (self._times.monotonic_s() - began_s)),
        )

    # ---- clearing away

    async def forget_abandoned(self) -> None:
        """Give up one that nobody went on with for a week of daemon time, and those that nobody asked us for since the
        last time.
        """
        for device, served in list(self.served.items()):
            if not served.was_asked:
                await self.end_serving(device)
            served.was_asked = False
        found = await self._store.incoming()
        if found is not None and found.phase >= Phase.CLEARING:
            self._clear_soon()
        elif found is not None and found.now_ms - found.age_ms > ABANDONED_MS and not self._turn.locked():
            async with self._turn:
                await self._give_up()

    async def _give_up(self) -> None:
        await self._store.give_up()
        self._clear_soon()

    def _clear_soon(self) -> None:
        if self._clearing is None or self._clearing.done():
            self._clearing = asyncio.create_task(self._clear(), name="clear snapshot")

    async def _clear(self) -> None:
        """Some thousand rows at a time, so that writers get their turn between."""
        try:
            while not self._closed and await self._store.clear_some():
                pass
        except StoreError as problem:  # the next start goes on with it
            log.warning("snapshot not cleared away", space=self._space.name, code=problem.code, cause=str(problem))


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Whoever is cancelled meanwhile waits for it: what comes next must find it done."""
    task = asyncio.create_task(work, name="switch to snapshot")
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as problem:
            cancelled = problem
    if cancelled is not None:
        task.exception()  # whoever asked is gone
        raise cancelled
    task.result()


def _is_of(found: Incoming, snapshot: bytes) -> bool:
    return found.id == snapshot and found.phase < Phase.CLEARING


def _check_clock(standing: Standing, clock: Clock | None) -> None:
    if clock is not None and standing.clock != clock:
        raise RemoteProtocolError("a snapshot stands elsewhere than was said", code="malformed")
