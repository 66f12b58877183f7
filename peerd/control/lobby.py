"""Everybody who is connected: how many, how much they may hold, and for how long they may say nothing.

One timer serves all connections, and only while there are any.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What strangers can grow, and where it ends."""

    connections: int = 64
    head_bytes: int = 32 << 10
    headers: int = 100
    target_bytes: int = 8 << 10
    bodies_bytes: int = 192 << 20  # all that are held at one time, at least one of the largest
    head_s: float = 10.0
    body_s: float = 60.0
    idle_s: float = 300.0
    stall_s: float = 600.0  # a reader that takes nothing
    linger_s: float = 2.0  # how long a refused sender may go on sending into the void
    heartbeat_s: float = 30.0
    tick_s: float = 5.0
    stop_s: float = 1.0


class Guest(Protocol):
    """A connection, as the lobby sees it."""

    @property
    def idle_since_s(self) -> float | None:
        """When it began to wait for a request; None if it is in the middle of one."""

    def tick(self, now_s: float) -> None:
        """Look at one's deadlines."""

    def stop(self) -> None:
        """End streams, finish the request in hand, take no other."""

    def abort(self) -> None: ...

    async def ended(self) -> None:
        """Wait until nothing is being served."""


class Lobby:
    """Counts connections and the bytes of bodies; passes time on to those who are here."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.stopping = False
        self._guests: set[Guest] = set()
        self._held_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._guests)

    @property
    def held_bytes(self) -> int:
        return self._held_bytes

    def enter(self, guest: Guest) -> bool:
        """Let a connection in; if all places are taken, the one that has been idle longest goes."""
        if self.stopping or (len(self._guests) >= self.limits.connections and not self._make_room()):
            return False
        self._guests.add(guest)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.limits.tick_s, self._tick)
        return True

    def leave(self, guest: Guest) -> None:
        self._guests.discard(guest)

    def reserve(self, size_bytes: int) -> bool:
        """Promise memory for a body; False if too much is held by others."""
        if self._held_bytes and self._held_bytes + size_bytes > self.limits.bodies_bytes:
            return False
        self._held_bytes += size_bytes
        return True

    def release(self, size_bytes: int) -> None:
        self._held_bytes -= size_bytes

    async def stop(self) -> None:
        """End everything within `stop_s`."""
        self.stopping = True
        guests = list(self._guests)
        for guest in guests:
            guest.stop()
        if guests:
            waits = [asyncio.ensure_future(guest.ended()) for guest in guests]
            _, late = await asyncio.wait(waits, timeout=self.limits.stop_s)
            for wait in late:
                wait.cancel()
        for guest in list(self._guests):
            guest.abort()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _make_room(self) -> bool:
        idle = [(since, guest) for guest in self._guests if (since := guest.idle_since_s) is not None]
        if not idle:
            return False
        guest = min(idle, key=lambda pair: pair[0])[1]
        self._guests.discard(guest)
        guest.abort()
        return True

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        for guest in list(self._guests):
            guest.tick(loop.time())
        self._timer = loop.call_later(self.limits.tick_s, self._tick) if self._guests else None
