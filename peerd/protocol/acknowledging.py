"""What we have told the other side of a session that our copy has applied. A pure machine."""

from __future__ import annotations

from peerd.core import digest
from peerd.core.clocks import Clock, ReadClock
from peerd.core.copy import CopyState
from peerd.protocol.messages import Ack


class Acknowledging:
    def __init__(self, space: bytes) -> None:
        self._space = space
        self._told: Clock = {}

    def told(self, clock: Clock) -> None:
        """In a SUMMARY."""
        self._told = clock

    def news(self, copy: CopyState) -> list[Ack]:
        """What has moved since; none if nothing has."""
        clock = copy.clock()
        news = {origin: seq for origin, seq in clock.items() if seq > self._told.get(origin, 0)}
        if not news:
            return []
        self._told = clock
        return [Ack(self._space, news, digest.summary(copy.digest))]

    def is_news(self, clock: ReadClock, copy: CopyState, sent: ReadClock) -> bool:
        """Do they speak of what we have too and never told, nor `sent`, because they had it from somebody else? It may
        even be our own: whoever brought it to them spared us sending it.
        """
        mine = copy.clock()
        return any(
            min(seq, mine.get(origin, 0)) > max(self._told.get(origin, 0), sent.get(origin, 0))
            for origin, seq in clock.items()
        )
