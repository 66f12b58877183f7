"""The log of a space, for people: transactions, newest first.

Times are those at which transactions arrived here, by this device's wall clock: that is what its log is ordered by, and
what it showed. When their authors wrote them, by their own clocks, stands beside it.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import NamedTuple

from msgspec.structs import replace

from peerd.core import entry
from peerd.core.batch import Name
from peerd.core.clocks import Dot
from peerd.core.device_id import format_device_id
from peerd.core.entry import Change, Entry, Kind
from peerd.core.past import events
from peerd.core.stored import LogRow, LogWish
from peerd.core.values import unpack
from peerd.engine.cursors import from_word, to_word
from peerd.engine.past.ports import PastReader
from peerd.engine.records import conflict_name, dot_text
from peerd.engine.space import Space
from peerd.protocol.control.messages import Beginning, LogChange, LogEntry, LogPage

WINDOW = 200  # runs read at a time
SCAN = 20_000  # transactions looked through for one page
VERSIONS = 20_000  # that are listed of one record
PAGE_BYTES = 4 << 20
WHOLE_RUN = 1 << 40
_KINDS = {Kind.PUT: "put", Kind.PATCH: "patch", Kind.DELETE: "delete", Kind.RESTORE: "restore"}


class Wanted(NamedTuple):
    """Which transactions: of this device, of this collection or record, that arrived between these times."""

    device: bytes | None = None
    collection: str | None = None
    key: str | None = None
    since_ms: int = 0
    until_ms: int = (1 << 63) - 1


class _Found(NamedTuple):
    row: LogRow
    number: int  # of the entry in its run
    entry: Entry


class History:
    """The log of one space."""

    def __init__(self, space: Space) -> None:
        self._space = space

    async def page(self, wanted: Wanted, limit: int, cursor: str | None) -> LogPage:
        """Transactions that match, from `cursor` backwards: at most `limit`, and fewer if they are large or far apart.
        A cursor is the position of a run, and the index of the last entry in it that has been looked at.
        """
        last = self._space.commits.last_position
        position, below = from_word(cursor, tuple[int, int]) if cursor else (last, WHOLE_RUN)
        if position > last:
            position, below = last, WHOLE_RUN
        name = (wanted.collection, wanted.key) if wanted.collection is not None and wanted.key is not None else None
        if name is not None:
            found, on = await self._of_record(name, wanted, limit, (position, below))
        else:
            found, on = await self._of_space(wanted, limit, (position, below))
        return LogPage(
            transactions=[self._view(one) for one in found],
            cursor=to_word(on) if on is not None else None,
            begins=await self.beginning(name),
        )

    async def beginning(self, record: Name | None = None) -> Beginning | None:
        """Where the log of this copy begins, if that is not where the space began; or what is listed of a record."""
        reach = await self._space.store.lookback.reach()
        if record is not None and (cut := await self._space.store.lookback.read(partial(_cut, record))) is not None:
            return cut
        if record is not None and reach.history_ms is not None and reach.history_ms > (reach.log_ms or 0):
            return Beginning(time_ms=reach.history_ms, cause="forgotten")
        if reach.log_ms is None:
            return None
        came_whole = reach.snapshot_ms is not None and reach.snapshot_ms >= reach.log_ms
        return Beginning(time_ms=reach.log_ms, cause="snapshot" if came_whole else "trimmed")

    async def _of_space(
        self, wanted: Wanted, limit: int, start: tuple[int, int]
    ) -> tuple[list[_Found], tuple[int, int] | None]:
        """By looking through the runs. Gives where to go on, None at the end."""
        position, below = start
        found: list[_Found] = []
        size_bytes = scanned = 0
        authors = self._origins(wanted.device)
        wish = LogWish(position, authors, wanted.since_ms, wanted.until_ms, WINDOW, PAGE_BYTES)
        while wish.position > 0 and scanned < SCAN:
            back = await self._space.store.lookback.rows_back(wish)
            for row in back.rows:
                for index, decoded in reversed(list(enumerate(map(entry.decode, row.run.entries)))):
                    if row.position == position and index >= below:
                        continue
                    if _names(decoded, wanted):
                        if len(found) >= limit or size_bytes >= PAGE_BYTES:
                            return found, (row.position, index + 1)
                        found.append(_Found(row, index, decoded))
                        size_bytes += len(row.run.entries[index])
            scanned += sum(len(row.run.entries) for row in back.rows)
            wish = replace(wish, position=back.position)
        return found, (wish.position, WHOLE_RUN) if wish.position > 0 else None

    def _origins(self, device: bytes | None) -> frozenset[bytes] | None:
        if device is None:
            return None
        return frozenset(origin for origin, at in self._space.copy.origins.items() if at.announcement.device == device)

    async def _of_record(
        self, name: Name, wanted: Wanted, limit: int, start: tuple[int, int]
    ) -> tuple[list[_Found], tuple[int, int] | None]:
        """By the dots of what the record has and had, so that the rest of the log is not read."""
        authors = self._origins(wanted.device)
        found: list[_Found] = []

        def reading(reader: PastReader) -> tuple[int, int] | None:
            size_bytes = looked_at = 0
            for event in islice(events(reader.record(name), reader.removals(name), reader.place), VERSIONS):
                position = event.place.position
                row = reader.row(position) if 0 < position <= start[0] else None
                if row is None:
                    continue
                index = event.dot.seq - row.run.first
                if position == start[0] and index >= start[1]:
                    continue
                if len(found) >= limit or size_bytes >= PAGE_BYTES or looked_at >= SCAN:
                    return position, index + 1
                looked_at += 1
                is_wanted = authors is None or event.dot.origin in authors
                if is_wanted and wanted.since_ms <= row.arrived_ms <= wanted.until_ms:
                    found.append(_Found(row, index, entry.decode(row.run.entries[index])))
                    size_bytes += len(row.run.entries[index])
            return None

        on = await self._space.store.lookback.read(reading)
        return found, on

    def _view(self, found: _Found) -> LogEntry:
        row, number, decoded = found
        dot = Dot(row.run.origin, row.run.first + number)
        device = self._space.copy.device_of(dot.origin)
        return LogEntry(
            dot=dot_text(dot),
            device=format_device_id(device) if device else None,
            device_name=self._space.name_of(device) if device else "",
            time_ms=decoded.t_ms,
            arrived_ms=row.arrived_ms,
            changes=[log_change(change) for change in decoded.changes],
        )


def _cut(name: Name, reader: PastReader) -> Beginning | None:
    """Where the list of a record's versions ends, if there are more than are listed."""
    listed = list(islice(events(reader.record(name), reader.removals(name), reader.place), VERSIONS + 1))
    if len(listed) <= VERSIONS:
        return None
    arrived = (one.removal.arrived_ms for one in reversed(listed[:-1]) if one.removal is not None)
    return Beginning(time_ms=next(arrived, 0), cause="cut")


def _names(decoded: Entry, wanted: Wanted) -> bool:
    if wanted.collection is None and wanted.key is None:
        return True
    return any(
        wanted.collection in {None, change.collection} and wanted.key in {None, change.key}
        for change in decoded.changes
    )


def log_change(change: Change) -> LogChange:
    """A change as people see it."""
    return LogChange(
        kind=_KINDS[Kind(change.kind)],  # type: ignore[arg-type] # the four words of LogChange
        collection=change.collection,
        key=change.key,
        set={conflict_name(name): unpack(value) for name, value in change.set.items()},
        drop=list(change.drop),
    )
