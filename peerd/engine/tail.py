"""The end of the log, and the records that it touched, in memory: what was just committed is told without a read.

A write goes on its way, or to a watcher, in the moment in which it is durable; asking the store for it again would
cost two turns of another thread. The tail only remembers: it is told of each commit when that is durable, it holds a
little of the newest, whole commits only, and whatever it does not hold is read from the store.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from peerd.core.batch import Name
from peerd.core.clocks import covers
from peerd.core.record import Record
from peerd.core.record_form import decode_record
from peerd.core.stored import LogRow, LogSlice
from peerd.core.writes import RecordRow, Writes

TAIL_BYTES = 1 << 20  # of runs and records
TAIL_RUNS = 256
TAIL_RECORDS = 1_000
RECORD_BYTES = 400  # about what a record takes besides its values


class _Kept(NamedTuple):
    """One commit: how many runs, the records that it left changed, and what all that takes."""

    last: int
    runs: int
    names: Sequence[Name]
    size_bytes: int


class _Known(NamedTuple):
    """A record as the commit that ended at `position` left it; None: it is gone."""

    position: int
    row: RecordRow | None


class Tail:
    """It begins behind `position`, the end of the log. A commit that is larger than the limits is not held, and
    nothing before it either.
    """

    def __init__(
        self,
        position: int = 0,
        max_bytes: int = TAIL_BYTES,
        max_runs: int = TAIL_RUNS,
        max_records: int = TAIL_RECORDS,
    ) -> None:
        self._first = self._last = position  # the runs of the positions above `_first` are here
        self._rows: list[LogRow] = []
        self._commits: deque[_Kept] = deque()
        self._records: dict[Name, _Known] = {}
        self._size_bytes = 0
        self._named = 0  # records, counted once for each commit that holds them
        self._closed = False
        self._max_bytes = max_bytes
        self._max_runs = max_runs
        self._max_records = max_records

    @property
    def size_bytes(self) -> int:
        """About what it holds."""
        return self._size_bytes

    def close(self) -> None:
        """Hold nothing and answer nothing any more."""
        self._closed = True
        self._forget_all()

    def committed(self, writes: Writes, arrived_ms: int) -> None:
        """`writes` are durable, and their runs follow the end of the log."""
        if self._closed or not writes.runs:
            return
        first, self._last = self._last + 1, self._last + len(writes.runs)
        changed = len(writes.rows) + len(writes.gone)
        if changed > self._max_records or len(writes.runs) > self._max_runs:
            self._forget_all()
            return
        size_bytes = sum(applied.run.size_bytes for applied in writes.runs)
        size_bytes += sum(len(row.body) for row in writes.rows) + RECORD_BYTES * changed
        if size_bytes > self._max_bytes:
            self._forget_all()
            return
        self._rows.extend(
            LogRow(position, applied.run, arrived_ms) for position, applied in enumerate(writes.runs, first)
        )
        self._records.update((row.name, _Known(self._last, row)) for row in writes.rows)
        self._records.update((name, _Known(self._last, None)) for name in writes.gone)
        names = [*(row.name for row in writes.rows), *writes.gone]
        self._commits.append(_Kept(self._last, len(writes.runs), names, size_bytes))
        self._size_bytes += size_bytes
        self._named += changed
        self._shrink()

    def _shrink(self) -> None:
        while self._size_bytes > self._max_bytes or len(self._rows) > self._max_runs or self._named > self._max_records:
            oldest = self._commits.popleft()
            del self._rows[: oldest.runs]
            for name in oldest.names:
                if self._records[name].position == oldest.last:
                    del self._records[name]
            self._first = oldest.last
            self._size_bytes -= oldest.size_bytes
            self._named -= len(oldest.names)

    def _forget_all(self) -> None:
        self._rows.clear()
        self._commits.clear()
        self._records.clear()
        self._size_bytes = self._named = 0
        self._first = self._last

    def runs_after(
        self, position: int, max_bytes: int, max_runs: int = 1000, covered: Mapping[bytes, int] | None = None
    ) -> LogSlice | None:
        """What the store's `runs_after` answers, up to the last commit that was told here; None: ask the store."""
        if self._closed or position < self._first:
            return None
        clock = covered or {}
        chosen: list[LogRow] = []
        size_bytes = 0
        for row in self._rows[position - self._first :]:
            if covers(clock, (row.run.origin, row.run.last)):
                continue
            size_bytes += row.run.size_bytes
            if chosen and (size_bytes > max_bytes or len(chosen) >= max_runs):
                return LogSlice(chosen, chosen[-1].position)
            chosen.append(row)
        return LogSlice(chosen, max(position, self._last))

    def knows(self, name: Name) -> bool:
        return name in self._records

    def record(self, name: Name) -> Record | None:
        """A record that the tail knows, as it stands at the end of the log; None: it is gone. KeyError for others."""
        row = self._records[name].row
        return None if row is None else decode_record(row.stamps, row.body)
