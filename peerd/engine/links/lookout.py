"""Between discovery and the rest: who may be behind a sighting, and what we let others see of us.

A sighting is a hint. One that carries a tag of a member is handed to dialling; one with an open pairing window waits
here for somebody who joins.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol

from peerd.core.stored import Address
from peerd.core.tags import MAX_TAGS, Announcement, make_tag, recognise
from peerd.engine.links.dialing import Dialing
from peerd.engine.members.inviting import Inviting
from peerd.engine.ports import Keys, Times
from peerd.engine.space import Space
from peerd.engine.spaces import Spaces
from peerd.logs import get

log = get(__name__)

SIGHTINGS = 64
LOOK_S = 6.0


class Sighting(Protocol):
    """What discovery says."""

    @property
    def instance(self) -> str: ...
    @property
    def addresses(self) -> tuple[Address, ...]: ...
    @property
    def nonce(self) -> bytes: ...
    @property
    def tags(self) -> tuple[bytes, ...]: ...
    @property
    def pairing_name(self) -> str | None: ...


class Lookout:
    """`announce(tags_for, pairing_name)` is discovery's; until it is set nothing is announced."""

    def __init__(
        self,
        spaces: Spaces,
        dialing: Dialing,
        inviting: Inviting,
        keys: Keys,
        times: Times,
        device_name: Callable[[], str],
    ) -> None:
        self.announce: Callable[[Callable[[bytes], list[bytes]], str | None], Awaitable[None]] | None = None
        self._spaces = spaces
        self._dialing = dialing
        self._inviting = inviting
        self._keys = keys
        self._times = times
        self._device_name = device_name
        self._sightings: dict[str, Sighting] = {}
        self._seen = asyncio.Event()
        self._keys_of: dict[bytes, tuple[bytes, list[bytes]]] = {}  # space -> (roster's digest, discovery keys)
        self._task: asyncio.Task[None] | None = None
        self._again = False

    # ---- what we see

    def on_sighting(self, sighting: Sighting) -> bool:
        """True if it comes from a member."""
        self._sightings.pop(sighting.instance, None)
        self._sightings[sighting.instance] = sighting
        while len(self._sightings) > SIGHTINGS:
            del self._sightings[next(iter(self._sightings))]
        self._seen.set()
        return self._look_at(sighting)

    def on_gone(self, instance: str) -> None:
        self._sightings.pop(instance, None)

    def look_again(self) -> None:
        """The members have changed."""
        for sighting in list(self._sightings.values()):
            self._look_at(sighting)

    def _look_at(self, sighting: Sighting) -> bool:
        found = recognise(Announcement(sighting.nonce, sighting.tags), self._candidates())
        for device in dict.fromkeys(device for device, _ in found):
            self._dialing.sighted(device, sighting.addresses)
        return bool(found)

    def _candidates(self) -> list[tuple[bytes, bytes, bytes]]:
        return [
            (device, space.id, key)
            for space in self._spaces.by_id.values()
            for key in self._discovery_keys(space)
            for device in space.roster.members
            if device != self._keys.device
        ]

    def _discovery_keys(self, space: Space) -> list[bytes]:
        digest = space.roster.digest()
        known = self._keys_of.get(space.id)
        if known is None or known[0] != digest:
            known = self._keys_of[space.id] = digest, self._spaces.discovery_keys(space)
        return known[1]

    async def pairing_windows(self) -> AsyncGenerator[tuple[Address, ...], None]:
        """Where a window is open, each once; waits some seconds for more."""
        async for addresses in self._one_by_one(lambda sighting: sighting.pairing_name is not None):
            yield addresses

    async def everybody(self) -> AsyncGenerator[tuple[Address, ...], None]:
        """Whoever is in sight, each once; waits some seconds for more."""
        async for addresses in self._one_by_one(lambda _: True):
            yield addresses

    async def _one_by_one(self, wanted: Callable[[Sighting], bool]) -> AsyncGenerator[tuple[Address, ...], None]:
        told: set[bytes] = set()
        until_s = self._times.monotonic_s() + LOOK_S
        while True:
            self._seen.clear()
            fresh = [one for one in self._sightings.values() if wanted(one) and one.nonce not in told]
            for sighting in fresh:
                told.add(sighting.nonce)
                yield sighting.addresses
            if fresh:
                continue
            try:
                async with asyncio.timeout(max(0.0, until_s - self._times.monotonic_s())):
                    await self._seen.wait()
            except TimeoutError:
                return

    # ---- what others see

    def show(self) -> None:
        """Announce us as things are now: spaces, secrets, pairing window. Changes in quick succession become one."""
        self._again = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._show(), name="announce")

    async def _show(self) -> None:
        while self._again:
            self._again = False
            if self.announce is not None:
                name = self._device_name() if self._inviting.open is not None else None
                await self.announce(self._tags_for, name)

    def _tags_for(self, nonce: bytes) -> list[bytes]:
        spaces = [one for one in self._spaces.by_id.values() if one.roster.is_member(self._keys.device)]
        newest = [key for space in spaces for key in self._discovery_keys(space)[:1]]
        older = [key for space in spaces for key in self._discovery_keys(space)[1:]]
        return [make_tag(key, nonce, self._keys.device) for key in (*newest, *older)][:MAX_TAGS]

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
