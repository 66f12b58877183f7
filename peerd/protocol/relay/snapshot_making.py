"""When our copy should leave a snapshot: when the segments have outgrown the last one, or the relay lacks what our log
cannot give any more, and nobody else does.

A copy that has not taken in all that is there waits with it until it has. But what is there may be such that it never
can (in doubt, or of a later version), and others may have nothing else to go on with: so it does not wait for ever.
"""

from __future__ import annotations

from collections.abc import Mapping

from peerd.core.backoff import doubling_s
from peerd.core.clocks import includes
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
        self._is_patient = False  # it is due so late because our copy is not up to date
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
        self, standing: Standing, picture: Picture, heads: Mapping[bytes, Head], moment: Moment
    ) -> MakeSnapshot | None:
        """Asked whenever there is nothing else to do. `heads` are of other members."""
        self._mark(picture, heads)
        up_to_date = includes(standing.clock, picture.offered) and includes(standing.clock, picture.clock)
        waited_for = self._waited_for(standing, heads)
        only_here = self._settings.snapshots and _is_only_here(standing, picture)
        insisted, self._insisted = self._insisted and (waited_for or only_here), False
        outgrown = self._settings.snapshots and up_to_date and self._is_outgrown(picture, heads)
        if not (waited_for or only_here or outgrown):
            self._due_s = None
            return None
        is_patient = not (waited_for or up_to_date)
        if self._due_s is None or (self._is_patient and not is_patient):
            first_s, last_s = self._settings.foreign_s
            pause_s = (first_s + (last_s - first_s) * moment.chance) / (_SOONER if waited_for else 1)
            pause_s += _PATIENCE_S if is_patient else 0.0
            before_s = self._made_s + _WAITED_FOR_S if waited_for else self._made_s + _PAUSE_S
            self._due_s, self._is_patient = max(moment.now_s + pause_s, before_s), is_patient
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

    def _waited_for(self, standing: Standing, heads: Mapping[bytes, Head]) -> bool:
        """Do others need one of the history that our copy has, and is there none?"""
        found = [head.snapshot for device, head in heads.items() if device not in standing.strangers]
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
