"""Forks that are seen on a relay: heads say what two devices tell each other on a link, look by look.

| we                               | the other                | what happens                                        |
|----------------------------------|--------------------------|-----------------------------------------------------|
| see another history in its head  | sees ours, or is told so | both heads tell ends of runs until the place is known |
| know the place                   | likewise                 | one close, or two alike, in the roster              |
| hold what falls                  | holds what stands        | its snapshot in place of ours, then what only we had |
| hold what stands                 | holds what falls         | we leave a snapshot                                 |

There is room for some such talks. Those who left their heads and are away must not take it from those who are here: one
that was never answered gives way to a device that talks to us, or that has left a head since.

What an earlier life of this device left, and our copy cannot take, stays until somebody else has taken it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from peerd.core.clocks import Clock
from peerd.core.forks import RunEnd, Search, Told
from peerd.engine.forks.forks import ForkSeen
from peerd.logs import get
from peerd.protocol.relay.objects import TALK_ENDS, TALKS, Head, Talk

if TYPE_CHECKING:
    from peerd.engine.space import Space

log = get(__name__)

Key: TypeAlias = tuple[bytes, bytes]  # peer, origin


class RelayForkTalk:
    """Of one space on one relay. Its methods raise StoreError."""

    def __init__(self, space: Space, relay: str) -> None:
        self._space = space
        self.relay = relay
        self._searches: dict[Key, Search] = {}
        self._told: dict[Key, Told] = {}
        self._heard: dict[Key, Talk] = {}
        self._counters: dict[bytes, int] = {}  # of the heads that were fetched last
        self._moves: Counter[bytes] = Counter()  # so often another one came
        self._since: dict[Key, int] = {}  # how often it had when the search began
        self._here: frozenset[bytes] = frozenset()  # members whose heads were here
        self._apart: set[bytes] = set()  # with whom something differed, wherever that was seen
        self._old: dict[Key, int] = {}  # of forks that were seen elsewhere: the number of the head that was here then
        self._copy_id = space.copy_id

    # ---- what our head says, and what is to be done

    @property
    def talk(self) -> list[Talk]:
        """For our head."""
        return [
            Talk(peer, origin, told.after, [(end.first, end.last, end.hash8) for end in told.ends], told.whole)
            for (peer, origin), told in sorted(self._told.items())[:TALKS]
        ]

    @property
    def strangers(self) -> frozenset[bytes]:
        """Who left a head here and holds another history than ours, wherever that was seen."""
        return frozenset(fork.peer for fork in self._space.forks.seen() if not fork.doubtful) & self._here

    @property
    def falls(self) -> Clock:
        """Where what stands goes on, of the origins of which ours falls."""
        return self._stands(origin for origin, side in self._space.forks.sides.items() if side.falls)

    @property
    def wanted(self) -> Clock:
        """The same, of the origins of which ours stands and a stranger's does not; and how far one must go that ends a
        doubt: whoever is in doubt with us and less far goes over.
        """
        forks, copy = self._space.forks, self._space.copy
        seen = [fork for fork in forks.seen() if fork.peer in self._here]
        doubts = {fork.origin: fork.seq + 1 for fork in seen if fork.doubtful and copy.seq(fork.origin) > fork.seq}
        stand = {one.origin for one in seen if one.origin in forks.sides and forks.sides[one.origin].stands}
        return doubts | self._stands(stand)

    def _stands(self, origins: Iterable[bytes]) -> Clock:
        roster = self._space.roster
        return {origin: max(fork.stands.seq for fork in roster.forks(origin)) for origin in origins}

    # ---- what others say

    async def consider(self, heads: Mapping[bytes, Head]) -> set[bytes]:
        """These heads of members were fetched. Gives with whom something differed, or was in doubt, and no more is."""
        before = self._apart | {fork.peer for fork in self._space.forks.seen()}
        if self._copy_id != self._space.copy_id:  # whatever was said was said of another copy
            self._copy_id = self._space.copy_id
            for some in (self._searches, self._told, self._heard, self._since):
                some.clear()
        others = {device: head for device, head in heads.items() if device != self._space.device}
        self._here |= others.keys()
        self._note_old(others)
        self._note_moves(others)
        for device, head in others.items():
            await self._listen(device, head)
        if self._space.roster.closed_forks:
            await self._space.forks.look()
        self._apart = {fork.peer for fork in self._space.forks.seen()}
        return before - self._apart

    async def _listen(self, peer: bytes, head: Head) -> None:
        forks, copy = self._space.forks, self._space.copy
        talks = [one for one in head.talk if one.peer == self._space.device and one.origin in copy.origins]
        talked = {one.origin for one in talks if self._differs((peer, one.origin))}
        since = {origin for (one, origin), counter in self._old.items() if one == peer and counter != head.counter}
        await forks.agreed_since(peer, since, head.positions)
        await forks.heard_on_relay(self.relay, peer, [*head.positions, *head.apart], talked)
        seen = {
            fork.origin
            for fork in forks.seen()
            if fork.peer == peer and not fork.doubtful and (fork.relay == self.relay or fork.shared is None)
        }
        for origin in seen:
            await self._begin((peer, origin))
        for talk in talks:
            await self._begin((peer, talk.origin), talks=True)
            if self._heard.get((peer, talk.origin)) != talk:
                await self._hear(peer, talk)
        told = {one.origin for one in talks}
        for key in [key for key in self._searches if key[0] == peer and key[1] not in seen]:
            if key[1] not in told or (self._searches[key].is_over and not self._differs(key)):
                self._forget(key)

    def _differs(self, key: Key) -> bool:
        search = self._searches.get(key)
        return search is not None and search.differs is not None

    def _forget(self, key: Key) -> None:
        for some in (self._searches, self._told, self._heard, self._since):
            some.pop(key, None)

    def _note_old(self, heads: Mapping[bytes, Head]) -> None:
        """What was found out elsewhere is newer than a head that was here before; so may it be at our first look."""
        counters = self._counters or {device: head.counter for device, head in heads.items()}
        keys = {(fork.peer, fork.origin) for fork in self._space.forks.seen() if fork.relay != self.relay}
        self._old = {key: self._old.get(key, counters.get(key[0], 0)) for key in keys}

    def _note_moves(self, heads: Mapping[bytes, Head]) -> None:
        """Who left a head since our first look is not away for good."""
        is_first = not self._counters
        for device, head in heads.items():
            known = self._counters.get(device)
            self._moves[device] += known != head.counter if known is not None else not is_first
            self._counters[device] = head.counter

    async def _begin(self, key: Key, *, talks: bool = False) -> None:
        """`talks`: it talks to us about that."""
        if key in self._searches:
            return
        if len(self._searches) >= TALKS:
            self._make_room(key[0], talks=talks)
        if len(self._searches) < TALKS:
            search = self._searches[key] = Search(key[1], TALK_ENDS)
            self._since[key] = self._moves[key[0]]
            self._told[key] = await self._space.store.read(lambda at: search.tell(at.history_of(key[1])))

    def _make_room(self, peer: bytes, *, talks: bool) -> None:
        """For one search with each device: whoever has any number of histories to talk about gets no more."""
        if any(one == peer for one, _ in self._searches) or not (talks or self._moves[peer]):
            return
        unanswered = [key for key in self._searches if key not in self._heard]
        away = [key for key in unanswered if self._moves[key[0]] == self._since[key]]
        for key in (away or (unanswered if talks else []))[:1]:
            self._forget(key)

    async def _hear(self, peer: bytes, talk: Talk) -> None:
        key = peer, talk.origin
        search = self._searches.get(key)
        if search is None:
            return
        self._heard[key] = talk
        told = Told(talk.after, [RunEnd(*end) for end in talk.ends], talk.whole)
        answer = await self._space.store.read(lambda at: search.heard(told, at.history_of(talk.origin)))
        if answer is not None:
            self._told[key] = answer
        forks = self._space.forks
        if search.parting is not None:
            forks.parted(peer, search.parting, self.relay)
            await forks.close(search.parting)
        elif search.differs is not None:
            seen = ForkSeen(peer, talk.origin, *search.differs, relay=self.relay, is_unclear=search.is_over)
            forks.saw(seen)

    # ---- an earlier life of ours

    async def compare_former(self, former: Head | None) -> bool:
        """Is what it left here of another history than our copy is by now?"""
        forks, ours = self._space.forks, self._space.device
        if former is None:
            return False
        found = await forks.differing(former.positions)
        if found is None or found.doubtful:
            return False
        forks.saw(ForkSeen(ours, found.origin, found.seq, found.ours, found.theirs, relay=self.relay))
        return True

    @property
    def holds_past(self) -> bool:
        """Does something of an earlier life lie there that our copy cannot take, and nobody else has?"""
        return any(fork.peer == self._space.device for fork in self._space.forks.seen_on(self.relay))

    def former_is_gone(self) -> None:
        """A head that we wrote ourselves is in its place."""
        self._space.forks.forget_on_relay(self.relay, self._space.device)

    def former_refused(self, former: Head) -> None:
        """What it left does not fit to our copy, which is not as far as that."""
        space = self._space
        for origin, seq, theirs in former.positions:
            at = space.copy.origins.get(origin)
            if at is not None and at.announcement.device == space.device and seq > at.seq:
                space.forks.saw(ForkSeen(space.device, origin, at.seq, at.head[:8], theirs, relay=self.relay))
