"""When our copy should leave a snapshot: when the segments have outgrown the last one, or the relay lacks what our log
cannot give any more, and nobody else does.

A copy that has not taken in all that is there waits with it until it has. But what is there may be such that it never
can (in doubt, or of a later version): what it has lacked for long, and nothing else, it does not wait for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from peerd.core.backoff import doubling_s
from peerd.core.clocks import ReadClock, includes, join
from peerd.protocol.relay.courier_settings import HOUR_S, CourierSettings
from peerd.protocol.relay.courier_steps import MakeSnapshot, Moment, Standing
from peerd.protocol.relay.coverage import tops, union
from peerd.protocol.relay.memory import SNAPSHOT_PARTS, Litter, Memory, throw_away
from peerd.protocol.relay.objects import OBJECT_BYTES, Head, Manifest
from peerd.protocol.relay.view import Picture, stream_bytes

_PAUSE_S = HOUR_S  # between two of ours
_AGAIN_S = 60.0  # after one that failed, at first
_WAITED_FOR_S, _SOONER = 300.0, 10  # if somebody cannot go on without it: between two, and so many times as soon
_PATIENCE_S = HOUR_S  # for what is there and not taken in yet


class SnapshotMaking:
    def __init__(self, memory: Memory, settings: CourierSettings) -> None:
        self._memory = memory
        self._settings = settings
        self._due_s: float | None = None
        self._lacking: dict[bytes, tuple[int, float]] = {}  # origins: how far we are, and since when no further
        self._made_s = float("-inf")
        self._failures = 0  # since one was made
        self._insisted = False
        self._stood: dict[bytes, int] = {}  # streams of others, when we looked last

    def insist(self) -> None:
        """One that others may be unable to go on without is made now."""
        self._insisted = True

    def next_s(self) -> float | None:
        return self._due_s

    def make(
        self,
        standing: Standing,
        picture: Picture,
        heads: Mapping[bytes, Head],
        moment: Moment,
        useless: Collection[bytes] = (),
    ) -> MakeSnapshot | None:
        """Asked whenever there is nothing else to do. `heads` are of other members; `useless` are snapshots, by id, of
        which somebody says that they cannot be had.
        """
        self._mark(picture, heads)
        settled = self._is_settled(standing.clock, picture, moment.now_s)
        waited_for = self._waited_for(standing, heads, useless)
        only_here = self._settings.snapshots and _is_only_here(standing, picture)
        insisted, self._insisted = self._insisted and (waited_for or only_here), False
        outgrown = self._settings.snapshots and settled and self._is_outgrown(picture, heads)
        if not (waited_for or insisted or outgrown or (only_here and settled)):
            self._due_s = None
            return None
        if self._due_s is None:
            first_s, last_s = self._settings.foreign_s
            pause_s = (first_s + (last_s - first_s) * moment.chance) / (_SOONER if waited_for else 1)
            before_s = self._made_s + _WAITED_FOR_S if waited_for else self._made_s + _PAUSE_S
            self._due_s = max(moment.now_s + pause_s, before_s)
        if moment.now_s < self._due_s and not insisted:
            return None
        self._give_up()
        self._memory.making = moment.entropy[16:32]
        return MakeSnapshot(self._memory.making)

    def made(self, manifest: Manifest | None, moment: Moment) -> bool:
        """False if there is none: our copy could not."""
        self._due_s, self._failures = None, 0
        self._made_s = moment.now_s
        if manifest is None:
            self._give_up()
            return False
        self._memory.making = b""
        self._memory.snapshot = manifest
        return True

    def failed(self, moment: Moment) -> None:
        """It could not be left. The next try begins from the first part, so it comes less and less soon."""
        self._due_s = moment.now_s + doubling_s(_AGAIN_S, _PAUSE_S, self._failures)
        self._failures += 1

    def _give_up(self) -> None:
        """Parts of one that was begun may be there, nobody knows how many."""
        memory = self._memory
        if memory.making:
            throw_away(memory, Litter("part", memory.making, 0, SNAPSHOT_PARTS - 1))
            memory.making = b""

    def _mark(self, picture: Picture, heads: Mapping[bytes, Head]) -> None:
        """Remember where the streams of others stood when the best snapshot was first seen; or, of one that went on
        while it was made, shortly before.
        """
        best = picture.best
        if (best.manifest.id if best else b"") != self._memory.marks_of:
            self._memory.marks_of = best.manifest.id if best else b""
            self._memory.marks = {}
            for head in heads.values() if best else ():
                covered = best is not None and includes(best.manifest.clock, tops(union([head.covers])))
                self._memory.marks[head.stream] = head.next if covered else self._stood.get(head.stream, head.oldest)
            self._due_s = None
        self._stood = {head.stream: head.next for head in heads.values()}

    def _is_settled(self, clock: ReadClock, picture: Picture, now_s: float) -> bool:
        """Does our copy have all that is there, but for what it has not come any nearer to for long?"""
        there = join(picture.offered, picture.clock)
        lacking = {origin: clock.get(origin, 0) for origin, seq in there.items() if clock.get(origin, 0) < seq}
        before, self._lacking = self._lacking, {}
        for origin, at in lacking.items():
            stood = before.get(origin)
            self._lacking[origin] = stood if stood is not None and stood[0] == at else (at, now_s)
        return all(now_s - since_s >= _PATIENCE_S for _, since_s in self._lacking.values())

    def _waited_for(self, standing: Standing, heads: Mapping[bytes, Head], useless: Collection[bytes]) -> bool:
        """Do others need one of the history that our copy has, and is there none?"""
        found = [
            head.snapshot
            for device, head in heads.items()
            if device not in standing.strangers and head.snapshot is not None and head.snapshot.id not in useless
        ]
        clocks = [one.clock for one in (*found, self._memory.snapshot) if one is not None]
        return bool(standing.wanted) and not any(includes(clock, standing.wanted) for clock in clocks)

    def _is_outgrown(self, picture: Picture, heads: Mapping[bytes, Head]) -> bool:
        memory, settings = self._memory, self._settings
        marks = memory.marks
        grown = sum(stream_bytes(head, marks.get(head.stream, 0)) for head in heads.values())
        best = picture.best.manifest if picture.best else None
        held = best.clock if best else {}
        ours = [kept for kept in memory.segments if not includes(held, tops(kept.coverage))]
        grown += sum(min(kept.size_bytes, OBJECT_BYTES) for kept in ours)
        best_bytes = best.size_bytes if best else 0
        if grown > max(settings.snapshot_from_bytes, 2 * best_bytes):
            return True
        full = settings.max_bytes is not None and picture.held_bytes > settings.max_bytes
        return full and grown > settings.snapshot_from_bytes


def _is_only_here(standing: Standing, picture: Picture) -> bool:
    """Does the relay lack something that our log cannot give any more?"""
    return any(
        picture.clock.get(origin, 0) < min(seq, standing.horizon.get(origin, 0))
        for origin, seq in standing.clock.items()
    )
