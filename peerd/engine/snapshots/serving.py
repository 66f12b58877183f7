"""Snapshots of our copy, made for others: several at once, each read as far as it is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from peerd.core.clocks import ReadClock
from peerd.core.trimming import standing_at
from peerd.engine.ports import Times
from peerd.engine.snapshots.making import Outgoing, Served
from peerd.engine.snapshots.ports import SnapshotStore
from peerd.errors import StoreError

if TYPE_CHECKING:
    from peerd.engine.space import Space

SERVED = 4  # devices at once
SILENT_S = 60.0  # whoever asks for nothing for so long makes way


class Serving:
    """Of `space`, which is open. `outgoing` are all that are being made, `served` those that a device asks for."""

    def __init__(self, space: Space, store: SnapshotStore, times: Times) -> None:
        self.outgoing: set[Outgoing] = set()
        self.served: dict[bytes, Served] = {}
        self._space = space
        self._store = store
        self._times = times

    async def close(self) -> None:
        for device in list(self.served):
            await self.end_serving(device)

    def begin_outgoing(self, clocks: Iterable[ReadClock] = ()) -> Outgoing:
        """A snapshot of our copy; its `parts` are read as they are asked for. It tells what we had where others stand,
        as far as they have said that to us, or elsewhere: `clocks`.
        """
        standing = standing_at([*(peer.acks for peer in self._space.presence.peers.values()), *clocks])
        return Outgoing(self._space, self._store, self.outgoing, standing)

    def pinned(self) -> int | None:
        """The position in the log after which nothing may be trimmed, for those that are being made."""
        return min((one.position or 0 for one in self.outgoing), default=None)

    async def serve(self, device: bytes, snapshot: bytes, number: int) -> Served:
        """What a device is being served: the snapshot that it names, if that can go on with this part, else another.
        Whoever has not asked for a minute makes way; nobody else does, since none would ever be whole.

        Raises:
            StoreError: "snapshot-busy", so many take one in already.
        """
        served = self.served.pop(device, None)
        if served is not None and (served.id != snapshot or not served.has(number)):
            await served.close()
            served = None
        now_s = self._times.monotonic_s()
        if served is None:
            await self._make_way(now_s)
            served = Served(self._times.random_bytes(16), self.begin_outgoing())
        served.asked_s = now_s
        self.served[device] = served
        return served

    async def _make_way(self, now_s: float) -> None:
        for device, one in list(self.served.items()):
            if len(self.served) < SERVED:
                return
            if not _goes_on(one, now_s):
                await self.end_serving(device)
        if len(self.served) >= SERVED:
            raise StoreError(
                f"{SERVED} devices take in a snapshot from here already",
                code="snapshot-busy",
                next_step="It is asked for again by itself.",
            )

    def is_sending(self, device: bytes) -> bool:
        """Has it asked for a part in the last minute, with more to come? It may have got another one elsewhere."""
        served = self.served.get(device)
        return served is not None and _goes_on(served, self._times.monotonic_s())

    def is_serving(self, device: bytes, snapshot: bytes) -> bool:
        served = self.served.get(device)
        return served is not None and served.id == snapshot

    async def end_serving(self, device: bytes) -> None:
        served = self.served.pop(device, None)
        if served is not None:
            await served.close()

    async def forget_abandoned(self) -> None:
        """Those that nobody asked for since the last time."""
        for device, served in list(self.served.items()):
            if not served.was_asked:
                await self.end_serving(device)
            served.was_asked = False


def _goes_on(served: Served, now_s: float) -> bool:
    return served.goes_on and now_s - served.asked_s <= SILENT_S
