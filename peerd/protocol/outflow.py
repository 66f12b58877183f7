"""The sending half of a session: from our log to theirs.

The log is the queue. One cursor walks it in local apply order and skips what they have; catching up and live are the
same walk. Two things go past it:

- *express*: while the walk is far behind, runs that were committed meanwhile and depend on nothing that is still to
  be sent go first. A small change of one device does not wait behind the bulk of another.
- *hold*: a run of another device that has just arrived here waits a moment, because its author most likely sends it to
  them directly, and their acknowledgement then spares us sending it a second time.

Credit is what they allow us to send, in bytes. Sending needs credit above zero, and may go below it with one run, so
a run of any size can start; a large one travels in parts, for which they return credit one by one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from peerd.core.chain import Run
from peerd.core.clocks import Clock, covers
from peerd.core.copy import CopyState
from peerd.core.entry import delta_of
from peerd.core.origin import Announcement
from peerd.core.stored import LogRow
from peerd.protocol.effects import Effect, FindPosition, ReadLog, Send, Wake
from peerd.protocol.messages import BULK_BYTES, PART_BYTES, Entries, Part

EXPRESS_LAG = 64  # runs: the walk is "far behind" from here on
EXPRESS_BYTES = 64 << 10
EXPRESS_RESERVE_BYTES = 256 << 10  # of the credit, which the walk leaves alone; of a small one at most half
HOLD_S = 0.05
FRAMES_AHEAD = 2
WHOLE_RUN_BYTES = 900 << 10  # a run up to here fits a frame


class Outflow:
    """`theirs` is what they have, or will be sent on this link; `sent_clock` is what left, to the end of a run."""

    def __init__(self, space: bytes) -> None:
        self.theirs: Clock = {}
        self.sent_clock: Clock = {}
        self.credit_bytes = 0
        self._space = space
        self._reserve_bytes = 0
        self._wanted = False
        self._finding = 0  # positions that were asked for; the last one counts
        self._cursor: int | None = None  # None: not known yet
        self._express_cursor = 0
        self._last_position = 0
        self._reading = False
        self._stale = False  # what is being read belongs to a walk that has ended
        self._overtook = False  # the last read was one past the walk: the next one is the walk's, if it can
        self._unsent = 0
        self._queue: deque[Entries | Part] = deque()
        self._fresh: deque[tuple[int, float]] = deque()  # (position before a foreign commit, held until)
        self._announced: set[bytes] = set()

    @property
    def caught_up(self) -> bool:
        return self._cursor is not None and self._cursor >= self._last_position and not self._queue

    def wanted(self, clock: Clock, credit_bytes: int, *, either: bool = False) -> list[Effect]:
        """They asked for everything that `clock` does not cover. A later WANT starts again from its clock, and its
        credit comes on top. `either`: they would take a snapshot instead.
        """
        self.theirs = dict(clock)
        self.credit_bytes += credit_bytes
        self._reserve_bytes = max(self._reserve_bytes, min(EXPRESS_RESERVE_BYTES, credit_bytes // 2))
        self._wanted = True
        self._forget_walk()
        self._finding += 1
        return [FindPosition(dict(clock), either)]

    def put_off(self) -> bool:
        """Send nothing until they want something anew: what they lacked comes by a snapshot. False, and nothing is
        done, if they have wanted something anew since the position was asked for.
        """
        if self._finding > 1 or not self._wanted:
            return False
        self._finding -= 1
        self.stop()
        return True

    def stop(self) -> None:
        """Send nothing more."""
        self._wanted = False
        self._forget_walk()

    def _forget_walk(self) -> None:
        self._cursor = None
        self._stale = self._reading
        self._queue.clear()
        self._announced.clear()  # what was to announce them may be among what is cleared

    def positioned(self, position: int, last_position: int, now_s: float) -> list[Effect]:
        self._finding -= 1
        if self._finding:
            return []
        self._cursor = position
        self._last_position = self._express_cursor = max(self._last_position, last_position)
        return self.pump(now_s)

    def learn(self, clock: Clock) -> None:
        """They have this much, from wherever."""
        for origin, seq in clock.items():
            if seq > self.theirs.get(origin, 0):
                self.theirs[origin] = seq

    def committed(self, last_position: int, now_s: float, *, own: bool) -> list[Effect]:
        """Our log grew up to `last_position`."""
        if own:
            self._fresh.clear()
        elif last_position > self._last_position:
            self._bound(now_s)  # forgets what is held no longer, also while nobody wants anything
            self._fresh.append((self._last_position, now_s + HOLD_S))
        self._last_position = max(self._last_position, last_position)
        return self.pump(now_s)

    def credited(self, released_bytes: int, now_s: float) -> list[Effect]:
        self.credit_bytes += released_bytes
        return self.pump(now_s)

    def sent(self, now_s: float) -> list[Effect]:
        self._unsent -= 1
        return self.pump(now_s)

    def pump(self, now_s: float) -> list[Effect]:
        """Send or read whatever may be sent or read now."""
        effects: list[Effect] = []
        while self._queue and self.credit_bytes > 0 and self._unsent < FRAMES_AHEAD:
            effects.append(self._send(self._queue.popleft()))
        if not self._wanted or self._cursor is None or self._reading or self._unsent >= FRAMES_AHEAD:
            return effects
        bound = self._bound(now_s)
        lag = self._last_position - self._cursor
        may_walk = not self._queue and self._cursor < bound and self.credit_bytes > self._reserve_bytes
        may_overtake = lag > EXPRESS_LAG and self._express_cursor < self._last_position and self.credit_bytes > 0
        if may_overtake and not (may_walk and self._overtook):
            return [*effects, self._read(self._express_cursor, EXPRESS_BYTES, express=True)]
        if self._queue:
            return effects
        if may_walk:
            budget = min(BULK_BYTES, self.credit_bytes - self._reserve_bytes)
            effects.append(self._read(self._cursor, budget, express=False))
        elif self._fresh and self._cursor < self._last_position:
            effects.append(Wake(self._fresh[0][1]))
        return effects

    def _bound(self, now_s: float) -> int:
        """The position up to which nothing is held."""
        while self._fresh and self._fresh[0][1] <= now_s:
            self._fresh.popleft()
        return self._fresh[0][0] if self._fresh else self._last_position

    def _read(self, after: int, max_bytes: int, *, express: bool) -> ReadLog:
        self._reading = True
        self._overtook = express
        return ReadLog(after, max_bytes, dict(self.theirs), express)

    def log_read(
        self, rows: Sequence[LogRow], read_up_to: int, copy: CopyState, now_s: float, *, express: bool
    ) -> list[Effect]:
        """Rows in local apply order; `read_up_to` is the last position that was looked at. The log may have grown
        beyond what `committed` has told so far: that is left for later, since `copy` does not know it either.
        """
        self._reading = False
        if self._stale or self._cursor is None:
            self._stale = False
            return self.pump(now_s)
        if express:
            known = self._last_position
            self._express_cursor = max(self._express_cursor, min(read_up_to, known))
            chosen = [row.run for row in rows if row.position <= known and self._take_if_independent(row.run)]
            self._queue.extendleft(reversed(list(self._messages(chosen, copy))))
        else:
            bound = self._bound(now_s)
            chosen = [row.run for row in rows if row.position <= bound and self._take(row.run)]
            self._cursor = max(self._cursor, min(read_up_to, bound))
            self._express_cursor = max(self._express_cursor, self._cursor)
            self._queue.extend(self._messages(chosen, copy))
        return self.pump(now_s)

    def _take(self, run: Run) -> bool:
        if covers(self.theirs, (run.origin, run.last)):
            return False
        self.theirs[run.origin] = run.last
        return True

    def _take_if_independent(self, run: Run) -> bool:
        if self.theirs.get(run.origin, 0) != run.first - 1 or run.size_bytes > WHOLE_RUN_BYTES:
            return False
        if not all(covers(self.theirs, (head.origin, head.seq)) for head in delta_of(run.entries[0])):
            return False
        return self._take(run)

    def _messages(self, runs: Iterable[Run], copy: CopyState) -> Iterator[Entries | Part]:
        """Frames for `runs`, in their order."""
        whole: list[Run] = []
        for run in runs:
            if run.size_bytes <= WHOLE_RUN_BYTES:
                whole.append(run)
                continue
            if whole:
                yield Entries(self._space, whole, self._introduce(whole, copy))
                whole = []
            yield from self._cut(run, copy)
        if whole:
            yield Entries(self._space, whole, self._introduce(whole, copy))

    def _cut(self, run: Run, copy: CopyState) -> list[Part]:
        (data,) = run.entries  # only one entry alone makes a run this large
        count = max(2, -(-len(data) // PART_BYTES))
        step = -(-len(data) // count)
        introduced = self._introduce([run], copy)
        return [
            Part(
                self._space, run.origin, run.first, number, count, data[number * step : (number + 1) * step],
                run.signature if number == count - 1 else b"", introduced if number == 0 else [],
            )
            for number in range(count)
        ]  # fmt: skip

    def _introduce(self, runs: Iterable[Run], copy: CopyState) -> list[Announcement]:
        origins = {run.origin for run in runs} - self._announced
        self._announced |= origins
        return [copy.origins[origin].announcement for origin in sorted(origins)]

    def _send(self, message: Entries | Part) -> Send:
        if isinstance(message, Entries):
            size = sum(run.size_bytes for run in message.runs)
            self.sent_clock.update((run.origin, run.last) for run in message.runs)
        else:
            size = len(message.data)
            if message.number == message.count - 1:
                self.sent_clock[message.origin] = message.seq
        self.credit_bytes -= size
        self._unsent += 1
        return Send(message)
