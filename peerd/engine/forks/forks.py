"""Forks of one space: where two copies were found to hold two histories of an origin, and which of them is ours."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from msgspec import Struct

from peerd.core.clocks import Clock, Dot, ReadClock, covers
from peerd.core.device_id import format_device_id, short_id
from peerd.core.forks import Parting, Side, side_of
from peerd.core.intents import Intent
from peerd.core.roster import compose
from peerd.core.roster.acceptance import ClosedFork
from peerd.core.tables.changes import Applied
from peerd.engine.store_ports import Transaction
from peerd.logs import get
from peerd.protocol.control.recopy import ForkView

if TYPE_CHECKING:
    from peerd.engine.space import Space

log = get(__name__)

SEEN = 100
LINK_STEP = (
    "Bring the two onto one network for a while: a link settles it by itself. Until then each keeps what it has."
)
RELAY_STEP = (
    "Keep both running where they see the relay: that settles it by itself in some minutes. Until then each keeps what "
    "it has."
)
DOUBT_STEP = (
    "Keep both running where they see the relay: that settles it by itself within two hours, and at once after "
    "`peerctl relay sync` on the one and then on the other, or on one network. Until then each keeps what it has."
)
PAST_STEP = (
    "Start another device of this space that looks at the relay: it takes that, and the two settle it. Until then "
    'nothing new is left there. If all others have met this one since: docs/recovery.md, "A fork".'
)
Position: TypeAlias = tuple[bytes, int, bytes]  # origin, seq, 8 bytes of the chain there
_NOWHERE = Side(stands=False, falls=False, unknown=False)


class ForkSeen(Struct, frozen=True):
    """`peer` and we hold different transactions of `origin` at `seq` at the latest; the hashes are of ends of runs, 8
    bytes or unknown. `shared` is the last one that both have, None as long as that is not found out. `relay`: where the
    peer's head says so, if that is all we know it by; `is_unclear`: and both have said all that they know. `doubtful`:
    nothing tells whether they differ at all.
    """

    peer: bytes
    origin: bytes
    seq: int
    ours: bytes
    theirs: bytes
    shared: int | None = None
    relay: str = ""
    is_unclear: bool = False
    doubtful: bool = False


class Differing(NamedTuple):
    """At `seq`, where another copy has an end of a run; `ours` is b"" if it is no end of ours that is kept. `doubtful`:
    our log begins behind it, so nothing tells whether the two differ.
    """

    origin: bytes
    seq: int
    ours: bytes
    theirs: bytes
    doubtful: bool


class Forks:
    """Of `space`, which is open."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._seen: dict[tuple[bytes, bytes], ForkSeen] = {}
        self.sides: dict[bytes, Side] = {}  # of closed forks, by origin: what our copy has; see `look`

    # ---- what was seen

    def saw(self, fork: ForkSeen) -> None:
        """Of so many one is remembered; they are seen again."""
        key = fork.peer, fork.origin
        if key not in self._seen:
            name, device, origin = self._space.name, short_id(fork.peer), fork.origin.hex()
            if fork.doubtful:
                log.warning("history in doubt", space=name, device=device, origin=origin, seq=fork.seq)
            else:
                cause = f"ours is {fork.ours.hex() or 'unknown'}, theirs {fork.theirs.hex() or 'unknown'}"
                log.warning("fork found", space=name, device=device, origin=origin, seq=fork.seq, cause=cause)
        self._seen[key] = fork
        while len(self._seen) > SEEN:
            del self._seen[next(iter(self._seen))]

    def parted(self, peer: bytes, parting: Parting, relay: str = "") -> None:
        """It is known where."""
        ours, theirs = parting.ours, parting.theirs
        at = min(ours.seq, theirs.seq)
        self.saw(ForkSeen(peer, parting.origin, at, ours.hash, theirs.hash, parting.seq, relay))

    def healed(self, peer: bytes) -> None:
        """They and we agree: a session found no fork."""
        for key in [key for key in self._seen if key[0] == peer]:
            del self._seen[key]

    def begin_anew(self) -> None:
        """Our copy is another one: what was seen with others was seen of the one before."""
        self._forget(set(self._space.roster.members))

    def forget_who_left(self) -> None:
        self._forget({peer for peer, _ in self._seen} - self._space.roster.members.keys())

    def _forget(self, devices: Collection[bytes]) -> None:
        """But not what an earlier life of this device left on a relay."""
        for key in [key for key in self._seen if key[0] in devices and key[0] != self._space.device]:
            del self._seen[key]

    @property
    def are_seen(self) -> bool:
        return bool(self._seen)

    async def differing(self, positions: Sequence[Position]) -> Differing | None:
        """The first of these ends of runs that is not of our history, or of which nothing here tells that it is."""

        def compare(transaction: Transaction) -> Differing | None:
            for origin, seq, hash8 in positions:
                history, ours = transaction.history_of(origin), transaction.hash8(origin, seq)
                # Runs travel whole: an end inside one of ours is of another history.
                differs = history.passes(seq) if ours is None else ours != hash8
                if differs or self.is_of_others(transaction, origin, seq):
                    return Differing(origin, seq, ours or b"", hash8, doubtful=False)
                if ours is None and not history.reaches(seq):
                    return Differing(origin, seq, b"", hash8, doubtful=True)
            return None

        return await self._space.store.read(compare)

    async def known(self, positions: Sequence[Position]) -> Clock:
        """So far a copy that stands there is known to hold our history of each origin."""

        def compare(transaction: Transaction) -> Clock:
            found: Clock = {}
            for origin, seq, hash8 in positions:
                at = self._space.copy.seq(origin)
                if seq > at or transaction.history_of(origin).hash8(seq) == hash8:
                    found[origin] = min(seq, at)
            return found

        return await self._space.store.read(compare)

    async def heard_on_relay(
        self, relay: str, peer: bytes, positions: Sequence[Position], talked: Collection[bytes] = ()
    ) -> None:
        """So far is a member, as its head on this relay says. What a session found out is known better; of the origins
        `talked` it has said more than that.
        """
        found = await self.differing(positions)
        if found is not None and found.doubtful and self._has_ours(peer, found):
            found = None
        for key in [key for key, fork in self._seen.items() if key[0] == peer and fork.relay == relay]:
            if key[1] not in talked and (found is None or key[1] != found.origin):
                del self._seen[key]
        if found is not None:
            origin, seq, ours, theirs, doubtful = found
            known = self._seen.get((peer, origin))
            if known is None or (known.relay and known.shared is None and not known.is_unclear):
                self.saw(ForkSeen(peer, origin, seq, ours, theirs, relay=relay, doubtful=doubtful))

    async def agreed_since(self, peer: bytes, origins: Collection[bytes], positions: Sequence[Position]) -> None:
        """So far is a member, as a head says that is newer than what was seen of it in these origins. Where it has our
        history by now nothing differs any more, wherever that was seen.
        """
        seen = {origin: self._seen[peer, origin].seq for origin in origins if (peer, origin) in self._seen}
        behind = [one for one in positions if one[1] >= seen.get(one[0], one[1] + 1)]
        if behind:
            ours = await self._space.store.read(lambda at: {one[0]: at.hash8(one[0], one[1]) for one in behind})
            for origin, _, hash8 in behind:
                if ours[origin] == hash8:
                    self._seen.pop((peer, origin), None)

    def _has_ours(self, peer: bytes, there: Differing) -> bool:
        """Has it said on a link, where it and we agreed, that it has this of our history?"""
        known = self._space.presence.peers.get(peer)
        return known is not None and covers(known.acks, (there.origin, there.seq))

    def forget_on_relay(self, relay: str, peer: bytes, origins: Collection[bytes] | None = None) -> None:
        """Nothing differs there any more, of these origins or of any."""
        for key in [key for key, fork in self._seen.items() if key[0] == peer and fork.relay == relay]:
            if origins is None or key[1] in origins:
                del self._seen[key]

    def on_relay(self, peer: bytes) -> tuple[str, str] | None:
        """What differs with a member as its head on a relay says, in words, and what to do."""
        fork = self.with_peer(peer)
        if fork is None or not fork.relay:
            return None
        return self.in_words(fork), LINK_STEP if self._both_fall(fork) else step_of(fork)

    def _both_fall(self, fork: ForkSeen) -> bool:
        """Through a relay only what stands is taken."""
        stand = {closed.stands.hash for closed in self._space.roster.forks(fork.origin)}
        falls = self.sides.get(fork.origin, _NOWHERE).falls
        return falls and fork.shared is not None and fork.theirs not in stand

    def apart_on(self, relay: str) -> list[Position]:
        """The ends of ours where heads on this relay are of another history."""
        return sorted({(fork.origin, fork.seq, fork.ours) for fork in self.seen_on(relay) if fork.ours})

    def seen(self) -> list[ForkSeen]:
        """All of them, wherever."""
        return list(self._seen.values())

    def seen_on(self, relay: str) -> list[ForkSeen]:
        return [fork for fork in self._seen.values() if fork.relay == relay]

    def in_words(self, fork: ForkSeen) -> str:
        """What differs, or may differ, and whose it is."""
        owner = self._space.copy.device_of(fork.origin)
        called = (self._space.name_of(owner) or short_id(owner)) if owner else "an unknown device"
        if fork.doubtful:
            place = f"origin {fork.origin.hex()}, {fork.seq}"
            return f"perhaps two histories of {called}: the log of that time is gone ({place})"
        since = f"after {fork.shared}" if fork.shared is not None else f"at {fork.seq}"
        hashes = f"ours {fork.ours.hex() or '?'}, theirs {fork.theirs.hex() or '?'}"
        return f"two histories of {called} {since} (origin {fork.origin.hex()}: {hashes})"

    def with_peer(self, peer: bytes) -> ForkSeen | None:
        return next((fork for fork in self._seen.values() if fork.peer == peer), None)

    def views(self) -> list[ForkView]:
        found = []
        for fork in self._seen.values():
            owner = self._space.copy.device_of(fork.origin)
            side = self.sides.get(fork.origin, _NOWHERE)
            found.append(
                ForkView(
                    origin=fork.origin.hex(),
                    device=format_device_id(owner) if owner else "",
                    device_name=self._space.name_of(owner) if owner else "",
                    seq=fork.seq,
                    shared=fork.shared,
                    ours=fork.ours.hex(),
                    theirs=fork.theirs.hex(),
                    peer=format_device_id(fork.peer),
                    peer_name=self._space.name_of(fork.peer),
                    stands="ours" if side.stands else "theirs" if side.falls else "",
                )
            )
        return found

    # ---- what is settled

    async def close(self, parting: Parting) -> None:
        """State where it parted, and so which variant stands, unless that is in the roster. Raises StoreError."""
        roster, keys = self._space.roster, self._space.keys
        ends = {parting.ours, parting.theirs}
        for fork in roster.forks(parting.origin):
            if fork.seq == parting.seq and ends <= {fork.stands, *fork.falls}:
                return
        if not roster.is_member(keys.device):
            return
        last = parting.origin, parting.seq, parting.hash
        statement = compose.signed(compose.close(roster, keys.device, last, tuple(ends)), keys.sign)
        if await self._space.learn([statement]):
            log.warning("fork closed", space=self._space.name, origin=parting.origin.hex(), seq=parting.seq)

    async def look(self) -> bool:
        """Find out what our copy has of each closed fork. Is there one of which it holds a variant that falls?"""
        looked_at: Sequence[ClosedFork] = ()

        def looking(transaction: Transaction) -> dict[bytes, Side]:
            found: dict[bytes, Side] = {}
            for fork in looked_at:
                seq = self._space.copy.seq(fork.origin)
                side = side_of(fork, seq, transaction.history_of(fork.origin))
                if fork.origin not in found or side.falls:
                    found[fork.origin] = side
            return found

        while looked_at != (forks := self._space.roster.closed_forks):  # another one may be heard of meanwhile
            looked_at = forks
            self.sides = await self._space.store.read(looking)
        if not looked_at:
            self.sides = {}
        return self.falls

    def is_of_others(self, transaction: Transaction, origin: bytes, seq: int) -> bool:
        """A copy ends within the run that a close lets stand. Is that run in ours, so that theirs is another one?"""
        history, ours = transaction.history_of(origin), self._space.copy.seq(origin)
        return any(
            fork.seq < seq < fork.stands.seq and side_of(fork, ours, history).stands
            for fork in self._space.roster.forks(origin)
        )

    @property
    def falls(self) -> bool:
        return any(side.falls for side in self.sides.values())

    def reread(self, intents: Sequence[Intent], shown: Applied | None) -> list[Intent]:
        """What an application did to a file that shows so much. If that was another copy than ours is now, a dot may
        have meant another transaction there: behind a parting nothing here counts as seen.
        """
        limits = self.limits()
        if not limits or shown is None or shown.copy_id == self._space.copy_id:
            return list(intents)
        return [
            one._replace(seen=frozenset(dot for dot in one.seen or () if _is_common(dot, limits))) for one in intents
        ]

    def places(self) -> list[Clock]:
        """Where closed forks part and their variants begin: the ends by which a copy knows which one it holds."""
        forks = self._space.roster.closed_forks
        return [
            {fork.origin: seq}
            for fork in forks
            for seq in (fork.seq, fork.stands.seq, *(end.seq for end in fork.falls))
            if seq
        ]

    def limits(self) -> dict[bytes, int]:
        """The seqs after which origins went two ways."""
        found: dict[bytes, int] = {}
        for fork in self._space.roster.closed_forks:
            found[fork.origin] = min(fork.seq, found.get(fork.origin, fork.seq))
        return found


def step_of(fork: ForkSeen) -> str:
    """What a person does about one that is known from a relay alone."""
    if fork.doubtful:
        return DOUBT_STEP
    return LINK_STEP if fork.is_unclear else RELAY_STEP


def _is_common(dot: Dot, limits: ReadClock) -> bool:
    return dot.seq <= limits.get(dot.origin, dot.seq)
