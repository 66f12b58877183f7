"""What members left on relays, as another member would read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from peerd.core.clocks import Clock, includes
from peerd.errors import RemoteProtocolError
from peerd.protocol.relay import objects as relay_objects
from peerd.protocol.relay.objects import Covers, Head
from tests.network_simulation.device import Device
from tests.network_simulation.relay import SimRelay


class HeadThere(NamedTuple):
    relay: SimRelay
    member: Device
    head: Head
    whole: bool  # the segments that it tells of are there: head and segment go in one request, and one may fail alone


def heads_there(space: bytes, members: Sequence[Device], relays: Sequence[SimRelay]) -> Iterator[HeadThere]:
    """The members' heads on relays that always kept what they were given."""
    reader = next((one for one in members if one.now is not None and one.now.is_started), None)
    for relay in relays:
        runner = reader.running.relays._runners.get((relay.name, space)) if reader is not None else None
        if runner is None or relay.harmed:
            continue
        sealed = runner._sealed
        for member in members:
            name = sealed._head_name(member.id)
            kept = relay.objects.get(name)
            if kept is None:
                continue
            with suppress(RemoteProtocolError):  # sealed before the reader was a member, or after
                signed = sealed._sealing.open_head(name, kept.data, space, sealed._space_keys.opening())
                head = relay_objects.decode_head(signed.data)
                told = (sealed._segment_name(head.stream, number) for number in range(head.oldest, head.next))
                yield HeadThere(relay, member, head, all(one in relay.objects for one in told))


def left_on_relays(space: bytes, members: Sequence[Device], relays: Sequence[SimRelay]) -> list[Covers]:
    """The transactions that the members' heads claim to hold, as far as their segments bear that out."""
    found: list[Covers] = []
    for _, _, head, whole in heads_there(space, members, relays):
        if whole:
            found.append(head.covers)
        if head.snapshot is not None:
            found.append({origin: [(1, seq)] for origin, seq in head.snapshot.clock.items()})
    return found


class Watch:
    """Looks at heads again and again: does a stream give up what the copy of a member that counts does not have?
    Whoever was away for months counts no more, and counts again once heard of; so none does that was away at a look
    since the stream gave something up.
    """

    def __init__(self) -> None:
        self._before: dict[tuple[str, bytes, bytes], Head] = {}
        self._away: dict[tuple[str, bytes, bytes], set[bytes]] = {}

    def given_up(self, space: bytes, members: Sequence[Device], relays: Sequence[SimRelay]) -> Iterator[str]:
        """A sentence for each member whom a stream left behind since the last look."""
        for relay, member, head, _ in heads_there(space, members, relays):
            place = relay.name, space, member.id
            before = self._before.get(place)
            self._before[place] = head
            if member.now is None or space not in member.now.spaces.by_id:
                continue
            active = member.now.spaces.by_id[space].presence.active()
            away = self._away.setdefault(place, set())
            away.update(other.id for other in members if other.id not in active)
            if before is None or before.stream != head.stream or before.oldest == head.oldest:
                continue
            del self._away[place]
            gone = _gone(before, head)
            for other in members:
                if other.id not in away and not includes(other.clock_now(space), gone):
                    yield f"{member.name} gave up on {relay.name} what {other.name} does not have"


def _gone(before: Head, after: Head) -> Clock:
    """How far that goes which only the one before covers; not what lies between two of its intervals."""
    gone: Clock = {}
    for origin, intervals in before.covers.items():
        begins = after.covers[origin][0][0] if origin in after.covers else intervals[-1][1] + 1
        if given_up := [min(last, begins - 1) for first, last in intervals if first < begins]:
            gone[origin] = given_up[-1]
    return gone
