"""When our copy should leave a snapshot: when the segments have outgrown the last one, and nobody else does."""

from __future__ import annotations

from collections.abc import Mapping

from peerd.core.clocks import Clock, includes
from peerd.protocol.relay.courier_settings import HOUR_S, CourierSettings
from peerd.protocol.relay.courier_steps import MakeSnapshot, Moment, Standing
from peerd.protocol.relay.memory import SNAPSHOT_PARTS, Litter, Memory, throw_away
from peerd.protocol.relay.objects import OBJECT_BYTES, Head, Manifest
from peerd.protocol.relay.view import Picture, stream_bytes

_PAUSE_S = HOUR_S  # between two of ours


class SnapshotMaking:
    def __init__(self, memory: Memory, settings: CourierSettings) -> None:
        self._memory = memory
        self._settings = settings
        self._due_s: float | None = None
        self._not_before_s = float("-inf")

    def next_s(self) -> float | None:
        return self._due_s

    def make(
        self, standing: Standing, picture: Picture, heads: Mapping[bytes, Head], moment: Moment
    ) -> MakeSnapshot | None:
        """Asked whenever there is nothing else to do. `heads` are of other members."""
        self._mark(picture, heads)
        up_to_date = includes(standing.clock, picture.offered) and includes(standing.clock, picture.clock)
        if not self._settings.snapshots or not up_to_date or not self._worth(standing, picture, heads):
            self._due_s = None
            return None
        if self._due_s is None:
            first_s, last_s = self._settings.foreign_s
            self._due_s = max(moment.now_s + first_s + (last_s - first_s) * moment.chance, self._not_before_s)
        if moment.now_s < self._due_s:
            return None
        self._give_up()
        self._memory.making = moment.entropy[16:32]
        return MakeSnapshot(self._memory.making)

    def made(self, manifest: Manifest | None, moment: Moment) -> bool:
        """False if there is none: our copy could not."""
        self._due_s = None
        self._not_before_s = moment.now_s + _PAUSE_S
        if manifest is None:
            self._give_up()
            return False
        self._memory.making = b""
        self._memory.snapshot = manifest
        return True

    def _give_up(self) -> None:
        """Parts of one that was begun may be there, nobody knows how many."""
        memory = self._memory
        if memory.making:
            throw_away(memory, Litter("part", memory.making, 0, SNAPSHOT_PARTS - 1))
            memory.making = b""

    def _mark(self, picture: Picture, heads: Mapping[bytes, Head]) -> None:
        """Remember where all streams stood when the best snapshot was first seen."""
        best = picture.best.manifest.id if picture.best else b""
        if best != self._memory.marks_of:
            self._memory.marks_of = best
            self._memory.marks = {head.stream: head.next for head in heads.values()} if best else {}
            if best and self._memory.stream:
                self._memory.marks[self._memory.stream] = self._memory.next
            self._due_s = None

    def _worth(self, standing: Standing, picture: Picture, heads: Mapping[bytes, Head]) -> bool:
        lacking: Clock = {
            origin: seq for origin, seq in standing.clock.items()
            if picture.clock.get(origin, 0) < min(seq, standing.horizon.get(origin, 0))
        }  # fmt: skip
        if lacking:
            return True  # our log cannot give it any more
        memory, settings = self._memory, self._settings
        marks = memory.marks
        grown = sum(stream_bytes(head, marks.get(head.stream, 0)) for head in heads.values())
        skipped = max(0, marks.get(memory.stream, 0) - memory.oldest)
        grown += sum(min(kept.size_bytes, OBJECT_BYTES) for kept in memory.segments[skipped:])
        best_bytes = picture.best.manifest.size_bytes if picture.best else 0
        if grown > max(settings.snapshot_from_bytes, 2 * best_bytes):
            return True
        full = settings.max_bytes is not None and picture.held_bytes > settings.max_bytes
        return full and grown > settings.snapshot_from_bytes
