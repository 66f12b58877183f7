"""Our own stream of segments on the relay, and when it has to begin anew.

our head is gone, or is not what we left   the segments are looked for (`doubt`): are they there, the stream goes on
a segment is there with other bytes        a new stream
a complaint that proves true               a new stream
a complaint that goes on                   a new stream, unless more and more arrives there; see `complaints`
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

from peerd.core.backoff import doubling_s
from peerd.core.clocks import Clock, ReadClock
from peerd.protocol.relay.courier_settings import DAY_S, HOUR_S, MINUTE_S
from peerd.protocol.relay.courier_steps import CheckSegments, Moment, PutSegment
from peerd.protocol.relay.coverage import Coverage, tops, union
from peerd.protocol.relay.leaving import Load
from peerd.protocol.relay.memory import Kept, Litter, Memory, throw_away
from peerd.protocol.relay.objects import Segment, first_chain, next_chain

SEGMENTS = 5_000
_CRUMB_BYTES = 64 << 10
_CHECK_NAMES = 200
_RENEW_S = (10 * MINUTE_S, DAY_S)  # between new streams: after the first, at most
_CALM_S = 7 * DAY_S  # of an undisturbed stream, and the next may be new at once again


class Told(NamedTuple):
    """What a head says of a stream."""

    next: int
    chain: bytes
    sizes: list[int]
    coverage: Coverage


class OwnStream:
    """`promised` collects what streams that were given up held, for whoever leaves it again; `since_head` counts the
    segments of which no head speaks yet.
    """

    def __init__(self, memory: Memory) -> None:
        self.promised: Clock = {}
        self.since_head = 0
        self._memory = memory
        self._load: Load | None = None
        self._coverage: Coverage | None = None
        self._to_check: list[int] = []
        self._must_renew = False
        self._insisted = False  # a person wants all to be there now

    # ---- where it stands

    @property
    def sound(self) -> bool:
        """Does nothing that is known of the relay contradict what we remember?"""
        return bool(self._memory.stream) and not self._to_check and not self._must_renew

    @property
    def coverage(self) -> Coverage:
        """What its segments hold; a run in pieces from its last piece on."""
        if self._coverage is None:
            self._coverage = union(kept.coverage for kept in self._memory.segments if not kept.more)
        return self._coverage

    @property
    def sizes(self) -> list[int]:
        return [kept.size_bytes for kept in self._memory.segments]

    def told(self) -> Told:
        """As it is on the relay."""
        memory = self._memory
        return Told(memory.next, memory.chain, self.sizes, self.coverage)

    def told_with(self, sealed: bytes) -> Told | None:
        """As it will be when the segment that is about to be put is there; None if a head said so before."""
        memory, put = self._memory, self._memory.put
        following = memory.next + 1
        if memory.in_flight is None or (put is not None and (put.stream, put.next) == (memory.stream, following)):
            return None
        covers = [kept.coverage for kept in (*memory.segments, memory.in_flight) if not kept.more]
        return Told(following, next_chain(memory.chain, sealed), [*self.sizes, len(sealed)], union(covers))

    # ---- segments

    def put(self, load: Load, *, with_head: bool) -> PutSegment:
        """`load` as our next segment."""
        memory = self._memory
        self._load = load
        memory.in_flight = Kept(0, load.coverage, load.more)
        segment = Segment(memory.chain, load.origins, load.runs, load.piece)
        return PutSegment(memory.stream, memory.next, segment, with_head)

    def put_again(self, load: Load | None) -> PutSegment | None:
        """One that was begun and is not the `load` that comes next (any more), as after a restart: its bytes may be
        there under the number that they were sealed for, so that is no other's.
        """
        memory = self._memory
        if memory.in_flight is None or (load is not None and self._load is load):
            return None
        self._load = None
        return PutSegment(memory.stream, memory.next, None)

    def segment_put(self, sealed: bytes) -> bool:
        """True: it is the load that was given to `put`, and not one from before a restart."""
        memory = self._memory
        if memory.in_flight is None:
            return False
        memory.in_flight.size_bytes, memory.in_flight.hash8 = len(sealed), _hash8(sealed)
        memory.segments.append(memory.in_flight)
        memory.chain = next_chain(memory.chain, sealed)
        memory.next += 1
        loaded = self._load is not None
        memory.in_flight = self._load = self._coverage = None
        self.since_head += 1
        return loaded

    def left(self, number: int, sealed: bytes) -> bool:
        """Are these the bytes that we left under this number, as far as we know?"""
        memory = self._memory
        if not memory.oldest <= number < memory.next:
            return True
        return memory.segments[number - memory.oldest].hash8 in {b"", _hash8(sealed)}

    @property
    def in_a_run(self) -> bool:
        """Is our last segment a piece of a run whose other pieces are yet to come?"""
        return bool(self._memory.segments) and self._memory.segments[-1].more

    @property
    def is_crumbly(self) -> bool:
        """Are there so many small segments that leaving all of it anew is worth it? A head names every one of them."""
        sizes = self.sizes
        return len(sizes) > SEGMENTS and sum(sizes) < len(sizes) * _CRUMB_BYTES

    def drop(self, count: int, from_ms: int) -> None:
        """Give up the oldest segments; they go once a head says so."""
        memory = self._memory
        litter = Litter("segment", memory.stream, memory.oldest, memory.oldest + count - 1, from_ms, memory.counter + 1)
        throw_away(memory, litter)
        del memory.segments[:count]
        memory.oldest += count
        self._coverage = None

    # ---- a new stream

    def insist(self) -> None:
        """The next new stream need not wait."""
        self._insisted = True

    def must_renew(self) -> None:
        self._must_renew = True
        self._to_check = []

    def renewals(self, moment: Moment) -> int:
        """How often the stream was new of late."""
        memory = self._memory
        return 0 if moment.wall_ms - memory.renewed_ms > _CALM_S * 1000 else memory.renewals

    def renew_at_ms(self) -> int:
        """When a new stream may begin (wall clock): not again and again, whatever the relay or a member does."""
        memory = self._memory
        if self._insisted or not memory.renewals or not (memory.segments or memory.in_flight):
            return 0
        pause_s = doubling_s(*_RENEW_S, memory.renewals - 1)
        return memory.renewed_ms + int(pause_s * 1000)

    def renews_at_ms(self, moment: Moment) -> int | None:
        """When the new stream that has to wait begins; None if none has to."""
        at_ms = self.renew_at_ms()
        return at_ms if self._must_renew and at_ms > moment.wall_ms else None

    def renew(self, moment: Moment, *, free: bool = False) -> bool:
        """Begin a new stream if that is wanted and may be; `free`: for a reason that cannot come again and again."""
        memory = self._memory
        if memory.stream and not self._must_renew and not free:
            return False
        memory.renewed_ms = min(memory.renewed_ms, moment.wall_ms)
        if moment.wall_ms - memory.renewed_ms > _CALM_S * 1000:
            memory.renewals = 0
        if memory.stream and not free and moment.wall_ms < self.renew_at_ms():
            return False
        if memory.segments or memory.in_flight:
            from_ms = moment.wall_ms + int(HOUR_S * 1000)
            throw_away(
                memory, Litter("segment", memory.stream, memory.oldest, memory.next, from_ms, memory.counter + 1)
            )
            self.promise(tops(self.coverage))
            memory.renewals += not free
            memory.renewed_ms = moment.wall_ms
        memory.stream = moment.entropy[:16]
        memory.next = memory.oldest = 1
        memory.chain = first_chain(memory.stream)
        memory.segments, memory.in_flight = [], None
        self._load = self._coverage = None
        self._must_renew, self._insisted, self._to_check = False, False, []
        return True

    def promise(self, clock: ReadClock) -> None:
        for origin, seq in clock.items():
            self.promised[origin] = max(seq, self.promised.get(origin, 0))

    # ---- doubts

    def doubt(self) -> None:
        """Our head is not what we left: are our segments?"""
        if not self._must_renew:
            self._to_check = list(range(self._memory.oldest, self._memory.next))

    def check(self) -> CheckSegments | None:
        if not self._to_check or self._must_renew:
            return None
        return CheckSegments(self._memory.stream, self._to_check[:_CHECK_NAMES])

    def checked(self, there: Sequence[int]) -> None:
        asked, self._to_check = self._to_check[:_CHECK_NAMES], self._to_check[_CHECK_NAMES:]
        if not set(asked) <= set(there):
            self.must_renew()


def _hash8(sealed: bytes) -> bytes:
    return blake2b(sealed, digest_size=8).digest()
