"""Which members were here and when, and what each of them has: trimming, restores and people go by it.

Who is active is told by the age of this database (`core.daemon_time`), since a wall clock may jump.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from msgspec.structs import replace

from peerd.core.clocks import Clock, join
from peerd.core.stored import Address, StoredPeer
from peerd.core.trimming import ACTIVE_MS, is_active
from peerd.engine.commits import Commits
from peerd.engine.ports import Times

DAY_MS = 24 * 3600 * 1000
ADDRESSES = 8  # of a device, that the next life of this daemon is told


class Presence:
    """`peers` has all of whom anything is known; `us` is this device. `peer_known` hears that a device's name or
    addresses are new.
    """

    def __init__(
        self, us: bytes, peers: Iterable[StoredPeer], commits: Commits, times: Times, age_ms: Callable[[], int]
    ) -> None:
        self.peers = {peer.device: peer for peer in peers}
        self.peer_known: Callable[[bytes], None] = lambda _: None
        self._us = us
        self._commits = commits
        self._times = times
        self._age_ms = age_ms
        self.note_admitted(self.peers)

    def active(self) -> set[bytes]:
        """The devices of members seen within 60 days of the age of this database, and ours."""
        age_ms = self._age_ms()
        seen = {device for device, peer in self.peers.items() if peer.seen_ms and is_active(age_ms, peer.heard_ms)}
        return {device for device in self._commits.roster.members if device in seen or device == self._us}

    def was_here(self, device: bytes) -> bool:
        """Is there any sign that this member ever had a copy: it was linked with us, wrote, or let others in? That it
        had one before it was let in again is none.
        """
        peer, roster = self.peers.get(device), self._commits.roster
        if peer is not None and peer.seen_ms > 0:
            return True
        of_its_own = (origin.announcement for origin in self._commits.state.origins.values())
        spoke_under = [roster.entry(one.admission) for one in of_its_own if one.device == device]
        admissions = (roster.entry(one.admission) for one in roster.members.values() if one.admitted_by == device)
        spoke_under += [one.acting or one for one in admissions if one is not None]
        return any(one is not None and roster.is_open(one) for one in spoke_under)

    def note_seen(self, device: bytes, **changed: object) -> None:
        """Remember that a member was here, and what else is known of it."""
        before = self._of(device)
        now = {"seen_ms": self._times.wall_ms(), "heard_ms": self._age_ms()}
        peer = self.peers[device] = replace(before, **now, **changed)
        if (peer.name, peer.addresses) != (before.name, before.addresses):
            self.peer_known(device)

    def note_address(self, device: bytes, address: Address) -> None:
        """A member listens there: where it is looked for first when nothing else tells where it is."""
        before = self._of(device)
        if address not in before.addresses:
            self.peers[device] = replace(before, addresses=(address, *before.addresses)[:ADDRESSES])
            self.peer_known(device)

    def note_seen_on_relay(self, device: bytes, t_ms: int) -> None:
        """A member says on a relay that it was there at this time, by its own clock."""
        peer = self._of(device)
        seen_ms = min(t_ms, self._times.wall_ms())
        if seen_ms > peer.seen_ms:
            self.peers[device] = replace(peer, seen_ms=seen_ms, heard_ms=self._age_ms())

    def note_acks(self, device: bytes, clock: Clock, *, whole: bool = False) -> None:
        """What a member has applied, of what there is: whatever else it claims is not worth keeping. `whole`: it has no
        more than that; a copy that went back in time no longer has what its former life acknowledged.
        """
        known = {origin: seq for origin, seq in clock.items() if origin in self._commits.state.origins}
        peer = self._of(device)
        self.peers[device] = replace(peer, acks=known if whole else join(peer.acks, known))

    def note_admitted(self, staying: Collection[bytes]) -> None:
        """All members but those `staying` are new here, or were let in again: until they are seen, their time counts
        from now on, and nothing of a copy before does.
        """
        for device in self._commits.roster.members.keys() - {self._us, *staying}:
            self.peers[device] = replace(self._of(device), seen_ms=0, heard_ms=self._age_ms(), acks={})

    def begin_anew(self) -> None:
        """Another history took the place of ours: what others had acknowledged is of the one before, until they say
        what they have of this one.
        """
        self.peers = {device: replace(peer, acks={}) for device, peer in self.peers.items()}

    def grew_older(self, before_ms: int, off_ms: int) -> None:
        """The database was so old before; for `off_ms` of what came since no daemon ran. That counts like all time, but
        nobody becomes silent by it alone: a day is left to hear of whoever was about before.
        """
        age_ms = self._age_ms()
        for device, peer in self.peers.items():
            if is_active(before_ms, peer.heard_ms):
                at_least_ms = min(peer.heard_ms + max(0, off_ms), age_ms - ACTIVE_MS + DAY_MS)
                if peer.heard_ms < at_least_ms:
                    self.peers[device] = replace(peer, heard_ms=at_least_ms)

    def _of(self, device: bytes) -> StoredPeer:
        return self.peers.get(device, StoredPeer(device, heard_ms=self._age_ms()))
