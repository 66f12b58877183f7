"""Who holds the log back: members and relays, by what each is known to have."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from peerd.core.clocks import Clock, join
from peerd.core.stored import StoredPeer
from peerd.core.trimming import ACTIVE_MS, is_active
from peerd.engine.relay.relays import Holding, SeenThere
from peerd.engine.space import Space


class Holder(Struct, frozen=True):
    """A member or a relay (then `device` is None). `clock` is what it has, as far as is known; one that does not count
    holds nothing back. `silent_ms`: for how long nothing was heard of it, or it has failed.
    """

    device: bytes | None
    relay: str
    clock: Clock
    counts: bool
    silent_ms: int


class Holders:
    """`holdings` and `seen` ask the relays: what they hold of a space, and where a member was last seen there."""

    def __init__(self) -> None:
        self.holdings: Callable[[Space], Sequence[Holding]] = lambda _: ()
        self.seen: Callable[[Space, bytes], SeenThere | None] = lambda _space, _device: None

    def of(self, space: Space) -> list[Holder]:
        """All other members, and the relays."""
        members = [self._member(space, device) for device in space.roster.members if device != space.device]
        return members + [
            Holder(None, one.relay, one.clock, one.failing_s * 1000 < ACTIVE_MS, int(one.failing_s * 1000))
            for one in self.holdings(space)
        ]

    def _member(self, space: Space, device: bytes) -> Holder:
        peer = space.presence.peers.get(device, StoredPeer(device, heard_ms=space.age.ms))
        seen = self.seen(space, device)
        clock = peer.acks if seen is None else join(peer.acks, seen.clock)
        silent_ms = space.age.ms - peer.heard_ms
        return Holder(device, "", clock, is_active(space.age.ms, peer.heard_ms), silent_ms)
