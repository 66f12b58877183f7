"""When a snapshot is worth making: how much there is that the best one does not hold, and what nothing else holds."""

from __future__ import annotations

from peerd.core.clocks import Clock
from peerd.protocol.relay.courier_settings import HOUR_S, MINUTE_S, CourierSettings
from peerd.protocol.relay.courier_steps import MakeSnapshot, Moment, Standing
from peerd.protocol.relay.coverage import Coverage
from peerd.protocol.relay.memory import Kept, Memory
from peerd.protocol.relay.objects import Head, Manifest
from peerd.protocol.relay.snapshot_making import SnapshotMaking
from peerd.protocol.relay.view import Picture, Snapshot

DESK, LAPTOP = b"d" * 32, b"l" * 32
OURS, THEIRS = b"o" * 16, b"t" * 16
MINE, OTHER = b"m" * 16, b"x" * 16
KB = 1 << 10


def head(stream: bytes, sizes: list[int], covers: Coverage, snapshot: Manifest | None = None) -> Head:
    return Head(1, 0, stream, len(sizes) + 1, bytes(32), sizes=sizes, covers=covers, snapshot=snapshot)


def manifest(clock: dict[bytes, int]) -> Manifest:
    return Manifest(b"s" * 16, 1, 10 * KB, bytes(32), clock, 0)


class Maker:
    """Ours, beside a device that leaves something as well. `left`: segments of ours, and what each holds."""

    def __init__(self, left: list[Kept]) -> None:
        self.memory = Memory(stream=OURS, next=len(left) + 1, segments=left)
        self.making = SnapshotMaking(self.memory, CourierSettings(snapshots=True, snapshot_from_bytes=100 * KB))
        self.now_s = 0.0

    def makes(self, theirs: Head) -> bool:
        """If it looks twice, with an hour between."""
        clock = {MINE: 9, OTHER: 9}
        best = None if theirs.snapshot is None else Snapshot(LAPTOP, theirs.snapshot)
        standing = Standing(clock, [], frozenset({MINE}), frozenset({LAPTOP}), frozenset(), {}, b"", b"")
        for _ in range(2):
            self.now_s += HOUR_S
            moment = Moment(self.now_s, 0, 0.5, bytes(32))
            step = self.making.make(standing, Picture({}, clock, best, clock, 0), {LAPTOP: theirs}, moment)
        return isinstance(step, MakeSnapshot)


def test_of_our_segments_only_those_count_that_the_snapshot_does_not_hold() -> None:
    """Also if they were there before we saw the snapshot."""
    left = [Kept(90 * KB, {MINE: [(1, 4)]}), Kept(70 * KB, {MINE: [(5, 6)]}), Kept(20 * KB, {MINE: [(7, 9)]})]
    assert not Maker(left).makes(head(THEIRS, [], {}, manifest({MINE: 4})))
    assert Maker(left).makes(head(THEIRS, [], {}, manifest({MINE: 3})))
    assert not Maker(left).makes(head(THEIRS, [], {}, manifest({MINE: 6})))


def test_of_the_segments_of_others_those_count_that_came_while_the_snapshot_was_made() -> None:
    left, more = [10 * KB], [10 * KB, 110 * KB]
    maker = Maker([])
    assert not maker.makes(head(THEIRS, left, {OTHER: [(1, 2)]}))
    assert maker.makes(head(THEIRS, more, {OTHER: [(1, 9)]}, manifest({OTHER: 2})))
    maker = Maker([])
    assert not maker.makes(head(THEIRS, left, {OTHER: [(1, 2)]}))
    assert not maker.makes(head(THEIRS, more, {OTHER: [(1, 9)]}, manifest({OTHER: 9})))


