"""Snapshots of one space: `serving` makes those of our copy for others; here those of others are taken in.

A snapshot that comes in is kept beside the copy, part by part and durably, so one that was cut goes on where it
stopped. Our copy goes on meanwhile. When the snapshot is whole, our records are merged into it, and then it takes the
place of ours in one short step inside the commit door.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from peerd.core.batch import Fork
from peerd.core.clocks import Clock
from peerd.core.entry import NeedsNewer
from peerd.core.origin import Announcement
from peerd.core.snapshots.intake import Authority, Intake, Standing
from peerd.core.snapshots.parts import Begin, Part
from peerd.core.snapshots.stored import Incoming, Phase, Switched
from peerd.core.stored import Recopy
from peerd.engine.ports import Times
from peerd.engine.snapshots.clearing import Clearing
from peerd.engine.snapshots.filling import Filling
from peerd.engine.snapshots.judging import check_ours, check_variants, is_further
from peerd.engine.snapshots.ports import SnapshotStore
from peerd.engine.snapshots.progress import Coming
from peerd.engine.snapshots.serving import Serving
from peerd.errors import MAKE_ROOM, DiskFull, RemoteProtocolError, StoreError
from peerd.logs import get

if TYPE_CHECKING:
    from peerd.engine.space import Space

log = get(__name__)

ABANDONED_MS = 7 * 24 * 3600 * 1000
PATIENCE_S = 60.0  # with the maker of one that was cut, while others have one too
ROOM_TIMES = 2  # what its records take, and so much again


class Snapshots:
    """Of `space`, which is open."""

    def __init__(self, space: Space, store: SnapshotStore, times: Times) -> None:
        self.serving = Serving(space, store, times)
        self.fetching = asyncio.Lock()  # one at a time, from whomever
        self.coming: Coming | None = None  # while its parts come
        self._begun: tuple[bytes, float] | None = None  # who made the one that has begun, and when something of it came
        self._space = space
        self._store = store
        self._times = times
        self._turn = asyncio.Lock()
        self._clearing = Clearing(space.name, store, times)

    async def open(self) -> None:
        """Go on clearing away what an earlier life left; on a disk that is full somebody else begins with it later."""
        with suppress(DiskFull):
            found = await self._store.incoming()
            if found is not None and found.phase >= Phase.CLEARING:
                self._clearing.begin()
            elif found is not None and found.device:
                self._begun = found.device, self._times.monotonic_s()

    async def close(self) -> None:
        await self._clearing.close()
        await self.serving.close()

    def pinned(self) -> int | None:
        """The position in the log after which nothing may be trimmed, for those that are being made or taken in."""
        if self._turn.locked():  # what is touched while one is merged into our copy is looked up in the log
            return 0
        return self.serving.pinned()

    async def begun(self) -> bytes | None:
        """The id of the one of which some parts are here."""
        found = await self._store.incoming()
        return found.id if found is not None and found.phase < Phase.CLEARING else None

    def is_of(self, device: bytes) -> bool:
        """Has one of this device begun?"""
        return self._begun is not None and self._begun[0] == device

    def patience_s(self, device: bytes) -> float:
        """How long this device's has to wait for the maker of the one that has begun: nobody else goes on with it."""
        if self._begun is None or self._begun[0] == device:
            return 0.0
        return max(0.0, self._begun[1] + PATIENCE_S - self._times.monotonic_s())

    async def wanted(self, snapshot: bytes) -> int:
        """The number of the part of this snapshot, from 0, with which `take_in` goes on."""
        found = await self._store.incoming()
        return found.parts if found is not None and _is_of(found, snapshot) else 0

    async def put_whole_in_place(self, *, replaces: bool = False) -> bool:
        """If all parts of one are here, and it was cut off only then, merge it into our copy, or put it in the place of
        it; False if not. Raises as `take_in`.
        """
        found = await self._store.incoming()
        if found is None or found.phase >= Phase.CLEARING or not found.standing.is_whole:
            return False
        if replaces and await self._is_mixed():
            await self._give_up()
            return False
        return await self.take_in(found.id, _nothing(), maker=found.device or b"", replaces=replaces)

    async def take_in(
        self,
        snapshot: bytes,
        parts: AsyncIterator[bytes],
        clock: Clock | None = None,
        whole: Callable[[Clock], None] = lambda _: None,
        maker: bytes = b"",
        *,
        replaces: bool = False,
        settles: bool = False,
    ) -> bool:
        """Take in the snapshot with this id, 16 bytes, from the part on that `wanted` names, and merge it into our
        copy. False if `parts` ends before it is whole: what came is kept. `clock` is where it is said to stand; `whole`
        is told where it stands, before it is put in place; `maker` is the device that made it. With `replaces` nothing
        of our copy is merged into it: ours is set aside, and then taken in by a recopy. With `settles` the same happens
        where there is doubt whether both hold one history, and it is further.

        Raises:
            RemoteProtocolError: it is of no use, and what came of it is forgotten: "malformed", "bad-signature",
                "bad-entry", "unknown-author", "snapshot-damaged", "snapshot-refused", "too-large", "needs-newer".
            Fork: it tells another history of an origin than our copy, likewise.
            StoreError: our own disk; what came is kept. Whatever `parts` raises, likewise. DiskFull also if there
                is no room for all that will come, before it does.
        """
        async with self._turn:
            standing = await self._begin(snapshot, maker)
            self.coming = Coming(maker, standing.progress, self._times.monotonic_s())
            try:
                standing = await self._fill(snapshot, standing, parts)
                if not standing.is_whole:
                    return False
                _check_clock(standing, clock)
                whole(standing.clock)
                await self._take_over(standing, replaces=replaces, settles=settles)
            except (RemoteProtocolError, Fork, NeedsNewer) as problem:
                log.warning("snapshot refused", space=self._space.name, cause=str(problem))
                await self._give_up()
                if isinstance(problem, NeedsNewer):
                    raise RemoteProtocolError(f"{problem} needs a newer peerd here", code="needs-newer") from None
                raise
            finally:
                self.coming = None
            self._begun = None
            self._clearing.begin()
            return True

    async def _take_over(self, standing: Standing, *, replaces: bool, settles: bool) -> None:
        if replaces:
            if settles:
                await check_variants(self._space, self._store, standing)
            await self._replace(standing, removes=self._space.forks.are_seen or self._space.forks.falls)
            return
        await check_ours(self._space, self._store, standing)
        fork = await self._store.fork()  # before anything of ours is merged into it
        if fork is None:
            await self._put_in_place(standing)
        elif settles and is_further(self._space, standing, fork) and not await self._is_mixed():
            log.warning("history in doubt", space=self._space.name, origin=fork.origin.hex(), seq=fork.seq)
            await self._replace(standing, removes=True)
        else:
            raise fork

    async def _is_mixed(self) -> bool:
        """Is something of our copy in it? One was cut off while it was being merged."""
        found = await self._store.incoming()
        return found is not None and found.phase is Phase.MERGING

    async def _begin(self, snapshot: bytes, maker: bytes) -> Standing:
        found = await self._store.incoming()
        if found is not None:
            if _is_of(found, snapshot):
                return found.standing
            await self._give_up()
        await self._clearing.finish()
        await self._store.begin(snapshot, maker)
        self._begun = maker, self._times.monotonic_s()
        return Standing()

    async def _fill(self, snapshot: bytes, standing: Standing, parts: AsyncIterator[bytes]) -> Standing:
        commits = self._space.commits
        authority = Authority(self._is_admitted, commits.limit_of, commits.verify)
        filling = Filling(self._store, Intake(self._space.id, authority), self._look, self._moved)
        return await filling.fill(standing, await self.wanted(snapshot), parts)

    def _look(self, part: Part | None) -> None:
        self._space.check_room()
        if isinstance(part, Begin):
            self._check_room(part)

    def _moved(self, standing: Standing) -> None:
        now_s = self._times.monotonic_s()
        if self.coming is not None:
            self.coming.moved(standing.progress, now_s)
            self._begun = self.coming.maker, now_s

    def _check_room(self, begin: Begin) -> None:
        """Its records stand beside ours until it is whole, with their index, and pass through the WAL."""
        needed_bytes = ROOM_TIMES * begin.record_bytes
        room_bytes = self._space.room_bytes()
        if room_bytes < needed_bytes:
            raise DiskFull(
                f"a snapshot of {begin.records:,} records needs {1 + (needed_bytes >> 20):,} MiB for a while, and "
                f"{max(0, room_bytes) >> 20:,} MiB of the disk are to be had",
                next_step=f"{MAKE_ROOM}; it goes on by itself.",
            )

    def _is_admitted(self, announcement: Announcement) -> bool:
        admission = self._space.roster.entry(announcement.admission)
        return admission is not None and admission.device == announcement.device

    async def _put_in_place(self, standing: Standing) -> None:
        began_s = self._times.monotonic_s()
        if self.coming is not None:
            self.coming.merging = True
        damage = self._space.damage
        async with damage.turn:
            doubts = damage.doubts_against(standing.progress.owed)
            standing, position = await self._store.merge(standing, doubts)
            copy_id = self._times.random_bytes(16)
            work = partial(self._store.switch, standing, position, copy_id, doubts)
            await _to_the_end(self._space.commits.switch(standing, work))
        log.info(
            "snapshot in place",
            space=self._space.name,
            count=standing.progress.records,
            took_ms=round(1000 * (self._times.monotonic_s() - began_s)),
        )

    async def _replace(self, standing: Standing, *, removes: bool) -> None:
        space = self._space
        if space.recopying.pending is not None:  # it goes by how far that copy and ours have the same history
            raise StoreError(
                "an old copy is being taken in, and ours stays in its place until that is done",
                code="recopy-running",
                next_step="It goes on by itself.",
            )
        copy_id = self._times.random_bytes(16)

        async def replacing() -> Switched:
            aside = await space.store.asides.make()
            log.warning("copy set aside", space=space.name, path=str(aside))
            recopy = Recopy(str(aside), removes=removes, forked=True)
            switched = await self._store.replace(standing, copy_id, space.forks.limits(), recopy)
            space.recopying.begin(recopy)
            return switched

        async def switching() -> None:
            await space.commits.switch(standing, replacing)
            await self.serving.close()  # of the copy before; parts that are kept are asked for over the next link
            space.forks.begin_anew()
            with suppress(StoreError):  # at the end, or within the day
                await space.save_peers()
            await space.forks.look()  # though the link by which it came ends meanwhile

        async with space.damage.turn:
            await _to_the_end(switching())

    async def forget_abandoned(self) -> None:
        """Give up one that nobody went on with for a week of daemon time, and those that nobody asked us for since the
        last time.
        """
        await self.serving.forget_abandoned()
        found = await self._store.incoming()
        if found is not None and found.phase >= Phase.CLEARING:
            self._clearing.begin()
        elif found is not None and found.now_ms - found.age_ms > ABANDONED_MS and not self._turn.locked():
            async with self._turn:
                await self._give_up()

    async def _give_up(self) -> None:
        self._begun = None
        await self._store.give_up()
        self._clearing.begin()


async def _nothing() -> AsyncGenerator[bytes, None]:
    return
    yield


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
