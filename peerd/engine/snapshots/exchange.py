"""Snapshots on one session: theirs, if their log does not reach back to what we have; and ours, if they ask.

Whoever takes one in asks for its parts, a few at a time, and for the next when it takes one up. So it sets the pace,
nothing piles up, and after a cut it asks on from what is durable: the maker keeps the last few parts for that. One is
taken in at a time; so whoever sends nothing for long makes way for others that have one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

from peerd.core.batch import Fork
from peerd.core.device_id import short_id
from peerd.engine.space import Space
from peerd.errors import DiskFull, LocalProtocolError, RemoteProtocolError, StoreError
from peerd.logs import get
from peerd.protocol.effects import Effect
from peerd.protocol.messages import SNAPSHOT_PARTS, SnapshotChunk, SnapshotRefuse, SnapshotWant
from peerd.protocol.session import Phase, Session

log = get(__name__)

AGAIN_S = 30.0
SILENT_S = 180.0  # of who was asked for a part, on a link that stands
LOOK_S = 1.0  # whether the maker of one that was cut is back
_PASSING = frozenset({"snapshot-gone", "snapshot-busy"})  # codes of refusals after which the next attempt goes better
_DAMAGED = 'The copy there is damaged: see docs/recovery.md, "Copies diverged". Another member may serve one.'
_STEPS = {
    "snapshot-damaged": _DAMAGED,
    "store-damaged": _DAMAGED,
    "snapshot-too-large": "Make the record that is named in that device's log smaller there.",
    "snapshot-refused": "Another member may serve one; it is tried again by itself.",
    "needs-newer": "Update peerd on this device.",
    "fork": "One of the two was restored from a copy. Keep both running; see docs/recovery.md.",
}
_SILENT = "nothing of its snapshot has come for three minutes"
_NO_ID = bytes(16)
_Message: TypeAlias = SnapshotWant | SnapshotChunk | SnapshotRefuse


class SnapshotTrouble(NamedTuple):
    """Why the last attempt to take one in failed, and what a person can do about it."""

    cause: str
    next_step: str


class SnapshotExchange:
    """`say` sends, `perform` does what the session asks for; `sent` is to be called when a chunk has gone. `on_fork`
    hears that a snapshot holds another history than our copy, into which it was to be merged.
    """

    def __init__(
        self,
        space: Space,
        theirs: bytes,
        machine: Session,
        say: Callable[[_Message], None],
        perform: Callable[[Iterable[Effect]], None],
        on_fork: Callable[[Fork], None],
    ) -> None:
        self._space = space
        self._theirs = theirs
        self._machine = machine
        self._say = say
        self._perform = perform
        self._on_fork = on_fork
        self._wanted: asyncio.Queue[SnapshotWant | None] = asyncio.Queue(2 * SNAPSHOT_PARTS)
        self._coming: asyncio.Queue[SnapshotChunk | SnapshotRefuse | None] = asyncio.Queue(2 * SNAPSHOT_PARTS)
        self.trouble: SnapshotTrouble | None = None  # of the last attempt
        self._refusal: SnapshotRefuse | None = None
        self._silent = False
        self._gone = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._stopped = False

    def start(self, group: asyncio.TaskGroup) -> None:
        """With workers in the link's group: its end is theirs."""
        self._group = group
        group.create_task(self._serve(), name="snapshot out")

    def stop(self) -> None:
        self._stopped = True
        self._gone.set()
        _end(self._wanted)
        _end(self._coming)

    def give_up(self) -> None:
        """The session has stopped for a fork, and what was asked for is passed over from now on: whoever waits for it
        makes way for a snapshot that settles the fork. What came is kept.
        """
        _end(self._coming)

    # ---- ours

    def serve(self, message: SnapshotWant) -> None:
        """Raises RemoteProtocolError if they ask for more than they may."""
        if self._wanted.full():
            raise RemoteProtocolError("they ask for parts of a snapshot and do not take them", code="flood")
        self._wanted.put_nowait(message)

    def sent(self) -> None:
        self._gone.set()

    async def _serve(self) -> None:
        while (want := await self._wanted.get()) is not None and not self._stopped:
            try:
                await self._send(want)
            except (StoreError, LocalProtocolError) as problem:
                log.warning("snapshot not served", space=self._space.name, code=problem.code, cause=str(problem))
                await self._space.snapshots.serving.end_serving(self._theirs)
                self._say(SnapshotRefuse(self._space.id, problem.code, "it cannot make a snapshot"))

    async def _send(self, want: SnapshotWant) -> None:
        serving = self._space.snapshots.serving
        if want.count == 1 and not serving.is_serving(self._theirs, want.id):
            if self._theirs not in serving.served:  # it was let go of: they asked for nothing for long
                self._say(SnapshotRefuse(self._space.id, "snapshot-gone", "it begins anew when it is asked for again"))
            return  # otherwise the rest of an attempt that has ended
        served = await serving.serve(self._theirs, want.id, want.number)
        number = want.number if served.id == want.id else 0
        for _ in range(want.count):
            part = await served.part(number)
            if part is None or self._stopped:
                return
            self._gone.clear()
            self._say(SnapshotChunk(self._space.id, served.id, number, *part))
            await self._gone.wait()
            number += 1

    # ---- theirs

    def fetch(self) -> None:
        if self._group is not None and not self.is_fetching:
            self._fetching = self._group.create_task(self._fetch(), name="snapshot in")

    @property
    def is_fetching(self) -> bool:
        """Is one of theirs asked for, as often as it takes? Until their log reaches us, or the link ends."""
        return self._fetching is not None and not self._fetching.done()

    def came(self, message: SnapshotChunk | SnapshotRefuse) -> None:
        """Raises RemoteProtocolError if more comes than was asked for."""
        if self._coming.full():
            raise RemoteProtocolError("parts of a snapshot that nobody asked for", code="flood")
        self._coming.put_nowait(message)

    async def _fetch(self) -> None:
        """Until their log reaches us, by this snapshot or otherwise."""
        snapshots = self._space.snapshots
        while not self._stopped and self._machine.phase is Phase.BEHIND:
            if patience_s := snapshots.patience_s(self._theirs):
                await asyncio.sleep(min(LOOK_S, patience_s))
                continue
            async with snapshots.fetching:
                done = self._machine.phase is not Phase.BEHIND or await self._try()
            if not done and not self._stopped:
                await asyncio.sleep(AGAIN_S)

    async def replace(self) -> bool:
        """Take in a snapshot of theirs in place of our copy; see `Snapshots.take_in`. True if that is done."""
        async with self._space.snapshots.fetching:
            return not self._stopped and await self._try(replaces=True)

    async def _try(self, *, replaces: bool = False) -> bool:
        """Nothing here is a reason to end the link: the session does without if it can, and else the next attempt may
        go better.
        """
        self._refusal, self._silent = None, False
        try:
            done = await self._take_in(replaces=replaces)
        except DiskFull as full:
            self.trouble = SnapshotTrouble(str(full), full.next_step)
            log.warning("snapshot stalled", space=self._space.name, device=short_id(self._theirs), cause=str(full))
        except (RemoteProtocolError, Fork) as problem:
            log.warning("snapshot not taken", space=self._space.name, cause=str(problem))
            self.trouble = SnapshotTrouble(
                str(problem),
                _STEPS.get(problem.code, "") if isinstance(problem, RemoteProtocolError) else _STEPS["fork"],
            )
            self._do_without()
            if isinstance(problem, Fork) and not replaces:
                self._on_fork(problem)
        else:
            self.trouble = None
            if self._silent:
                log.warning("snapshot not taken", space=self._space.name, cause=_SILENT)
                self.trouble = SnapshotTrouble(_SILENT, _STEPS["snapshot-refused"])
            if replaces:
                return done
            if self._silent:
                self._do_without()
            elif self._refusal is not None and self._refusal.code not in _PASSING:
                said = f"that device makes none: {self._refusal.text}"
                self.trouble = SnapshotTrouble(said, _STEPS.get(self._refusal.code, ""))
                self._do_without()
            return done
        return False

    def _do_without(self) -> None:
        self._perform(self._machine.without_snapshot(self._space.ours()))

    async def _take_in(self, *, replaces: bool) -> bool:
        snapshots = self._space.snapshots
        if await self._put_whole_in_place(replaces=replaces):
            return True
        begun = await snapshots.begun() or _NO_ID
        number = await snapshots.wanted(begun)
        while not self._coming.empty():
            self._coming.get_nowait()  # of an attempt that has ended
        self._say(SnapshotWant(self._space.id, begun, number, SNAPSHOT_PARTS))
        first = await self._first(begun, number)
        if first is None:
            return False
        log.info("snapshot comes", space=self._space.name, device=short_id(self._theirs))
        return await snapshots.take_in(
            first.id, self._parts(first), whole=self._machine.snapshot_stands, maker=self._theirs, replaces=replaces
        )

    async def _put_whole_in_place(self, *, replaces: bool) -> bool:
        """One that is here already, whoever made it; but what it holds is no fault of anybody else."""
        snapshots = self._space.snapshots
        is_theirs = snapshots.is_of(self._theirs)
        try:
            return await snapshots.put_whole_in_place(replaces=replaces)
        except (RemoteProtocolError, Fork) as problem:
            if is_theirs:
                raise
            log.warning("snapshot not taken", space=self._space.name, cause=str(problem))
            return False

    async def _first(self, begun: bytes, number: int) -> SnapshotChunk | None:
        """The part with which it begins or goes on; what is still on its way from an earlier attempt is passed over."""
        while isinstance(came := await self._next(), SnapshotChunk):
            if came.number == (number if came.id == begun else 0):
                return came
        return None

    async def _next(self) -> SnapshotChunk | SnapshotRefuse | None:
        try:
            async with asyncio.timeout(SILENT_S):
                came = await self._coming.get()
        except TimeoutError:
            self._silent = True
            return None
        if isinstance(came, SnapshotRefuse):
            self._refusal = came
        return came

    async def _parts(self, chunk: SnapshotChunk) -> AsyncIterator[bytes]:
        """What comes; when one is taken in, the next is asked for. Ends early if they have no more for us."""
        while True:
            yield chunk.data
            if chunk.last:
                return
            self._say(SnapshotWant(self._space.id, chunk.id, chunk.number + SNAPSHOT_PARTS))
            following = await self._next()
            if not isinstance(following, SnapshotChunk) or following.id != chunk.id:
                return
            if following.number != chunk.number + 1:
                raise RemoteProtocolError("a part of a snapshot is missing", code="order")
            chunk = following


def _end(queue: asyncio.Queue[Any]) -> None:
    """Nothing that stands in it counts any more."""
    while not queue.empty():
        queue.get_nowait()
    queue.put_nowait(None)