class Keeper:
    """A copy whose log begins behind four transactions of its own. `there`: what the relay holds of these; `offered`:
    of those of another device, of which the copy `had` so many.
    """

    def __init__(self, there: int = 0, offered: int = 3) -> None:
        self.there = there
        self.offered = offered
        self.had = 3
        self.making = SnapshotMaking(Memory(stream=OURS), CourierSettings(snapshots=True))

    def makes(self, at_s: float) -> bool:
        clock: Clock = {MINE: 9, OTHER: self.had}
        standing = Standing(clock, [], frozenset({MINE}), frozenset({LAPTOP}), frozenset(), {}, b"", b"", {MINE: 4})
        holds: Clock = {MINE: self.there, OTHER: self.offered}
        picture = Picture({}, holds, None, holds, 0)
        theirs = head(THEIRS, [], {OTHER: [(1, self.offered)]})
        return self.making.make(standing, picture, {LAPTOP: theirs}, Moment(at_s, 0, 0.5, bytes(32))) is not None

    def pause_s(self) -> float:
        """Until it makes one, to the minute; it is asked every minute."""
        return next(at_s for at_s in range(0, 100_000, int(MINUTE_S)) if self.makes(at_s))


def test_what_neither_the_relay_nor_our_log_has_is_left_soon() -> None:
    assert Keeper().pause_s() == 10 * MINUTE_S
    assert Keeper(there=3).pause_s() == 10 * MINUTE_S
    assert not any(Keeper(there=4).makes(at_s) for at_s in (0.0, 100_000.0))


def test_what_cannot_be_taken_in_holds_up_nobody_who_needs_a_snapshot() -> None:
    """In doubt about what another has written, our copy is never up to date; but only its snapshot ends the doubt."""
    assert Keeper(offered=4).pause_s() == HOUR_S + 10 * MINUTE_S


def test_what_comes_in_late_makes_the_snapshot_come_sooner() -> None:
    keeper = Keeper(offered=4)
    assert not keeper.makes(0.0)
    keeper.offered = 3
    assert not keeper.makes(20 * MINUTE_S)
    assert keeper.makes(30 * MINUTE_S)


def test_what_can_never_be_taken_in_does_not_stop_what_outgrew_the_last_one() -> None:
    """Nor does what comes and is taken in meanwhile begin the wait anew."""
    clock: Clock = {MINE: 9, OTHER: 3}
    making = SnapshotMaking(
        Memory(stream=OURS, segments=[Kept(300 * KB, {MINE: [(1, 9)]})]),
        CourierSettings(snapshots=True, snapshot_from_bytes=100 * KB),
    )

    def makes(at_s: float, third: int) -> bool:
        """A third device has written so much, all of which we have."""
        here = {**clock, THEIRS: third}
        standing = Standing(here, [], frozenset({MINE}), frozenset({LAPTOP}), frozenset(), {}, b"", b"")
        there: Clock = {**here, OTHER: 4}
        return (
            making.make(standing, Picture({}, there, None, there, 0), {}, Moment(at_s, 0, 0.5, bytes(32))) is not None
        )

    times = [minute * MINUTE_S for minute in range(100) if makes(minute * MINUTE_S, minute)]
    assert times[0] == HOUR_S + 10 * MINUTE_S


def test_a_copy_that_still_catches_up_leaves_none() -> None:
    keeper = Keeper(offered=100)
    for minute in range(200):
        keeper.had = minute // 30
        assert not keeper.makes(minute * MINUTE_S)


def test_whoever_waits_for_one_is_not_put_off_with_one_that_cannot_be_had() -> None:
    there = manifest({MINE: 9})
    heads = {LAPTOP: head(THEIRS, [], {}, there)}
    for useless, waits in ([], False), ([there.id], True):
        making = SnapshotMaking(Memory(stream=OURS), CourierSettings())
        standing = Standing(
            {MINE: 9}, [], frozenset({MINE}), frozenset({LAPTOP}), frozenset(), {}, b"", b"", wanted={MINE: 5}
        )
        picture, clock = Picture({}, {}, None, {MINE: 9}, 0), [0.0, 2 * MINUTE_S]
        steps = [making.make(standing, picture, heads, Moment(at_s, 0, 0.5, bytes(32)), useless) for at_s in clock]
        assert [step is not None for step in steps] == [False, waits]


def test_a_person_need_not_wait_for_it() -> None:
    for offered in (3, 4):
        keeper = Keeper(offered=offered)
        keeper.making.insist()
        assert keeper.makes(0.0)
    keeper = Keeper(there=4)
    keeper.making.insist()
    assert not keeper.makes(0.0)
    keeper.there = 0
    assert not keeper.makes(1.0)
