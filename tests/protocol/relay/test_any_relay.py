"""A courier before a relay, members and a door that say anything at all, in the right shape: it never fails, what it
remembers stays small and readable, and it goes on sleeping. If they say the same for long, it does not ask in vain
again and again.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from peerd.core.chain import Run
from peerd.core.origin import Announcement, origin_of
from peerd.core.stored import LogRow
from peerd.protocol.relay import memory as relay_memory
from peerd.protocol.relay.courier import Courier
from peerd.protocol.relay.courier_settings import CourierSettings
from peerd.protocol.relay.courier_steps import (
    Apply,
    CheckSegments,
    CheckSnapshot,
    Damage,
    Delete,
    FetchHeads,
    FetchSegments,
    LeaveFarewell,
    MakeSnapshot,
    MendRoster,
    Moment,
    Poll,
    PutHead,
    PutSegment,
    ReadLog,
    SeenHead,
    SeenSegment,
    SegmentName,
    Sleep,
    Standing,
    Step,
    TakeSnapshot,
)
from peerd.protocol.relay.objects import Head, Manifest, Piece, Segment, Talk

STEPS = 80
MEMORY_BYTES = 300_000
SPACE = b"a space".ljust(16, b"!")
DEVICES = [bytes([n]) * 32 for n in range(1, 5)]  # the first is ours, the last no member
US, MEMBERS = DEVICES[0], frozenset(DEVICES[1:3])
ANNOUNCED = [Announcement(device, b"admission number", bytes(16)) for device in DEVICES]
ORIGINS = [origin_of(SPACE, one) for one in ANNOUNCED]
IDS = [bytes([n]) * 16 for n in range(1, 5)]  # of streams and snapshots
HASH8, HASH = b"h" * 8, b"h" * 32
T = TypeVar("T")


class Chance(random.Random):
    """Draws what may be said."""

    def some(self, draw: Callable[[], T], most: int) -> list[T]:
        return [draw() for _ in range(self.randint(0, most))]

    def seq(self) -> int:
        return self.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1 << 62))

    def span(self) -> tuple[int, int]:
        return self.seq(), self.seq()

    def position(self) -> tuple[bytes, int, bytes]:
        return self.choice(ORIGINS), self.seq(), self.choice((HASH8, bytes(8)))

    def clock(self) -> dict[bytes, int]:
        return {origin: self.seq() for origin in self.some(lambda: self.choice(ORIGINS), 3)}

    def manifest(self) -> Manifest:
        return Manifest(self.choice(IDS), self.choice((1, 2, 1 << 20)), self.seq(), HASH, self.clock())

    def talk(self) -> Talk:
        ends = self.some(lambda: (*self.span(), HASH8), 4)
        return Talk(self.choice(DEVICES), self.choice(ORIGINS), self.seq(), ends, self.random() < 0.5)

    def run(self, origin: bytes | None = None) -> Run:
        entries = tuple(self.randbytes(self.randint(0, 9)) for _ in range(self.randint(1, 3)))
        return Run(origin or self.choice(ORIGINS), self.randint(1, 9), entries, b"")

    def head(self) -> Head:
        oldest, sizes = self.randint(1, 4), self.some(self.seq, 6)
        return Head(
            counter=self.seq(),
            t_ms=self.seq(),
            stream=self.choice(IDS),
            next=oldest + len(sizes),
            chain=self.choice((HASH, bytes(32))),
            oldest=oldest,
            sizes=sizes,
            covers={origin: self.some(self.span, 8) for origin in self.some(lambda: self.choice(ORIGINS), 3)},
            positions=self.some(self.position, 4),
            snapshot=self.manifest() if self.random() < 0.4 else None,
            lost=self.some(lambda: (self.choice(DEVICES), self.choice(IDS), self.seq()), 4),
            apart=self.some(self.position, 3),
            talk=self.some(self.talk, 2),
        )

    def seen_head(self) -> SeenHead:
        if self.random() < 0.7:
            return SeenHead(self.choice("abcd"), self.head())
        return SeenHead(self.choice("abcd"), None, self.choice(list(Damage)), self.some(lambda: self.choice(IDS), 2))

    def segment(self) -> SeenSegment:
        dice = self.random()
        if dice < 0.2:
            return SeenSegment(None, self.randbytes(8), self.choice(list(Damage)))
        if dice < 0.5:
            piece = Piece(self.randint(0, 4), self.randint(2, 5), self.randbytes(30))
            return SeenSegment(Segment(HASH, [], [], piece), self.randbytes(8))
        return SeenSegment(Segment(HASH, [], [self.run() for _ in range(self.randint(1, 3))]), self.randbytes(8))


FOR_S = 600.0
MANY = 1_000  # in that time; without a pause there would be many thousands
WAYS = ("yes", "yes", "yes", "no", "mixed", "failing")


class World:
    """All that a courier asks, answered by what is drawn."""

    def __init__(self, seed: int) -> None:
        self.chance = Chance(seed)
        self.now_s = 0.0
        self.clock = {ORIGINS[0]: 3}
        self.courier = self._new(None)

    def _new(self, memory: bytes | None) -> Courier:
        return Courier(SPACE, US, CourierSettings(snapshots=True, snapshot_from_bytes=1), memory)

    def moment(self) -> Moment:
        return Moment(self.now_s, int(self.now_s * 1000) + 10**12, self.chance.random(), self.chance.randbytes(32))

    def standing(self) -> Standing:
        chance = self.chance
        return Standing(
            clock=dict(self.clock),
            positions=[(origin, seq, HASH8) for origin, seq in sorted(self.clock.items())],
            own_origins=frozenset(ORIGINS[:1]),
            members=MEMBERS,
            active=MEMBERS,
            linked_clock={},
            roster_digest=chance.choice((b"r", b"s")),
            copy_id=b"d" * 16 if chance.random() < 0.05 else b"c" * 16,
            removed=tuple(DEVICES[3:]),
            talk=chance.some(chance.talk, 1),
            falls=chance.choice(({}, {}, {ORIGINS[1]: 2})),
            wanted=chance.choice(({}, {}, {ORIGINS[1]: 2})),
            strangers=chance.choice((frozenset(), MEMBERS)),
        )

    def step(self) -> None:
        courier, step = self.courier, self.courier.next(self.standing(), self.moment())
        if isinstance(step, Sleep):
            assert step.until_s > self.now_s, "it never sleeps for no time"
            self.now_s = step.until_s
            return
        self.now_s += 1.0
        chance = self.chance.randint(0, 9)
        if chance == 0 and not isinstance(step, Apply | ReadLog):
            courier.failed("relay-unreachable", self.chance.choice((None, 60.0)), self.moment())
        elif chance == 1:
            self.courier = self._new(courier.memory())
        else:
            self._answer(courier, step)

    def _answer(self, courier: Courier, step: Step) -> None:
        moment, chance = self.moment(), self.chance
        yes = chance.random() < 0.5
        match step:
            case Poll():
                courier.polled({chance.choice(DEVICES): chance.choice("abcdz") for _ in range(3)}, moment)
            case FetchHeads():
                ahead = {name: chance.segment() for name in step.ahead if yes}
                seen = {device: chance.seen_head() for device in chance.some(lambda: chance.choice(DEVICES), 3)}
                courier.heads_fetched(seen, moment, ahead)
                if courier.former is not None and yes:
                    courier.former_is_apart()
            case FetchSegments():
                courier.segments_fetched({name: chance.segment() for name in step.names[:6]}, moment)
            case _:
                self._light(courier, step, moment, yes=yes)

    def _light(self, courier: Courier, step: Step, moment: Moment, *, yes: bool) -> None:
        match step:
            case Apply():
                for run in step.runs if yes else ():
                    self.clock[run.origin] = max(run.last, self.clock.get(run.origin, 0))
                courier.applied(moment, "" if yes else "another history")
            case ReadLog():
                more = yes and step.position < 9
                rows = [LogRow(step.position + 1, self.chance.run(ORIGINS[0]), 0)] if more else []
                courier.log_read(rows, step.position + more, ANNOUNCED, moment)
            case TakeSnapshot() | MakeSnapshot() | CheckSnapshot():
                self._snapshot(courier, step, moment, yes=yes)
            case _:
                self._written(courier, step, moment, yes=yes)

    def _snapshot(self, courier: Courier, step: Step, moment: Moment, *, yes: bool) -> None:
        match step:
            case TakeSnapshot():
                if yes:
                    self.clock = {**self.clock, **step.manifest.clock}
                    courier.copy_switched(b"c" * 16, moment, replaced=step.replaces)
                courier.snapshot_taken(moment, complete=yes)
            case MakeSnapshot():
                courier.snapshot_made(self.chance.manifest() if yes else None, moment)
            case CheckSnapshot():
                courier.snapshot_checked(moment, complete=yes)

    def _written(self, courier: Courier, step: Step, moment: Moment, *, yes: bool) -> None:
        match step:
            case PutSegment():
                head = courier.segment_sealed(b"sealed", moment) if step.with_head else None
                courier.segment_put(b"sealed", moment) if yes else courier.segment_differs(moment)
                if head is not None and yes:
                    courier.head_put("z", moment)
            case PutHead():
                courier.head_put("z", moment) if yes else courier.head_differs(moment)
            case CheckSegments():
                courier.segments_checked(step.numbers if yes else [], moment)
            case MendRoster():
                courier.roster_mended(moment)
            case LeaveFarewell():
                courier.farewell_left(moment, there=yes)
            case Delete():
                courier.deleted(moment)


@given(seed=st.integers(0, 1 << 64))
def test_fuzz_a_relay_that_says_anything(seed: int) -> None:
    world = World(seed)
    for _ in range(STEPS):
        world.step()
        memory = world.courier.memory()
        assert len(memory) < MEMORY_BYTES
        assert relay_memory.encode(relay_memory.decode(memory)) == memory
        world.courier.status(world.standing(), world.moment())


class Stubborn(World):
    """One that answers at once, and each kind of request always in the same way. `asked`: how many requests it had."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.asked = 0
        self._ways: dict[type[Step], str] = {}
        self._stands = super().standing()
        self._heads = {device: self.chance.seen_head() for device in DEVICES if self.chance.random() < 0.7}
        self._segments: dict[SegmentName, SeenSegment] = {}

    def standing(self) -> Standing:
        return replace(self._stands, clock=dict(self.clock), copy_id=b"c" * 16)

    def step(self) -> None:
        step = self.courier.next(self.standing(), self.moment())
        if isinstance(step, Sleep):
            self.now_s = step.until_s
            return
        self.now_s += 0.01
        way = self._ways.setdefault(type(step), self.chance.choice(WAYS))
        self.asked += not isinstance(step, Apply | ReadLog)
        if way == "failing" and not isinstance(step, Apply | ReadLog):
            self.courier.failed("relay-unreachable", None, self.moment())
            return
        self._reply(step, yes=way == "yes" or (way == "mixed" and self.chance.random() < 0.5))

    def _reply(self, step: Step, *, yes: bool) -> None:
        courier, moment = self.courier, self.moment()
        match step:
            case Poll():
                courier.polled({device: seen.tag for device, seen in self._heads.items()}, moment)
            case FetchHeads():
                there = {device: seen for device, seen in self._heads.items() if yes and device in step.devices}
                courier.heads_fetched(there, moment)
            case FetchSegments():
                known = self._segments
                found = {name: known.setdefault(name, self.chance.segment()) for name in step.names if yes}
                courier.segments_fetched(found, moment)
            case _:
                self._light(courier, step, moment, yes=yes)
        if isinstance(step, TakeSnapshot) and yes:
            self._stands = replace(self._stands, falls={})


@given(seed=st.integers(0, 1 << 64))
def test_fuzz_a_relay_that_says_the_same_for_long_is_not_asked_again_and_again(seed: int) -> None:
    world = Stubborn(seed)
    while world.now_s < FOR_S:
        world.step()
        assert world.asked <= MANY
