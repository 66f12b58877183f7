"""What one copy of a space has applied: per origin its position, hash and context; the digest; the count of records."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from peerd.core import digest
from peerd.core.chain import first_hash
from peerd.core.clocks import Clock, Dot, ReadClock
from peerd.core.origin import Announcement


class OriginState(Struct, frozen=True):
    """How far one origin has been applied. `context` is the clock its author had at `seq`, without the own origin. Our
    log has its transactions after `horizon`.
    """

    announcement: Announcement
    seq: int
    head: bytes
    context: Clock
    horizon: int = 0


class CopyState(Struct, frozen=True):
    """Everything about a copy that a commit moves, besides the rows. A value: a failed commit leaves no trace."""

    space: bytes
    origins: dict[bytes, OriginState] = {}
    digest: bytes = digest.EMPTY
    visible: int = 0

    def seq(self, origin: bytes) -> int:
        state = self.origins.get(origin)
        return state.seq if state else 0

    def clock(self) -> Clock:
        return {origin: state.seq for origin, state in self.origins.items() if state.seq}

    def horizon(self) -> Clock:
        """What a copy must have applied to go on with our log."""
        return {origin: state.horizon for origin, state in self.origins.items() if state.horizon}

    def device_of(self, origin: bytes) -> bytes | None:
        state = self.origins.get(origin)
        return state.announcement.device if state else None

    def with_origin(self, origin: bytes, announcement: Announcement) -> CopyState:
        """The copy knowing one more origin, at position 0. Idempotent."""
        if origin in self.origins:
            return self
        head = first_hash(self.space, announcement.device, origin)
        return replace(self, origins={**self.origins, origin: OriginState(announcement, 0, head, {})})

    def with_horizon(self, horizon: ReadClock) -> CopyState:
        """The copy whose log begins there, for these origins."""
        begun = {origin: replace(self.origins[origin], horizon=seq) for origin, seq in horizon.items()}
        return replace(self, origins={**self.origins, **begun})

    def positions(self) -> list[tuple[bytes, int, bytes]]:
        """(origin, seq, 8 bytes of the hash there) of every origin that has written."""
        return [(origin, state.seq, state.head[:8]) for origin, state in self.origins.items() if state.seq]


def context_before(state: OriginState, origin: bytes, delta: ReadClock) -> Clock:
    """The context of the entry that follows `state` and names `delta`; its own origin stands one before it."""
    return {**state.context, **delta, origin: state.seq}


def dot_after(state: OriginState, origin: bytes) -> Dot:
    return Dot(origin, state.seq + 1)
