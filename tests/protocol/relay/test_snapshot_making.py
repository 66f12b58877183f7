"""When a snapshot is worth making: how much there is that the best one does not hold."""

from __future__ import annotations

from peerd.protocol.relay.courier_settings import HOUR_S, CourierSettings
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
