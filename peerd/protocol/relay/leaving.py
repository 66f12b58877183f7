"""What to leave on the relay, and when: runs of our copy that the relay's clock does not cover.

    our own                        after some seconds without more of them, or enough of them; while they keep coming
                                   little by little, after longer and longer, since each time costs the same requests
    what our earlier streams held  the same: others relied on it
    of others                      after minutes in which nobody else left them
    what all active members have   an hour or so, for newcomers' sake alone

One wait per origin says up to which transaction and since when. When some are due, the log is walked once, and what is
chosen goes into segments: whole runs in the order of the log, so in one in which they can be applied.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from msgspec import Struct

from peerd.core.backoff import doubling_s
from peerd.core.chain import Run
from peerd.core.clocks import Clock, ReadClock, covers, join
from peerd.core.origin import Announcement
from peerd.core.stored import LogRow
from peerd.protocol.relay.courier_settings import CourierSettings, Range
from peerd.protocol.relay.courier_steps import Moment, ReadLog, Standing
from peerd.protocol.relay.coverage import Coverage, ReadCoverage, holds, merged
from peerd.protocol.relay.objects import SEGMENT_BYTES, Piece, cut

ENOUGH_BYTES = 256 << 10  # of our own: no need to wait for quiet
_RARELY = 64  # times the first pause in which others may leave what our log has not
_ENTRY_BYTES = 5  # beside its own bytes
_ORIGIN_BYTES = 72  # an announcement


class Wait(Struct):
    """Up to `seq`, since when; `alone_s`: since when some active member is not known to have it by a link (None while
    all are). `tries`: so often our log had not what is lacking; perhaps others have it.
    """

    seq: int
    since_s: float
    since_ms: int
    chance: float
    alone_s: float | None = None
    tries: int = 0


class Walk(Struct):
    """Through the log, for what is due."""

    targets: Clock
    position: int = 0


class Load(Struct):
    """What the next segment takes along, before it is chained to the last one."""

    origins: list[Announcement]
    runs: list[Run]
    piece: Piece | None
    coverage: Coverage
    more: bool = False


class Leaving:
    def __init__(self, settings: CourierSettings) -> None:
        self.waits: dict[bytes, Wait] = {}
        self.walk: Walk | None = None
        self.loads: deque[Load] = deque()
        self._settings = settings
        self._promised: Clock = {}
        self._hurry: Clock = {}
        self._own_bytes = 0
        self._busy_s = float("-inf")  # when more of our own came last
        self._pause_s = settings.quiet_s[1]  # the longest that they wait now
        self._begun_s = float("-inf")  # when some of them were left last

    def reset(self, promised: ReadClock) -> None:
        """Our stream begins anew; what the earlier one held (`promised`) is to be there soon again."""
        self._promised = join(self._promised, promised)
        self.stop()

    def stop(self) -> None:
        """What was chosen may no longer be right."""
        self.walk = None
        self.loads.clear()

    def committed(self, moment: Moment, size_bytes: int) -> None:
        """There is more of our own."""
        if moment.now_s - self._begun_s > 2 * self._pause_s:
            self._pause_s = self._settings.quiet_s[1]
        self._own_bytes += size_bytes
        self._busy_s = moment.now_s

    @property
    def is_trickling(self) -> bool:
        """Do more and more of our own come, little by little?"""
        return self._pause_s > self._settings.quiet_s[1]

    def hurry(self, clock: ReadClock) -> None:
        """Leave everything up to here without waiting."""
        self._hurry = dict(clock)

    # ---- waiting

    def update(self, standing: Standing, relay_clock: ReadClock, moment: Moment) -> None:
        """Which origins wait, given what is there."""
        for origin, seq in standing.clock.items():
            wait = self.waits.get(origin)
            if seq <= relay_clock.get(origin, 0):
                self.waits.pop(origin, None)
                continue
            if wait is None or covers(relay_clock, (origin, wait.seq)):
                wait = self.waits[origin] = Wait(seq, moment.now_s, moment.wall_ms, moment.chance)
            elif wait.tries and seq > wait.seq:  # of what came since there is nothing to say yet
                wait = self.waits[origin] = Wait(seq, moment.now_s, wait.since_ms, moment.chance)
            elif self._is_ours(origin, wait.seq, standing):
                wait.seq = seq
            dot = origin, wait.seq
            if covers(standing.linked_clock, dot) and not covers(self._promised, dot):
                wait.alone_s = None
            elif wait.alone_s is None:
                wait.alone_s = moment.now_s
        for origin in self.waits.keys() - standing.clock.keys():
            del self.waits[origin]

    def _is_ours(self, origin: bytes, seq: int, standing: Standing) -> bool:
        return origin in standing.own_origins or covers(self._promised, (origin, seq))

    def _due_s(self, origin: bytes, standing: Standing) -> float:
        wait = self.waits[origin]
        if covers(self._hurry, (origin, wait.seq)) and not wait.tries:
            return wait.since_s
        if wait.tries:
            first_s = _drawn(self._settings.lan_s if wait.alone_s is None else self._settings.foreign_s, wait.chance)
            return wait.since_s + doubling_s(first_s, first_s * _RARELY, wait.tries - 1)
        lan_s = wait.since_s + _drawn(self._settings.lan_s, wait.chance)
        if wait.alone_s is None:
            return lan_s
        if not self._is_ours(origin, wait.seq, standing):
            return min(lan_s, wait.alone_s + _drawn(self._settings.foreign_s, wait.chance))
        if self._own_bytes >= ENOUGH_BYTES:
            return wait.since_s
        quiet_s = _drawn(self._settings.quiet_s, wait.chance) * self._pause_s / self._settings.quiet_s[1]
        return min(lan_s, wait.alone_s + self._pause_s, max(wait.alone_s, self._busy_s) + quiet_s)

    def next_due_s(self, standing: Standing) -> float | None:
        return min((self._due_s(origin, standing) for origin in self.waits), default=None)

    # ---- walking

    def is_shared(self, standing: Standing, moment: Moment) -> bool:
        """Is something due that others may be about to leave as well?"""
        return any(
            self._due_s(origin, standing) <= moment.now_s
            for origin, wait in self.waits.items()
            if wait.alone_s is None or not self._is_ours(origin, wait.seq, standing)
        )

    def begin(self, standing: Standing, moment: Moment) -> bool:
        """Start a walk if something is due; what is ours goes along. False if nothing is."""
        due = {origin for origin in self.waits if self._due_s(origin, standing) <= moment.now_s}
        if not due:
            return False
        self.walk = Walk({
            origin: wait.seq
            for origin, wait in self.waits.items()
            if origin in due or (wait.alone_s is not None and self._is_ours(origin, wait.seq, standing))
        })  # fmt: skip
        if any(self._is_ours(origin, seq, standing) for origin, seq in self.walk.targets.items()):
            self._own_begun(moment)
        return True

    def _own_begun(self, moment: Moment) -> None:
        """Some of our own is left. Were they but a few, and soon after others, the next ones are to wait for more."""
        goes_on = moment.now_s - self._begun_s < 2 * self._pause_s
        if goes_on and self._own_bytes < ENOUGH_BYTES:
            self._pause_s = max(self._pause_s, min(self._settings.gather_s, 2 * self._pause_s))
        self._begun_s = moment.now_s
        self._own_bytes = 0

    def read(self, standing: Standing, relay_clock: ReadClock) -> ReadLog:
        """Where the walk goes on. What is not due is named as covered, so that nobody reads it in vain."""
        walk = self.walk or Walk({})
        covered = dict(standing.clock)
        covered.update({origin: relay_clock.get(origin, 0) for origin in walk.targets})
        return ReadLog(walk.position, covered, SEGMENT_BYTES)

    def log_read(
        self,
        rows: Sequence[LogRow],
        read_up_to: int,
        announced: Mapping[bytes, Announcement],
        held: ReadCoverage,
        moment: Moment,
    ) -> None:
        """Choose of these rows what the relay does not hold; the walk ends when there are no more."""
        walk = self.walk
        if walk is None:
            return
        if read_up_to <= walk.position:
            self._finish(walk, moment)
            return
        chosen: list[Run] = []
        size = 0
        for row in rows:
            run = row.run
            if run.last > walk.targets.get(run.origin, 0) or holds(held, run.origin, run.first, run.last):
                walk.position = row.position
                continue
            size += run_bytes(run)
            if chosen and size > SEGMENT_BYTES:
                break
            walk.position = row.position
            chosen.append(run)
            if size > SEGMENT_BYTES:
                break
        else:
            walk.position = read_up_to
        if size > SEGMENT_BYTES and len(chosen) == 1 and run_bytes(chosen[0]) > SEGMENT_BYTES:
            self._load_pieces(chosen[0], announced)
        elif chosen:
            origins = [announced[origin] for origin in sorted({run.origin for run in chosen})]
            self.loads.append(Load(origins, chosen, None, coverage_of(chosen)))

    def _finish(self, walk: Walk, moment: Moment) -> None:
        self.walk = None
        for origin in walk.targets.keys() & self.waits.keys():
            wait = self.waits[origin]
            if wait.seq > walk.targets[origin]:  # it came meanwhile, and waits like anything that comes
                wait.since_ms, wait.chance = moment.wall_ms, moment.chance
            else:
                wait.tries += 1
            wait.since_s = moment.now_s
            wait.alone_s = moment.now_s if wait.alone_s is not None else None

    def _load_pieces(self, run: Run, announced: Mapping[bytes, Announcement]) -> None:
        pieces = cut(run)
        for piece in pieces:
            origins = [announced[run.origin]] if piece.number == 0 else []
            more = piece.number + 1 < len(pieces)
            self.loads.append(Load(origins, [], piece, coverage_of([run]), more))


def run_bytes(run: Run) -> int:
    """At most what a run takes in a segment, the announcement of its origin with it."""
    return run.size_bytes + _ENTRY_BYTES * len(run.entries) + _ORIGIN_BYTES


def coverage_of(runs: Sequence[Run]) -> Coverage:
    spans: Coverage = {}
    for run in runs:
        spans.setdefault(run.origin, []).append((run.first, run.last))
    return {origin: merged(some) for origin, some in spans.items()}


def _drawn(between_s: Range, chance: float) -> float:
    return between_s[0] + (between_s[1] - between_s[0]) * chance
